//! Telling secrets from other values, so that none is printed or stored. In doubt a value is one: the price of an
//! error is a `why` that says `<changed>`.

use std::ffi::OsStr;

/// What is shown in place of a secret.
pub const REDACTED: &str = "<redacted>";

/// A word of a name that makes its value a secret.
const SECRET_WORDS: &[&str] = &[
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASS",
    "PASSPHRASE",
    "PASSCODE",
    "KEY",
    "KEYS",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "AUTH",
    "OAUTH",
    "OAUTH2",
    "AUTHORIZATION",
    "COOKIE",
    "COOKIES",
    "PRIVATE",
    "SESSION",
    "SESSIONID",
    "JWT",
    "BEARER",
    "PAT",
    "PIN",
    "OTP",
];
/// Ends of words that do as well: `PGPASSWORD`, `AUTHTOKEN`.
const SECRET_ENDS: &[&str] = &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY"];
/// Beginnings of tokens that services hand out, and how many characters follow at least.
const TOKEN_PREFIXES: &[(&str, usize)] = &[
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 16),
    ("gldt-", 16),
    ("glcbt-", 16),
    ("xoxa-", 8),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("xoxr-", 8),
    ("xoxs-", 8),
    ("xapp-", 8),
    ("AKIA", 16),
    ("ASIA", 16),
    ("sk-", 16),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("npm_", 16),
    ("pypi-", 16),
    ("AIza", 30),
    ("ya29.", 16),
    ("dop_v1_", 16),
    ("SG.", 16),
    ("hvs.", 16),
    ("cio", 32),
    ("lin_api_", 16),
];
/// From this length on, a mixture of capitals, small letters and digits may be a key.
const RANDOM_LEN: usize = 32;
/// Bits per character above which such a mixture is taken for random. English identifiers stay below 4.
const RANDOM_BITS: f64 = 4.2;

/// Returns whether `value` should not be shown or stored, going by the words of the variable's, option's or header's
/// `name` and by the shape of the value.
pub fn looks_secret(name: &OsStr, value: &OsStr) -> bool {
    name_is_secret(&name.to_string_lossy()) || value_is_secret(&value.to_string_lossy())
}

/// Returns `args` as they may be shown and stored: secrets replaced by [`REDACTED`], with what surrounds them kept
/// where it tells what they were for.
pub fn redact_args<I>(args: I) -> Vec<String>
where
    I: IntoIterator<Item: AsRef<OsStr>>,
{
    let mut next_is_secret = false;
    let mut next_is_user = false;
    let mut out = Vec::new();
    for arg in args {
        let arg = arg.as_ref().to_string_lossy().into_owned();
        let is_option = arg.starts_with('-') && arg.len() > 1;
        if std::mem::take(&mut next_is_secret) && !is_option {
            out.push(REDACTED.to_owned());
            continue;
        }
        if std::mem::take(&mut next_is_user)
            && let Some((user, _)) = arg.split_once(':')
        {
            out.push(format!("{user}:{REDACTED}"));
            continue;
        }
        let bare = arg.trim_start_matches('-');
        next_is_secret = is_option && !arg.contains('=') && name_is_secret(bare);
        next_is_user = matches!(arg.as_str(), "-u" | "--user" | "-U" | "--proxy-user");
        out.push(redact(&arg));
    }
    out
}

/// Returns one argument as it may be shown.
fn redact(arg: &str) -> String {
    // `--name=value`, `-Dname=value`, `NAME=value`, and headers: `Name: value`.
    for separator in ["=", ": ", ":"] {
        if let Some((name, value)) = arg.split_once(separator)
            && !value.is_empty()
            && name.len() <= 80
            && !name.contains(char::is_whitespace)
            && !(separator == ":" && value.starts_with("//"))
            && name_is_secret(name)
        {
            return format!("{name}{separator}{REDACTED}");
        }
    }
    if let Some(redacted) = redact_userinfo(arg) {
        return redacted;
    }
    if value_is_secret(arg) || has_authorization(arg) {
        return match arg.split_once('=') {
            Some((name, value)) if !name.contains(char::is_whitespace) && value_is_secret(value) => {
                format!("{name}={REDACTED}")
            }
            _ => REDACTED.to_owned(),
        };
    }
    arg.to_owned()
}

