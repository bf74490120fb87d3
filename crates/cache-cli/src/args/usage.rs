//! Mistakes in a command line, each in one sentence with the remedy.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Returns what is wrong according to `error`, and what to do, in one sentence.
pub(crate) fn explain(error: &clap::Error, verb: &str) -> String {
    let argument = || text(error, ContextKind::InvalidArg).map(|argument| bare(&argument));
    let help =
        if verb.is_empty() { "vitte-cache --help".to_owned() } else { format!("vitte-cache {verb} --help") };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let argument = argument().unwrap_or_default();
            if verb == "run" && !argument.starts_with('-') {
                return "put `--` before the command: vitte-cache run [OPTIONS] -- COMMAND [ARGS]".to_owned();
            }
            let what = if argument.starts_with('-') { "option" } else { "argument" };
            match text(error, ContextKind::SuggestedArg) {
                Some(near) => {
                    format!("there is no {what} `{argument}` here; did you mean `{}`?", bare(&near))
                }
                None => format!("there is no {what} `{argument}` here; `{help}` lists what there is"),
            }
        }
        ErrorKind::InvalidSubcommand => {
            let name = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            match text(error, ContextKind::SuggestedSubcommand) {
                Some(near) => format!("there is no verb `{name}`; did you mean `{near}`?"),
                None => format!(
                    "there is no verb `{name}`; to run a command write `vitte-cache run -- {name} …`, and `{help}` lists the verbs"
                ),
            }
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            if !verb.is_empty() {
                return format!("say what to do; `{help}` lists what there is");
            }
            format!("say what to do, as in `vitte-cache run -i 'src/**' -- make`; `{help}` lists the verbs")
        }
        ErrorKind::MissingRequiredArgument => match list(error, ContextKind::InvalidArg) {
            missing if missing.is_empty() => format!("an argument is missing; `{help}` lists what there is"),
            missing => {
                let missing: Vec<String> = missing.iter().map(|argument| bare(argument)).collect();
                format!("{} is missing; `{help}` has an example", missing.join(" and "))
            }
        },
        ErrorKind::InvalidValue => {
            let argument = argument().unwrap_or_default();
            let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
            let allowed = list(error, ContextKind::ValidValue).join(", ");
            match (value.is_empty(), allowed.is_empty()) {
                (true, true) => format!("{argument} needs a value; `{help}` has an example"),
                (true, false) => format!("{argument} needs one of the values {allowed}"),
                (false, true) => format!("`{value}` is no value for {argument}; `{help}` says what is"),
                (false, false) => format!("`{value}` is no value for {argument}: write one of {allowed}"),
            }
        }
        ErrorKind::ValueValidation => {
            let argument = argument().unwrap_or_default();
            match error.source() {
                Some(source) => format!("{argument}: {source}"),
                None => format!("the value of {argument} does not fit; `{help}` says what does"),
            }
        }
        ErrorKind::ArgumentConflict => {
            let argument = argument().unwrap_or_default();
            let mut others = list(error, ContextKind::PriorArg);
            others.extend(text(error, ContextKind::PriorArg));
            let others: Vec<String> = others.iter().map(|other| bare(other)).collect();
            if others.is_empty() || others.contains(&argument) {
                format!("{argument} may be given only once")
            } else {
                format!("{argument} and {} exclude each other; give only one of them", others.join(" and "))
            }
        }
        ErrorKind::NoEquals => {
            let argument = argument().unwrap_or_default();
            format!("write the value of {argument} behind an equals sign")
        }
        ErrorKind::TooManyValues => {
            let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
            format!("there is no room for `{value}`; `{help}` lists what there is")
        }
        ErrorKind::InvalidUtf8 => {
            format!("an argument is not valid Unicode; only commands and paths may be; see `{help}`")
        }
        _ => format!("this call makes no sense; `{help}` says what does"),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        // clap sorts what is near by how near it is, the nearest last.
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    }
}

fn list(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns the name of an argument without the placeholder of its value and without brackets; of a group, all names.
fn bare(argument: &str) -> String {
    let one = |name: &str| {
        if name.starts_with('-') {
            let end = name.find([' ', '=', '[', '>']).unwrap_or(name.len());
            return name[..end].to_owned();
        }
        name.trim_matches(|c| "<>[].".contains(c)).to_owned()
    };
    argument.trim_start_matches('<').split('|').map(one).collect::<Vec<_>>().join(" or ")
}
