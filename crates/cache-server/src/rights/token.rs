//! Tokens: secrets that give a right.

use std::fmt;

use cache_core::{Error, Namespace, Result};
use serde::{Deserialize, Serialize};

use super::Right;

/// BLAKE3 `derive_key` context, so that what is stored is of no use for anything else.
const CONTEXT: &str = "vitte-cache 2026-11 server token v1";
/// What every secret starts with, so that people and scanners for lost secrets recognise one.
const PREFIX: &str = "vc_";
/// Random bytes of a secret: beyond guessing, which is why a fast hash is enough.
const BYTES: usize = 32;

/// Somebody who may do something, as a server remembers it: not the secret, only its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub right: Right,
    /// The only namespace that it allows it in; all, if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Hash of the secret, 64 digits.
    hash: String,
}

/// The secret of a token. It is shown once, to who creates it.
#[derive(Clone)]
pub struct Secret(String);

impl Token {
    /// Returns a new token with a random secret.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn create(
        name: impl Into<String>,
        right: Right,
        namespace: Option<Namespace>,
    ) -> Result<(Self, Secret)> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::Invalid(format!("the system has no random numbers for a token: {error}"))
        })?;
        let secret = format!("{PREFIX}{}", blake3::Hash::from_bytes(bytes).to_hex());
        let hash = hash(&secret).to_hex().to_string();
        Ok((Self { name: name.into(), right, namespace, hash }, Secret(secret)))
    }

    /// Returns the one of `tokens` that has this secret, in the same time wherever it is.
    pub(super) fn find<'a>(tokens: &'a [Self], secret: &str) -> Option<&'a Self> {
        let sought = hash(secret);
        let mut found = None;
        for token in tokens {
            // Hashes of BLAKE3 are compared in constant time.
            if blake3::Hash::from_hex(&token.hash).is_ok_and(|hash| hash == sought) {
                found = Some(token);
            }
        }
        found
    }
}

fn hash(secret: &str) -> blake3::Hash {
    blake3::Hash::from_bytes(blake3::derive_key(CONTEXT, secret.as_bytes()))
}

impl Secret {
    /// Returns the secret itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_secret_and_does_not_hold_it() {
        let (a, secret_a) = Token::create("a", Right::Read, None).unwrap();
        let (b, secret_b) = Token::create("b", Right::ReadWrite, None).unwrap();
        assert_ne!(secret_a.reveal(), secret_b.reveal());
        let tokens = [a, b];
        assert_eq!(Token::find(&tokens, secret_b.reveal()), Some(&tokens[1]));
        assert_eq!(Token::find(&tokens, "vc_"), None);
        let stored = serde_json::to_string(&tokens).unwrap();
        assert!(!stored.contains(&secret_a.reveal()[PREFIX.len()..]));
        assert_eq!(serde_json::from_str::<Vec<Token>>(&stored).unwrap(), tokens);
        assert_eq!(format!("{secret_a:?}"), "Secret(…)");
    }
}
