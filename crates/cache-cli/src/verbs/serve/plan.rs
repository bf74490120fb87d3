//! What the settings, the files that they name and the flags make of the server.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use cache_run::{human, project};
use cache_server::{
    Anonymous, Limits, Listen, Protocol, ProtocolOptions, Right, Rights, ServerError, ServerOptions,
    Timeouts, TlsOptions, Token,
};

use crate::args::{Globals, ServeArgs};
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::settings::{Address, Id, Setting, TABLE, Value};
use crate::tokens::Tokens;

/// The port unless told otherwise.
const PORT: u16 = 8080;

/// Everything that a server is started with, or takes over while it runs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) options: ServerOptions,
    /// The file of the configuration, whether it is there or not.
    file: Option<PathBuf>,
    /// How many tokens there are; nothing if there is no file of tokens.
    tokens: Option<usize>,
}

impl Plan {
    /// Reads all files.
    ///
    /// # Errors
    /// If one of them, or a setting, is wrong.
    pub(super) fn load(globals: &Globals, args: &ServeArgs) -> Result<Self> {
        let config = Config::load_for_server(globals, args.settings())?;
        let records = match config.tokens_file() {
            Some(path) => Tokens::at(path, config.switch(Id::TrustConfig)).read().map_err(Failure::usage)?,
            None => None,
        };
        let tokens = records.as_ref().map(Vec::len);
        let rights = Rights {
            tokens: records.unwrap_or_default().into_iter().map(|record| record.token).collect(),
            anonymous: if config.word(Id::ServerAnonymous) == "read" {
                Anonymous::Read
            } else {
                Anonymous::Off
            },
        };
        let (limits, protocols) = limits(&config)?;
        let options = ServerOptions {
            listen: listen(&config),
            tls: tls(&config)?,
            rights,
            insecure_anonymous: config.switch(Id::ServerInsecureAnonymous),
            spool_dir: config.file(Id::ServerSpoolDir).map(Path::to_path_buf),
            protocols,
            limits,
            timeouts: timeouts(&config),
        };
        let mut plan = Self { file: Config::server_file(globals), config, options, tokens };
        plan.close_to_strangers()?;
        Ok(plan)
    }

    /// Returns whether anybody has prepared anything for a server on this machine.
    pub(super) fn is_prepared(&self) -> bool {
        let is_given =
            |setting: &Setting| setting.key.starts_with("server.") && self.config.given(setting.id).is_some();
        self.tokens.is_some() || TABLE.iter().any(is_given)
    }

    /// Keeps out everybody where tokens are meant to be needed and there is none: a server without tokens is open, and the
    /// one whose last token was revoked must not be.
    fn close_to_strangers(&mut self) -> Result {
        if self.is_open() || !self.options.rights.is_open() {
            return Ok(());
        }
        // Nobody knows the secret.
        let (nobody, _) = Token::create("nobody", Right::Read, None)?;
        self.options.rights.tokens.push(nobody);
        Ok(())
    }

    /// Returns whether whoever reaches the server may do everything.
    fn is_open(&self) -> bool {
        let wanted = self.tokens.is_some() || self.config.given(Id::ServerAnonymous).is_some();
        self.tokens.unwrap_or(0) == 0 && (self.options.insecure_anonymous || !wanted)
    }

    /// # Errors
    /// If others could reach a server that nobody has a credential for.
    pub(super) fn refuse_if_open(&self) -> Result {
        let certificates = self.options.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if self.tokens.unwrap_or(0) > 0 || certificates || self.options.insecure_anonymous {
            return Ok(());
        }
        match self.options.listen.iter().find(|listen| !listen.is_loopback()) {
            None => Ok(()),
            Some(address) => Err(Failure::usage(format_args!(
                "{address} can be reached from other machines, and there is no token: make one with `vitte-cache token create NAME`, listen on 127.0.0.1, ask for certificates \
                 with --tls-client-ca, or let everybody in with --insecure-anonymous"
            ))),
        }
    }

