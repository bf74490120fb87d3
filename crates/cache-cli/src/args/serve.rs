//! The command lines of `serve` and `token`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::settings::{Id, Value};

/// Serve the cache to build tools on other machines, over HTTP
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:
  vitte-cache serve --port 8080 --dir /data/cache       for this machine
  vitte-cache token create ci --read-write              a secret for CI
  vitte-cache serve --listen 0.0.0.0 --dir /data/cache  for all who have a token

Everything can be set in the table [server] of the user's configuration file, or
of the file that --config names, and by variables such as VITTE_SERVER_PORT. The
file of a project is not read. SIGHUP or a changed file reloads the settings, the
tokens and the certificate; SIGTERM lets requests under way end, and stops.")]
pub(crate) struct ServeArgs {
    /// Port to listen on; 0 takes a free one [default: 8080]
    #[arg(long, value_name = "PORT", value_parser = of(Id::ServerPort))]
    pub(crate) port: Option<Value>,
    /// Address to listen on, also with a port, or unix:PATH; repeatable [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", value_parser = of(Id::ServerListen))]
    pub(crate) listen: Vec<Value>,
    /// Bytes that the cache takes on disk at most
    #[arg(long, value_name = "SIZE", value_parser = of(Id::MaxSize))]
    pub(crate) max_size: Option<Value>,
    /// Memory for small items that are asked for often, or none [default: 64 MB]
    #[arg(long, value_name = "SIZE", value_parser = of(Id::ServerMemory))]
    pub(crate) memory: Option<Value>,
    /// File with the tokens
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = of(Id::ServerTokens))]
    pub(crate) tokens: Option<Value>,
    /// What those may do who send no token: off or read
    #[arg(long, value_name = "WHAT", value_parser = of(Id::ServerAnonymous))]
    pub(crate) anonymous: Option<Value>,
    /// Let everybody who can reach the server read and write everything
    #[arg(long)]
    pub(crate) insecure_anonymous: bool,
    /// Certificate chain in PEM, to speak HTTPS
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = of(Id::ServerTlsCert))]
    pub(crate) tls_cert: Option<Value>,
    /// Private key of the certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = of(Id::ServerTlsKey))]
    pub(crate) tls_key: Option<Value>,
    /// Authorities in PEM that issue the certificates of clients, which every client then needs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = of(Id::ServerTlsClientCa))]
    pub(crate) tls_client_ca: Option<Value>,
    /// Protocol that is not served, such as maven; repeatable
    #[arg(long, value_name = "NAME", value_parser = of(Id::ServerDisable))]
    pub(crate) disable: Vec<Value>,
    /// How long requests under way have when the server stops [default: 30s]
    #[arg(long, value_name = "DUR", value_parser = of(Id::ServerDrainTimeout))]
    pub(crate) drain_timeout: Option<Value>,
    /// Form of the log on standard error: text or json
    #[arg(long, value_name = "FORM", value_parser = of(Id::ServerLog))]
    pub(crate) log: Option<Value>,
    /// What is logged: error, warn, info, debug, trace, or by part
    #[arg(long, value_name = "LEVEL", value_parser = of(Id::ServerLogLevel))]
    pub(crate) log_level: Option<Value>,
    /// Only say what would be served, and what is wrong with the settings
    #[arg(long)]
    pub(crate) check: bool,
}

impl ServeArgs {
    /// Returns what the flags set.
    pub(crate) fn settings(&self) -> Vec<(Id, Value)> {
        let one = [
            (Id::ServerPort, &self.port),
            (Id::MaxSize, &self.max_size),
            (Id::ServerMemory, &self.memory),
            (Id::ServerTokens, &self.tokens),
            (Id::ServerAnonymous, &self.anonymous),
            (Id::ServerTlsCert, &self.tls_cert),
            (Id::ServerTlsKey, &self.tls_key),
            (Id::ServerTlsClientCa, &self.tls_client_ca),
            (Id::ServerDrainTimeout, &self.drain_timeout),
            (Id::ServerLog, &self.log),
            (Id::ServerLogLevel, &self.log_level),
        ];
        let one = one.into_iter().filter_map(|(id, value)| Some((id, value.clone()?)));
        let many = [(Id::ServerListen, &self.listen), (Id::ServerDisable, &self.disable)];
        let many = many.into_iter().filter(|(_, values)| !values.is_empty());
        let many = many.map(|(id, values)| (id, joined(values)));
        let open = self.insecure_anonymous.then_some((Id::ServerInsecureAnonymous, Value::Switch(true)));
        one.chain(many).chain(open).collect()
    }
}

/// Returns one list of all the lists in `values`.
fn joined(values: &[Value]) -> Value {
    let words = values.iter().filter_map(|value| match value {
        Value::List(words) => Some(words),
        _ => None,
    });
    Value::List(words.flatten().cloned().collect())
}

/// Create, list and revoke the tokens of the server
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vitte-cache token create ci --read-write    prints the secret, this once
  vitte-cache token list
  vitte-cache token revoke ci

A server that is running takes the change over within a moment.")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) action: TokenAction,
}

#[derive(Debug, Subcommand)]
#[command(subcommand_value_name = "ACTION", subcommand_help_heading = "Actions")]
#[command(disable_help_subcommand = true)]
pub(crate) enum TokenAction {
    /// Make a token, and print its secret on standard output
    #[command(after_help = "Example:
  vitte-cache token create ci --read-write --namespace team-a

Without --namespace it is good for all namespaces. The secret is shown once, and
only its hash is kept. Clients send it as a Bearer token, or as the password of
Basic with any user name.")]
    Create {
        /// What you call it
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
        /// It may read; this is the default
        #[arg(long, conflicts_with = "read_write")]
        read_only: bool,
        /// It may read, store and delete
        #[arg(long)]
        read_write: bool,
        /// File with the tokens
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        tokens: Option<PathBuf>,
    },
    /// Show the tokens, but not their secrets
    #[command(after_help = "Example:
  vitte-cache token list --json")]
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
        /// File with the tokens
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        tokens: Option<PathBuf>,
    },
    /// Make a token worthless, at once and for good
    #[command(after_help = "Example:
  vitte-cache token revoke ci")]
    Revoke {
        /// What `create` was told
        #[arg(value_name = "NAME")]
        name: String,
        /// File with the tokens
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        tokens: Option<PathBuf>,
    },
}

/// Returns a parser for the value of a setting.
fn of(id: Id) -> impl Fn(&str) -> Result<Value, String> + Clone + Send + Sync + 'static {
    move |text| id.setting().kind.parse(text)
}

/// Longest name of a token in bytes. It stands in tables and in the log.
const MAX_NAME: usize = 100;

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits && text.trim() == text {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is no name of a token: write 1 to {MAX_NAME} visible characters", text.escape_debug()))
}
