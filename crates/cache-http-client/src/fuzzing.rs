//! What the fuzz targets call.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a panic is what they look for, or a system that cannot run them"
)]

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};

use crate::download::content_range;
use crate::failure::{Again, again_after};
use crate::native::{Frame, LEN, MAX_BATCHED, next_frame};
use crate::server::Server;
use crate::{HttpOptions, Token};

/// What a batch says of one thing: nothing, its content, or that it has to be asked for alone.
pub type Batched = Option<Result<Bytes, ()>>;

/// Takes bytes, which come in pieces of `size`, for a batch, and returns what it says of each thing before it ends or is garbage.
pub fn batch(bytes: &[u8], size: usize) -> Vec<Batched> {
    static SERVER: LazyLock<Server> = LazyLock::new(|| Server::new(HttpOptions::new("http://a")).unwrap());
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            found.push(match next_frame(&mut buffer, &SERVER) {
                Ok(Some(Frame::Absent)) => None,
                Ok(Some(Frame::Here(content))) => Some(Ok(content)),
                Ok(Some(Frame::Large)) => Some(Err(())),
                Ok(None) => break,
                Err(_) => return found,
            });
        }
        // What waits for more is no more than one thing.
        assert!(buffer.len() <= 1 + LEN + MAX_BATCHED);
    }
    found
}

/// Takes a text for a header of an answer.
pub fn header(text: &str) {
    if let Some((start, end)) = content_range(text) {
        assert!(start < end, "{text:?}");
    }
    assert_ne!(again_after(Some(text)), Again::No);
}

/// Takes a text for the token in a configuration file, and another for every variable that it names.
pub fn token(text: &str, value: &str) {
    let expand =
        |value: &str| Token::expand(text, |_| Some(value.to_owned())).map_err(|error| error.to_string());
    match expand(value) {
        Ok(token) => {
            assert!(token.secret().bytes().all(|byte| matches!(byte, b' '..=b'~')));
            assert!(!token.secret().trim().is_empty());
        }
        // What is said does not depend on the secret: others that are wrong in the same way make the same sentence.
        Err(shown) => {
            let others = ["", " ", "\u{e9}"].map(expand);
            assert!(others.contains(&Err(shown.clone())), "{shown}");
        }
    }
}