    /// # Errors
    /// If there were tokens before, and the file is not there any more: nobody meant to open the server by that.
    pub(super) fn refuse_if_tokens_are_gone(&self, before: &Self) -> Result {
        match (before.tokens, self.tokens, self.config.tokens_file()) {
            (Some(_), None, Some(path)) => Err(Failure::usage(format_args!(
                "the file of tokens {} is gone; restore it, or start the server again",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Sets where large uploads go, unless the settings say so.
    pub(super) fn keep_uploads_in(&mut self, dir: Option<&Path>) {
        if self.options.spool_dir.is_none() {
            self.options.spool_dir = dir.map(Path::to_path_buf);
        }
    }

    /// # Errors
    /// If the certificates cannot be used.
    pub(super) fn check_certificates(&self) -> Result {
        self.options.tls.as_ref().map_or(Ok(()), |tls| tls.check().map_err(Failure::usage))
    }

    /// Returns the files that all of this was read from, whether they are there or not.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let tls = self.options.tls.as_ref();
        let certificates =
            tls.map(|tls| [Some(tls.cert.clone()), Some(tls.key.clone()), tls.client_ca.clone()]);
        let certificates = certificates.into_iter().flatten().flatten();
        self.file.iter().cloned().chain(self.config.tokens_file()).chain(certificates).collect()
    }

    /// Returns what is only read when the server starts.
    pub(super) fn fixed(&self) -> Fixed {
        const FIXED: [Id; 12] = [
            Id::Dir,
            Id::Layout,
            Id::MaxSize,
            Id::MaxEntries,
            Id::MaxAgeDays,
            Id::FreeSpace,
            Id::LowWater,
            Id::Ttl,
            Id::ServerMemory,
            Id::ServerLog,
            Id::ServerRemoteUrl,
            Id::ServerRemoteToken,
        ];
        Fixed(FIXED.map(|id| (id, self.config.given(id).cloned())).into())
    }

    /// Returns in words who may use the server.
    pub(super) fn access(&self) -> String {
        let certificates = match &self.options.tls {
            Some(tls) if tls.client_ca.is_some() => "with a certificate, ",
            _ => "",
        };
        let anonymous = match self.options.rights.anonymous {
            Anonymous::Read => ", others read",
            Anonymous::Off => "",
        };
        let who = match self.tokens.unwrap_or(0) {
            0 if self.is_open() => "everybody reads and writes".to_owned(),
            0 => format!("no tokens yet{anonymous}"),
            1 => format!("1 token{anonymous}"),
            count => format!("{count} tokens{anonymous}"),
        };
        format!("{certificates}{who}")
    }

    /// Returns what a client has to be given to reach `address`.
    pub(super) fn url(&self, address: &Listen) -> String {
        let Some(address) = address.tcp() else { return address.to_string() };
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        match hostname().filter(|_| address.ip().is_unspecified()) {
            Some(name) => format!("{scheme}://{name}:{}", address.port()),
            None => format!("{scheme}://{address}"),
        }
    }
}

/// Settings that are only read when the server starts.
#[derive(Debug)]
pub(super) struct Fixed(Vec<(Id, Option<Value>)>);

impl Fixed {
    /// Returns those that `new` sets to something else.
    pub(super) fn changed_by(&self, new: &Plan) -> Vec<&'static str> {
        let differs = |(id, value): &&(Id, Option<Value>)| new.config.given(*id) != value.as_ref();
        self.0.iter().filter(differs).map(|(id, _)| id.setting().key).collect()
    }
}

/// Returns what went wrong, with what can be done about it by this command.
pub(super) fn sentence(error: &ServerError) -> String {
    let ServerError::Listen { address, source } = error else { return error.to_string() };
    let advice = match (source.kind(), address.tcp()) {
        (ErrorKind::AddrInUse, _) => "stop the program that uses it, or choose another with --port",
        (ErrorKind::AddrNotAvailable, _) => {
            "listen on an address of this machine, or on 0.0.0.0 for all of them"
        }
        (ErrorKind::PermissionDenied, Some(_)) => "choose a port from 1024 on, or allow this user to use it",
        (_, Some(_)) => return error.to_string(),
        (_, None) => "choose a path in a directory that this user can write to",
    };
    format!("{error}; {advice}")
}

fn listen(config: &Config) -> Vec<Listen> {
    let port = config.number(Id::ServerPort).map_or(PORT, |port| port as u16);
    let place = |address| match address {
        Address::Ip(ip, own) => Listen::Tcp(SocketAddr::new(ip, own.unwrap_or(port))),
        Address::Unix(path) => Listen::Unix(path),
    };
    let words = config.words(Id::ServerListen);
    if words.is_empty() {
        return vec![place(Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST), None))];
    }
    words.iter().filter_map(|word| Address::parse(word)).map(place).collect()
}

fn tls(config: &Config) -> Result<Option<TlsOptions>> {
    let file = |id| config.file(id).map(Path::to_path_buf);
    let client_ca = file(Id::ServerTlsClientCa);
    let lacks = |given: Id, missing: Id| {
        let (given, missing) = (given.setting().key, missing.setting());
        let flag = missing.flag.unwrap_or_default();
        Err(Failure::usage(format_args!(
            "`{given}` is of no use without `{}`; give {flag} as well",
            missing.key
        )))
    };
    match (file(Id::ServerTlsCert), file(Id::ServerTlsKey)) {
        (Some(cert), Some(key)) => Ok(Some(TlsOptions { cert, key, client_ca })),
        (Some(_), None) => lacks(Id::ServerTlsCert, Id::ServerTlsKey),
        (None, Some(_)) => lacks(Id::ServerTlsKey, Id::ServerTlsCert),
        (None, None) if client_ca.is_some() => lacks(Id::ServerTlsClientCa, Id::ServerTlsCert),
        (None, None) => Ok(None),
    }
}

fn limits(config: &Config) -> Result<(Limits, BTreeMap<Protocol, ProtocolOptions>)> {
    let mut limits = Limits::default();
    let mut protocols: BTreeMap<Protocol, ProtocolOptions> = BTreeMap::new();
    for name in config.words(Id::ServerDisable) {
        protocols.entry(protocol(config, Id::ServerDisable, name)?).or_default().enabled = false;
    }
    for word in config.words(Id::ServerMaxValue) {
        let (name, size) =
            word.split_once('=').map_or((None, &**word), |(name, size)| (Some(name.trim()), size));
        let bytes = human::parse_size(size).ok().filter(|bytes| *bytes > 0).ok_or_else(|| {
            wrong(
                config,
                Id::ServerMaxValue,
                &format!("`{word}` is not allowed: write a size such as 2GB, or ccache=100MB"),
            )
        })?;
        match name {
            None => limits.max_value = bytes,
            Some(name) => {
                let protocol = protocol(config, Id::ServerMaxValue, name)?;
                protocols.entry(protocol).or_default().max_value = Some(bytes);
            }
        }
    }
    let count = |id| config.number(id).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    limits.connections = count(Id::ServerMaxConnections).unwrap_or(limits.connections);
    limits.requests = count(Id::ServerMaxRequests).unwrap_or(limits.requests);
    limits.spool_bytes = config.number(Id::ServerSpoolSize).unwrap_or(limits.spool_bytes);
    Ok((limits, protocols))
}

fn protocol(config: &Config, id: Id, name: &str) -> Result<Protocol> {
    let names = || Protocol::ALL.into_iter().map(Protocol::name);
    if let Some(protocol) = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name) {
        return Ok(protocol);
    }
    let hint = match project::nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(wrong(config, id, &format!("there is no protocol `{name}`; {hint}")))
}

/// Returns that a setting is wrong, with where it was set.
fn wrong(config: &Config, id: Id, what: &str) -> Failure {
    Failure::usage(format_args!("{}: `{}`: {what}", config.origin(id), id.setting().key))
}

fn timeouts(config: &Config) -> Timeouts {
    let default = Timeouts::default();
    let time = |id, default| config.duration(id).unwrap_or(default);
    Timeouts {
        header: time(Id::ServerHeaderTimeout, default.header),
        idle: time(Id::ServerIdleTimeout, default.idle),
        body: time(Id::ServerBodyTimeout, default.body),
        drain: time(Id::ServerDrainTimeout, default.drain),
        ..default
    }
}

/// Returns what this machine is called.
#[cfg(unix)]
fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(not(unix))]
fn hostname() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}