/// Returns whether a script in one argument sends an authorization of its own.
fn has_authorization(arg: &str) -> bool {
    let lower = arg.to_ascii_lowercase();
    ["authorization:", "bearer ", "x-api-key:", "private-token:", "cookie:"].iter().any(|s| lower.contains(s))
}

/// Returns `arg` with the password of the first URL in it replaced, if it is one whole word.
fn redact_userinfo(arg: &str) -> Option<String> {
    if arg.contains(char::is_whitespace) {
        return None;
    }
    let (password, _) = userinfo(arg)?;
    Some(format!("{}{REDACTED}{}", &arg[..password.start], &arg[password.end..]))
}

/// Returns where the password is in the first `scheme://user:password@host` of `text`, and the user.
fn userinfo(text: &str) -> Option<(std::ops::Range<usize>, &str)> {
    let start = text.find("://")? + 3;
    let rest = &text[start..];
    let authority = &rest[..rest.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(rest.len())];
    let at = authority.rfind('@')?;
    let colon = authority[..at].find(':')?;
    let password = start + colon + 1..start + at;
    (!password.is_empty()).then(|| (password, &authority[..colon]))
}

fn name_is_secret(name: &str) -> bool {
    let words = words(name);
    if words.iter().any(|word| word == "PUBLIC") && !words.iter().any(|word| word == "SECRET") {
        return false;
    }
    let secret = |word: &String| {
        SECRET_WORDS.contains(&word.as_str()) || SECRET_ENDS.iter().any(|end| word.ends_with(end))
    };
    // `MYSQL_PWD` is a password, `PWD` and `OLDPWD` are directories.
    words.iter().any(secret) || (words.len() > 1 && words.iter().any(|word| word == "PWD"))
}

/// Returns the words of a name in capitals: `apiKey`, `API-KEY` and `api_key` are API and KEY.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let chars: Vec<char> = name.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let after_small = at > 0 && chars[at - 1].is_lowercase();
        let before_small = at > 0
            && chars[at - 1].is_uppercase()
            && chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_small || before_small) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_uppercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn value_is_secret(value: &str) -> bool {
    if value.contains("PRIVATE KEY-----") || userinfo(value).is_some() {
        return true;
    }
    let separates = |c: char| c.is_whitespace() || "\"'`=,;:&?<>(){}[]|@".contains(c);
    value.split(separates).any(piece_is_secret)
}

fn piece_is_secret(piece: &str) -> bool {
    let is_token = |&(prefix, rest): &(&str, usize)| {
        piece.strip_prefix(prefix).is_some_and(|tail| {
            tail.len() >= rest && tail.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
    };
    let is_jwt = || piece.starts_with("eyJ") && piece.len() >= 20 && piece.matches('.').count() == 2;
    TOKEN_PREFIXES.iter().any(is_token) || is_jwt() || is_random(piece)
}

/// Returns whether `piece` is long and looks drawn by lot: base64 and the like. Hexadecimal digits are not taken for a
/// secret, because commits and digests are written in them.
fn is_random(piece: &str) -> bool {
    let bytes = piece.as_bytes();
    let of = |class: fn(&u8) -> bool| bytes.iter().any(class);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'_' | b'-' | b'/');
    bytes.len() >= RANDOM_LEN
        && bytes.iter().all(allowed)
        && of(u8::is_ascii_uppercase)
        && of(u8::is_ascii_lowercase)
        && of(u8::is_ascii_digit)
        && piece.split('/').all(|part| part.len() > 2)
        && entropy(bytes) > RANDOM_BITS
        && changes_of_class(bytes) * 4 >= bytes.len()
}

/// Returns how often neighbours are of different classes (capital, small letter, digit): seldom in words.
fn changes_of_class(bytes: &[u8]) -> usize {
    let class = |byte: u8| (byte.is_ascii_uppercase(), byte.is_ascii_lowercase(), byte.is_ascii_digit());
    bytes.windows(2).filter(|pair| class(pair[0]) != class(pair[1])).count()
}

/// Returns the Shannon entropy of the bytes' distribution, in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|&count| f64::from(count) / total)
        .map(|p| -p * p.log2())
        .sum()
}
