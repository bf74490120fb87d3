//! `run`: a command through the cache.

use std::env;
use std::io::Write;
use std::time::SystemTime;

use cache_run::{Mode, Reason, Report, RunError, Session, Spec, StdinMode};

use super::{Context, why};
use crate::args::{ExplainFormat, Globals, RunArgs, StatusWhen};
use crate::ci::Job;
use crate::config::Config;
use crate::failure::{Failure, REFUSED, Result};
use crate::settings::Id;
use crate::ui::Terminal;
use crate::{output, place, remote, session};

pub(super) fn run(globals: &Globals, args: &RunArgs) -> Result<i32> {
    let refused = |failure: Failure| failure.with_code(REFUSED);
    let context = Context::load(globals).map_err(refused)?;
    let mut spec = spec(&context.config, args).map_err(refused)?;
    let place = if spec.mode == Mode::Off {
        place::ForRun::without(None)
    } else {
        place::open_for_run(&context.config)
    };
    let mut warnings = context.config.warnings.clone();
    warnings.extend(place.warning);
    if place.read_only && spec.mode.writes() {
        warnings.push(
            "the cache directory cannot be written to; results in it are used and none are added".to_owned(),
        );
        spec.mode = Mode::ReadOnly;
    }
    // What a remote cache has comes by way of the local one.
    let shared = place.store.as_ref().filter(|_| !place.read_only);
    let remote = shared.and_then(|store| {
        remote::for_run(&context.config, args.remote.as_deref(), store).unwrap_or_else(|warning| {
            warnings.push(warning);
            None
        })
    });
    let status = status(&context.config, args);
    let terminal = Terminal::new(args.quiet || status == StatusWhen::Never, spec.mode.writes());
    let session = Session {
        store: place.store.as_ref(),
        trouble: place.trouble,
        signing: place.signing,
        remote: remote.as_deref(),
        id: session::current(&context.config),
        ui: &terminal,
    };
    if args.print_key {
        let key = cache_run::plan_key(&spec, &session).map_err(|error| failure(&error))?;
        let mut out = output::stdout();
        writeln!(out, "{key}")?;
        out.flush()?;
        return Ok(0);
    }
    let group = Group::begin(&context.config, &spec);
    let report = cache_run::run(&spec, &session);
    drop(group);
    let report = report.map_err(|error| failure(&error))?;
    warnings.extend(report.warnings.iter().cloned());
    tell(&context, args, status, &report, &warnings);
    Ok(report.code)
}

/// What the command writes, folded in the log of a CI system, until this is dropped.
struct Group(Option<Job>);

