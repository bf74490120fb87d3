//! Contents of blobs, and bodies that deliver them well or badly.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_core::{Body, Error, Result};
use futures_core::Stream;

/// Returns `len` bytes that do not compress and differ by `seed`: xorshift64*, Vigna 2016, with a seeded start.
pub fn content(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// What comes after the pieces.
enum End {
    Clean,
    Error,
    Never,
}

/// A stream that is pending once before each piece, as one from a network is.
struct Pieces {
    rest: std::vec::IntoIter<Bytes>,
    end: End,
    ready: bool,
    pulled: Arc<AtomicU64>,
}

/// How many bytes somebody has taken from a body.
#[derive(Clone, Debug, Default)]
pub struct Pulled(Arc<AtomicU64>);

impl Pulled {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Size of a piece of an endless body, in bytes.
const ENDLESS_PIECE: usize = 64 << 10;

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.ready = !self.ready;
        if self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = match (self.rest.next(), &self.end) {
            (Some(piece), _) => piece,
            (None, End::Clean) => return Poll::Ready(None),
            (None, End::Error) => {
                return Poll::Ready(Some(Err(Error::Unavailable {
                    store: "the sender of this body".to_owned(),
                    why: "it broke off, as the test wants".to_owned(),
                })));
            }
            (None, End::Never) => Bytes::from(vec![0; ENDLESS_PIECE]),
        };
        self.pulled.fetch_add(piece.len() as u64, Ordering::SeqCst);
        Poll::Ready(Some(Ok(piece)))
    }
}

fn cut(content: &Bytes, piece: usize) -> Vec<Bytes> {
    let piece = piece.max(1);
    let starts = (0..content.len()).step_by(piece);
    starts.map(|start| content.slice(start..(start + piece).min(content.len()))).collect()
}

fn stream(pieces: Vec<Bytes>, end: End) -> (Body, Pulled) {
    let pulled = Pulled::default();
    let pieces = Pieces { rest: pieces.into_iter(), end, ready: false, pulled: Arc::clone(&pulled.0) };
    (Body::Stream(Box::pin(pieces)), pulled)
}

/// Returns a body that gives `content` in pieces of `piece` bytes and is pending before each.
pub fn in_pieces(content: &Bytes, piece: usize) -> Body {
    stream(cut(content, piece), End::Clean).0
}

/// Returns the body of [`in_pieces`] and how much of it was taken.
pub fn counted(content: &Bytes, piece: usize) -> (Body, Pulled) {
    stream(cut(content, piece), End::Clean)
}

/// Returns a body that gives `content` in pieces and then an error instead of an end.
pub fn failing_after(content: &Bytes, piece: usize) -> Body {
    stream(cut(content, piece), End::Error).0
}

/// Returns a body that gives zeros for ever, and how much of it was taken.
pub fn endless() -> (Body, Pulled) {
    stream(Vec::new(), End::Never)
}

/// Returns a body that gives `pieces`.
pub(crate) fn of_pieces(pieces: Vec<Bytes>) -> Body {
    stream(pieces, End::Clean).0
}
