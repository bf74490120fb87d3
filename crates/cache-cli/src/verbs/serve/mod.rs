//! `serve`: the cache, over HTTP.

mod log;
mod plan;
mod signals;
mod storage;
mod watch;

use std::io::Write;
use std::time::Duration;

use cache_core::Store;
use cache_server::{Control, Listen, Server};
use tokio::sync::oneshot;

use self::log::Log;
use self::plan::{Fixed, Plan};
use self::signals::{Signal, Signals};
use self::storage::Storage;
use self::watch::Watch;
use crate::args::{Globals, ServeArgs};
use crate::failure::{Failure, Result};
use crate::output;

/// What the log says is from this program and not from a library.
const TARGET: &str = "vitte_cache";
/// How long threads that are busy with a disk that does not answer may hold up the end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

pub(super) fn run(globals: &Globals, args: &ServeArgs) -> Result {
    let plan = Plan::load(globals, args)?;
    plan.refuse_if_open()?;
    if args.check {
        return check(&plan);
    }
    let log = Log::start(&plan.config)?;
    allow_many_files();
    // Nothing before this line needs a runtime, and no other verb does.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("serve").build();
    let runtime = runtime.map_err(|error| {
        Failure::failed(format_args!("cannot start threads: {error}; allow this user more of them"))
    })?;
    let result = runtime.block_on(serve(globals, args, plan, &log));
    runtime.shutdown_timeout(LAST_MOMENT);
    #[cfg(feature = "opentelemetry")]
    log.finish_traces();
    log.finish();
    result
}

/// Lets this process have as many files open as it may: each connection is one, and shells allow few unless asked.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    /// What macOS takes where it claims to take any number.
    const ALWAYS_TAKEN: u64 = 10_240;
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() && before.is_some_and(|before| before < ALWAYS_TAKEN) {
        limit.current = Some(ALWAYS_TAKEN);
        // With the old limit it serves fewer at a time, and says so when it has to.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(not(unix))]
fn allow_many_files() {}

/// Says what would be served.
fn check(plan: &Plan) -> Result {
    let found = examine(plan)?;
    let mut out = output::stdout();
    writeln!(out, "would serve {found}")?;
    Ok(out.flush()?)
}

/// Returns where and to whom a server would listen.
fn examine(plan: &Plan) -> Result<String> {
    plan.refuse_if_open()?;
    log::filter(&plan.config)?;
    plan.check_certificates()?;
    let listen: Vec<String> = plan.options.listen.iter().map(|listen| plan.url(listen)).collect();
    Ok(format!("{}: {}", listen.join(", "), plan.access()))
}

/// Returns what a server without flags would serve, or why it would not start; nothing if nobody has prepared anything for one.
pub(super) fn prepared(globals: &Globals) -> Option<Result<String>> {
    // A file that is named there is a project's.
    let globals = Globals { config: None, ..globals.clone() };
    match Plan::load(&globals, &ServeArgs::default()) {
        Err(failure) => Some(Err(failure)),
        Ok(plan) if plan.is_prepared() => Some(examine(&plan)),
        Ok(_) => None,
    }
}

async fn serve(globals: &Globals, args: &ServeArgs, mut plan: Plan, log: &Log) -> Result {
    // Before anything else, so that none of them is lost.
    let mut signals = Signals::new()?;
    // What changes from here on is noticed, and what changed just before is read.
    let mut watch = Watch::new(plan.files());
    plan = Plan::load(globals, args)?;
    plan.refuse_if_open()?;
    watch.follow(plan.files());
    let storage = Storage::open(&plan.config)?;
    let fixed = plan.fixed();
    plan.keep_uploads_in(storage.spool.as_deref());
    let server = Server::bind(plan.options.clone(), storage.chain.clone()).await;
    let server = server.map_err(|error| Failure::failed(plan::sentence(&error)))?;
    announce(&plan, server.local_addrs(), &storage);
    let control = server.control();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    // On the threads of the runtime: what is done here may wait for a file.
    let mut serving = tokio::spawn(server.run_until(async { drop(stopped.await) }));
    let drained = loop {
        tokio::select! {
            drained = &mut serving => break drained,
            signal = signals.next() => match (signal, stop.take()) {
                (Signal::Stop(name, _), Some(stop)) => {
                    let patience = plan.options.timeouts.drain;
                    tracing::info!(target: TARGET, signal = name, ?patience, "stopping; once more ends it at once");
                    // The server is gone already if nobody listens.
                    let _ = stop.send(());
                }
                (Signal::Stop(name, code), None) => {
                    tracing::warn!(target: TARGET, signal = name, "ending at once");
                    log.finish();
                    std::process::exit(code);
                }
                (Signal::Reload, kept) => {
                    stop = kept;
                    watch.seen();
                    reload(globals, args, &mut plan, &control, &storage, log, &fixed);
                    watch.follow(plan.files());
                }
            },
            () = watch.changed() => {
                reload(globals, args, &mut plan, &control, &storage, log, &fixed);
                watch.follow(plan.files());
            }
        }
    };
    storage.close().await;
    match drained {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed(format_args!("the server broke down: {error}"))),
    }
}

/// Says in one line all that somebody needs to use the server.
fn announce(plan: &Plan, addresses: &[Listen], storage: &Storage) {
    let listen: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let urls: Vec<String> = addresses.iter().map(|address| plan.url(address)).collect();
    tracing::info!(
        target: TARGET,
        listen = listen.join(","),
        dir = %storage.dir.display(),
        layout = storage.layout,
        limit = storage.limit,
        memory = storage.memory,
        access = plan.access(),
        "serving {}",
        urls.join(", "),
    );
}

/// Takes over what the files and variables say now; if that is wrong, everything stays as it is.
fn reload(
    globals: &Globals,
    args: &ServeArgs,
    plan: &mut Plan,
    control: &Control,
    storage: &Storage,
    log: &Log,
    fixed: &Fixed,
) {
    let taken = (|| {
        let mut new = Plan::load(globals, args)?;
        new.keep_uploads_in(storage.spool.as_deref());
        new.refuse_if_tokens_are_gone(plan)?;
        let filter = log::filter(&new.config)?;
        let reloaded =
            control.reload(new.options.clone()).map_err(|error| Failure::failed(plan::sentence(&error)))?;
        log.set(filter);
        let mut later = reloaded.needs_restart;
        later.extend(fixed.changed_by(&new));
        *plan = new;
        Ok::<_, Failure>(later)
    })();
    match taken {
        Err(error) => tracing::error!(
            target: TARGET,
            "the new settings are wrong, and the old ones stay: {}",
            error.message()
        ),
        Ok(later) => {
            tracing::info!(target: TARGET, access = plan.access(), "reloaded");
            if !later.is_empty() {
                let later = later.join(", ");
                tracing::warn!(target: TARGET, "{later} will change when the server starts again");
            }
        }
    }
}

impl Storage {
    /// Ends what goes on in the background, and writes what is still to be written.
    async fn close(self) {
        self.cleaner.stop().await;
        if let Err(error) = self.chain.close().await {
            tracing::error!(target: TARGET, %error, "the store could not be closed");
        }
    }
}