impl Group {
    fn begin(config: &Config, spec: &Spec) -> Self {
        let job = Job::current().filter(|_| config.switch(Id::Group) && !spec.dry_run);
        // Standard output belongs to the command: a program may read it.
        let begin =
            job.as_ref().and_then(|job| job.begin_group(&spec.label(), seconds(), std::process::id()));
        if let Some(line) = &begin {
            output::note(line);
        }
        Self(job.filter(|_| begin.is_some()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(line) = self.0.as_ref().and_then(|job| job.end_group(seconds(), std::process::id())) {
            output::note(&line);
        }
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn failure(error: &RunError) -> Failure {
    Failure::failed(error).with_code(error.exit_code())
}

/// Returns when the status line is shown.
fn status(config: &Config, args: &RunArgs) -> StatusWhen {
    if let Some(status) = args.status {
        return status;
    }
    match config.word(Id::Status) {
        _ if args.quiet => StatusWhen::Never,
        "always" => StatusWhen::Always,
        "never" => StatusWhen::Never,
        "json" => StatusWhen::Json,
        _ => StatusWhen::Auto,
    }
}

/// Says how it went, on standard error, which belongs to the command as well: the less the better.
fn tell(context: &Context, args: &RunArgs, status: StatusWhen, report: &Report, warnings: &[String]) {
    if status == StatusWhen::Json {
        let all = Report { warnings: warnings.to_vec(), ..report.clone() };
        output::note(&all.json());
    } else {
        if !args.quiet {
            for warning in warnings {
                output::warn(warning);
            }
        }
        if status != StatusWhen::Never {
            output::note(&report.line(&context.color.stderr()));
        }
    }
    match args.explain {
        Some(ExplainFormat::Json) => output::note(&explanation_json(report)),
        Some(ExplainFormat::Text) => explain(context, report),
        None if args.verbose && status != StatusWhen::Json => explain(context, report),
        None => {}
    }
}

fn explain(context: &Context, report: &Report) {
    if let Some(key) = report.key {
        output::note(&format!("  key {key}"));
    }
    let painter = context.color.stderr();
    match &report.reason {
        Reason::Differs(differences) | Reason::Discovered(differences) => {
            output::note(why::differences_text(differences, painter).trim_end_matches('\n'));
        }
        other => other.words().iter().for_each(|word| output::note(&format!("  {}", output::visible(word)))),
    }
}

fn explanation_json(report: &Report) -> String {
    let differences = match &report.reason {
        Reason::Differs(differences) | Reason::Discovered(differences) => differences.as_slice(),
        _ => &[],
    };
    serde_json::json!({
        "label": report.label,
        "key": report.key,
        "outcome": report.outcome,
        "reasons": report.reason.words(),
        "differences": differences,
    })
    .to_string()
}

/// Returns the run that the command line, the environment and the configuration describe together.
fn spec(config: &Config, args: &RunArgs) -> Result<Spec> {
    let here = env::current_dir().map_err(|error| {
        Failure::usage(format_args!(
            "the current directory cannot be found: {error}; change to one that exists"
        ))
    })?;
    let mut spec = Spec::new(args.command.clone(), here);
    spec.namespace = config.namespace();
    settle(&mut spec, config, |id| config.given(id).is_some());
    if let Some(label) = &args.table {
        let (table, root) = config.run_table(label)?;
        spec.label = Some(label.clone());
        spec.cwd = root.to_path_buf();
        table.apply(&mut spec);
        if !args.command.is_empty() {
            spec.command.clone_from(&args.command);
        }
        if spec.command.is_empty() {
            return Err(Failure::usage(format_args!(
                "[run.{label}] has no `command`; add one, or give it after `--`"
            )));
        }
        // The environment stands above all files.
        settle(&mut spec, config, |id| config.given_for_this_call(id).is_some());
    }
    take_flags(&mut spec, args);
    if spec.label.is_none() {
        // Many jobs call the same program on one machine.
        spec.label = Job::current().and_then(|job| job.label(&spec.label()));
    }
    if spec.stale && spec.stdin == StdinMode::Key {
        return Err(Failure::usage(
            "--stale and --stdin=key exclude each other: what was read from standard input cannot be read again in the \
             background; leave one of them out",
        ));
    }
    if spec.stale && spec.ttl.is_none() {
        return Err(Failure::usage(
            "--stale needs to know when a result is too old; add --ttl, as in --ttl 1h",
        ));
    }
    Ok(spec)
}

/// Puts those settings into `spec` that `holds` is true for.
fn settle(spec: &mut Spec, config: &Config, holds: impl Fn(Id) -> bool) {
    if holds(Id::Mode) {
        spec.mode = match config.word(Id::Mode) {
            "off" => Mode::Off,
            "ro" => Mode::ReadOnly,
            "refresh" => Mode::Refresh,
            _ => Mode::ReadWrite,
        };
    }
    if let Some(bytes) = config.number(Id::MaxEntry).filter(|_| holds(Id::MaxEntry)) {
        spec.max_entry = bytes;
    }
    if let Some(time) = config.duration(Id::MinTime).filter(|_| holds(Id::MinTime)) {
        spec.min_time = time;
    }
    if let Some(time) = config.duration(Id::Wait).filter(|_| holds(Id::Wait)) {
        spec.wait = time;
    }
}

fn take_flags(spec: &mut Spec, args: &RunArgs) {
    fn list(to: &mut Vec<String>, from: &[String]) {
        if !from.is_empty() {
            to.clear();
            to.extend_from_slice(from);
        }
    }
    fn one<T: Clone>(to: &mut T, from: Option<&T>) {
        if let Some(from) = from {
            to.clone_from(from);
        }
    }
    list(&mut spec.inputs, &args.inputs);
    list(&mut spec.outputs, &args.outputs);
    spec.env.extend_from_slice(&args.env);
    spec.pass_env.extend_from_slice(&args.pass_env);
    spec.label = args.label.clone().or_else(|| spec.label.take());
    spec.depfile = args.depfile.clone().or_else(|| spec.depfile.take());
    spec.base = args.base.clone().or_else(|| spec.base.take());
    spec.ttl = args.ttl.or(spec.ttl);
    one(&mut spec.env_mode, args.env_mode.as_ref());
    one(&mut spec.tool, args.tool.as_ref());
    one(&mut spec.salt, args.salt.as_ref());
    one(&mut spec.stdin, args.stdin.as_ref());
    one(&mut spec.restore, args.restore.as_ref());
    one(&mut spec.mtime, args.mtime.as_ref());
    one(&mut spec.failures, args.cache_failures.as_ref());
    one(&mut spec.max_entry, args.max_entry.as_ref());
    one(&mut spec.min_time, args.min_time.as_ref());
    one(&mut spec.wait, args.wait.as_ref());
    one(&mut spec.verify_percent, args.verify.as_ref());
    spec.stale |= args.stale;
    spec.dry_run = args.dry_run;
    // A switched-off cache stays off: whoever set that has a reason, and a flag in a script does not know it.
    if spec.mode != Mode::Off {
        if args.refresh {
            spec.mode = Mode::Refresh;
        } else if args.no_store {
            spec.mode = Mode::ReadOnly;
        }
    }
}
