//! `token`: who may use the server.

use std::io::Write;
use std::path::Path;

use cache_core::{Namespace, Timestamp};
use cache_run::project;
use cache_server::{Right, Token};
use serde::Serialize;

use super::{ago, now};
use crate::args::{Globals, TokenAction, TokenArgs};
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::output::{self, Color, Column};
use crate::settings::{Id, Value};
use crate::tokens::{Record, Tokens};

pub(super) fn run(globals: &Globals, args: &TokenArgs) -> Result {
    match &args.action {
        TokenAction::Create { name, read_write, tokens, .. } => {
            let right = if *read_write { Right::ReadWrite } else { Right::Read };
            create(&open(globals, tokens.as_deref())?.1, name, right, globals.namespace.clone())
        }
        TokenAction::List { json, tokens } => {
            let (config, tokens) = open(globals, tokens.as_deref())?;
            list(&config, &tokens, *json)
        }
        TokenAction::Revoke { name, tokens } => revoke(&open(globals, tokens.as_deref())?.1, name),
    }
}

fn open(globals: &Globals, file: Option<&Path>) -> Result<(Config, Tokens)> {
    let flags = file.map(|file| (Id::ServerTokens, Value::Path(file.to_path_buf())));
    let config = Config::load_for_server(globals, flags.into_iter().collect())?;
    let path = config.tokens_file().ok_or_else(|| {
        Failure::usage(
            "there is no file to keep tokens in; name one with --tokens or set VITTE_SERVER_TOKENS",
        )
    })?;
    let trusting = config.switch(Id::TrustConfig);
    Ok((config, Tokens::at(path, trusting)))
}

fn create(tokens: &Tokens, name: &str, right: Right, namespace: Option<Namespace>) -> Result {
    let (token, secret) = Token::create(name, right, namespace)?;
    let may = may(&token);
    let add = |all: &mut Vec<Record>| {
        if all.iter().any(|record| record.token.name == name) {
            return Err(format!(
                "there is a token `{name}` already; choose another name, or revoke that one first"
            ));
        }
        all.push(Record::new(token, now()));
        Ok(())
    };
    tokens.change(add).map_err(Failure::failed)?;
    // Nothing else goes to standard output, so that a script can take it from there.
    let mut out = output::stdout();
    writeln!(out, "{}", secret.reveal())?;
    out.flush()?;
    output::note(&format!(
        "This is the token `{name}`, which {may}. Keep it: it is not shown again.\n\
         Clients send it as `Authorization: Bearer …`, or as the password of Basic.",
    ));
    Ok(())
}

/// Returns what a token allows, in words.
fn may(token: &Token) -> String {
    let what = match token.right {
        Right::Read => "may read",
        Right::ReadWrite => "may read and write",
    };
    match &token.namespace {
        Some(namespace) => format!("{what} in the namespace {namespace}"),
        None => format!("{what} in all namespaces"),
    }
}

#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    right: Right,
    namespace: Option<&'a Namespace>,
    created_ms: u64,
}

fn list(config: &Config, tokens: &Tokens, json: bool) -> Result {
    let records = tokens.read().map_err(Failure::failed)?.unwrap_or_default();
    let mut out = output::stdout();
    if json {
        for Record { token, created_ms } in &records {
            let Token { name, right, namespace, .. } = token;
            let line = Json { name, right: *right, namespace: namespace.as_ref(), created_ms: *created_ms };
            output::json_line(&mut out, &line)?;
        }
        return Ok(out.flush()?);
    }
    if records.is_empty() {
        writeln!(out, "there are no tokens in {}", tokens.path().display())?;
        return Ok(out.flush()?);
    }
    let columns = ["name", "right", "namespace", "created"].map(Column::Left);
    let rows = records.iter().map(|Record { token, created_ms }| {
        let right = match token.right {
            Right::Read => "read",
            Right::ReadWrite => "read, write",
        };
        let namespace = token.namespace.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
        let created = format!("{} ago", ago(Timestamp::from_millis(*created_ms)));
        vec![output::visible(&token.name), right.to_owned(), namespace, created]
    });
    let painter = Color::named(config.word(Id::Color)).stdout();
    out.write_all(output::table(&columns, rows.collect(), painter).as_bytes())?;
    Ok(out.flush()?)
}

fn revoke(tokens: &Tokens, name: &str) -> Result {
    let remove = |all: &mut Vec<Record>| {
        let before = all.len();
        all.retain(|record| record.token.name != name);
        if all.len() < before {
            return Ok(());
        }
        let hint = match project::nearest(name, all.iter().map(|record| &*record.token.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`vitte-cache token list` shows them".to_owned(),
        };
        Err(format!("there is no token `{name}` in {}; {hint}", tokens.path().display()))
    };
    if tokens.read().map_err(Failure::failed)?.is_none() {
        return Err(Failure::failed(remove(&mut Vec::new()).err().unwrap_or_default()));
    }
    tokens.change(remove).map_err(Failure::failed)?;
    output::note(&format!("The token `{name}` is worth nothing any more."));
    Ok(())
}
