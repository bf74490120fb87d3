//! What the fuzz targets call.
#![allow(clippy::missing_panics_doc, reason = "a panic is what they look for")]

use crate::Token;
use crate::download::content_range;
use crate::failure::{Again, again_after};

/// Takes a text for a header of an answer.
pub fn header(text: &str) {
    if let Some((start, end)) = content_range(text) {
        assert!(start < end, "{text:?}");
    }
    assert_ne!(again_after(Some(text)), Again::No);
}

/// Takes a text for the token in a configuration file, and another for every variable that it names.
pub fn token(text: &str, value: &str) {
    let token = Token::expand(text, |_| Some(value.to_owned()));
    match token {
        Ok(token) => {
            assert!(token.secret().bytes().all(|byte| matches!(byte, b' '..=b'~')));
            assert!(!token.secret().trim().is_empty());
        }
        // A secret of one or two characters may stand in any sentence.
        Err(error) => {
            let shown = error.to_string();
            assert!(value.len() < 24 || text.contains(value) || !shown.contains(value), "{shown}");
        }
    }
}
