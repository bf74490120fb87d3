//! What proves to the server who asks.

use std::fmt;

use cache_core::{Error, Result};

/// A secret. It is shown nowhere, and has no text form.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Returns the token `secret`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is empty or has characters that no header can carry.
    pub fn new(secret: &str) -> Result<Self> {
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(Error::Invalid("the token of the remote cache is empty".to_owned()));
        }
        if !secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let what =
                "the token of the remote cache has a character that cannot be sent; check how it was copied";
            return Err(Error::Invalid(what.to_owned()));
        }
        Ok(Self(secret.to_owned()))
    }

    /// Returns the token that `text` of a configuration file means: each `${NAME}` in it is what `variable` returns for that
    /// name, everything else is as it stands. What was expanded is never in a message, and not expanded again.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a variable is not set, a brace is not closed, or the result is no token.
    pub fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut secret = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let unclosed =
                || Error::Invalid("the token of the remote cache has a `${` without a `}`".to_owned());
            let (name, after) = after.split_once('}').ok_or_else(unclosed)?;
            let unset = || {
                Error::Invalid(format!(
                    "the token of the remote cache is in the environment variable {name}, which is not set"
                ))
            };
            secret.push_str(before);
            secret.push_str(&variable(name).filter(|value| !value.is_empty()).ok_or_else(unset)?);
            rest = after;
        }
        secret.push_str(rest);
        Self::new(&secret)
    }

    /// Returns what [`expand`](Self::expand) makes of `text` with the environment of this process.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    pub fn expand_from_env(text: &str) -> Result<Self> {
        Self::expand(text, |name| std::env::var(name).ok())
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "VITTE_TOKEN" => Some("s3cret${X}\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_expanded_once() {
        let expand = |text| Token::expand(text, variable).map(|token| token.secret().to_owned());
        assert_eq!(expand("${VITTE_TOKEN}").unwrap(), "s3cret${X}");
        assert_eq!(expand(" plain$text{} ").unwrap(), "plain$text{}");
        assert!(expand("a${VITTE_TOKEN}b").is_err(), "a line end in the middle");
        for (text, why) in
            [("${NONE}", "NONE"), ("${EMPTY}", "EMPTY"), ("${VITTE", "`}`"), ("", "empty"), ("é", "sent")]
        {
            let error = expand(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn it_is_not_shown() {
        let token = Token::new("s3cret").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        let mut options = crate::HttpOptions::new("http://a");
        options.token = Some(token);
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
