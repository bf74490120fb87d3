//! A store that misbehaves as a test tells it to.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
    Store,
};
use futures_core::Stream;

use crate::gate::Gate;
use crate::task::lock;

/// The operations of a [`Store`] that can be disturbed and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "they are the methods of the same names")]
pub enum Operation {
    Get,
    GetMany,
    Put,
    Remove,
    List,
    Missing,
    Read,
    Write,
    Delete,
    Gc,
    Flush,
    Close,
}

/// How an operation goes wrong.
#[derive(Clone)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with the error made here and does nothing.
    Fail(Arc<dyn Fn() -> Error + Send + Sync>),
    /// It waits at a gate, then does its work.
    Wait(Gate),
    /// It does its work, then fails with the error made here: an answer that is lost on the way back.
    FailAfter(Arc<dyn Fn() -> Error + Send + Sync>),
    /// A byte of the content that is read, of the value of an entry that is got, or of a body that is written, is
    /// flipped: the one at this position, if there are so many.
    Flip(u64),
    /// The content read or written, or the value got, ends after this many bytes as if that were all.
    Truncate(u64),
    /// Of the answers to a question about many keys, only so many are given.
    Few(usize),
    /// A write, put, remove, delete, collection, flush or close says that it is done and does nothing.
    Drop,
}

impl Fault {
    /// Returns [`Fault::Fail`].
    pub fn fail(error: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        Self::Fail(Arc::new(error))
    }

    /// Returns a failure that may be tried again.
    pub fn unavailable() -> Self {
        Self::fail(|| Error::Unavailable {
            store: "the faulty store".to_owned(),
            why: "the test says so".to_owned(),
        })
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(error) => write!(f, "Fail({})", error()),
            Self::FailAfter(error) => write!(f, "FailAfter({})", error()),
            Self::Wait(_) => f.write_str("Wait"),
            Self::Flip(at) => write!(f, "Flip({at})"),
            Self::Truncate(len) => write!(f, "Truncate({len})"),
            Self::Few(count) => write!(f, "Few({count})"),
            Self::Drop => f.write_str("Drop"),
        }
    }
}

#[derive(Debug)]
struct Rule {
    operation: Operation,
    calls: (Bound<u64>, Bound<u64>),
    fault: Fault,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    calls: BTreeMap<Operation, u64>,
}

/// Passes everything on to another store, except what a script disturbs.
///
/// ```
/// use cache_core::{Key, Store};
/// use cache_testkit::{Fault, FaultStore, MemoryStore, Operation, block_on};
///
/// let store = FaultStore::new(MemoryStore::new());
/// store.inject(Operation::Get, 1..=2, Fault::unavailable());
/// let key = Key::from_bytes([7; 32]);
/// assert!(block_on(store.get(&key)).is_ok());
/// assert!(block_on(store.get(&key)).is_err());
/// assert!(block_on(store.get(&key)).is_err());
/// assert!(block_on(store.get(&key)).is_ok());
/// assert_eq!(store.calls(Operation::Get), 4);
/// ```
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: S,
    script: Mutex<Script>,
}

impl<S> FaultStore<S> {
    /// Returns a store that passes everything on to `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, script: Mutex::default() }
    }

    /// Disturbs those calls of `operation` whose number is in `calls`, counted from 0 and from the creation of this
    /// store. Of several rules for one call the latest counts.
    pub fn inject(&self, operation: Operation, calls: impl RangeBounds<u64>, fault: Fault) {
        let calls = (calls.start_bound().cloned(), calls.end_bound().cloned());
        lock(&self.script).rules.push(Rule { operation, calls, fault });
    }

    /// Behaves from now on.
    pub fn heal(&self) {
        lock(&self.script).rules.clear();
    }

    /// Returns how often `operation` was called.
    pub fn calls(&self, operation: Operation) -> u64 {
        lock(&self.script).calls.get(&operation).copied().unwrap_or(0)
    }

    /// Returns the store that everything is passed on to.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Counts a call and returns what is to happen to it, after the waiting, if it is to wait.
    async fn disturb(&self, operation: Operation) -> Result<Option<Fault>> {
        let fault = {
            let mut script = lock(&self.script);
            let calls = script.calls.entry(operation).or_default();
            let number = *calls;
            *calls += 1;
            let hit = |rule: &&Rule| rule.operation == operation && rule.calls.contains(&number);
            script.rules.iter().rev().find(hit).map(|rule| rule.fault.clone())
        };
        match fault {
            Some(Fault::Fail(error)) => Err(error()),
            Some(Fault::Wait(gate)) => {
                gate.pass().await;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

/// Returns `done`, or the error of a fault that loses the answer.
fn answer<T>(fault: Option<&Fault>, done: Result<T>) -> Result<T> {
    match fault {
        Some(Fault::FailAfter(error)) => done.and_then(|_| Err(error())),
        _ => done,
    }
}

/// Returns `bytes`, which start at `position`, with what `fault` does to them.
fn spoil(fault: Option<&Fault>, position: u64, bytes: Bytes) -> Bytes {
    match fault {
        Some(Fault::Flip(at)) if (position..position + bytes.len() as u64).contains(at) => {
            let mut bytes = Vec::from(bytes);
            bytes[(at - position) as usize] ^= 1;
            bytes.into()
        }
        Some(Fault::Truncate(len)) => {
            let keep = len.saturating_sub(position).min(bytes.len() as u64);
            bytes.slice(..keep as usize)
        }
        _ => bytes,
    }
}

fn spoil_entry(fault: Option<&Fault>, entry: Option<Entry>) -> Option<Entry> {
    entry.map(|entry| Entry { value: spoil(fault, 0, entry.value), ..entry })
}

fn spoil_body(fault: Option<Fault>, body: Body) -> Body {
    match fault {
        Some(Fault::Flip(_) | Fault::Truncate(_)) => {
            Body::Stream(Box::pin(Spoiled { body: Some(body), pending: None, fault, position: 0 }))
        }
        _ => body,
    }
}

type Next = Pin<Box<dyn Future<Output = (Body, Result<Option<Bytes>>)> + Send>>;

/// A body with a fault in it.
struct Spoiled {
    body: Option<Body>,
    pending: Option<Next>,
    fault: Option<Fault>,
    position: u64,
}

impl Stream for Spoiled {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(mut body) = self.body.take() {
            self.pending = Some(Box::pin(async move {
                let next = body.next().await;
                (body, next)
            }));
        }
        let Some(pending) = &mut self.pending else { return Poll::Ready(None) };
        let Poll::Ready((body, next)) = pending.as_mut().poll(cx) else { return Poll::Pending };
        self.pending = None;
        let Ok(Some(piece)) = next else { return Poll::Ready(next.transpose()) };
        let whole = piece.len() as u64;
        let piece = spoil(self.fault.as_ref(), self.position, piece);
        self.position += whole;
        if (piece.len() as u64) == whole {
            self.body = Some(body);
        } else if piece.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for FaultStore<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let fault = self.disturb(Operation::Get).await?;
        let got = self.inner.get(key).await.map(|entry| spoil_entry(fault.as_ref(), entry));
        answer(fault.as_ref(), got)
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let fault = self.disturb(Operation::GetMany).await?;
        let got = self.inner.get_many(keys).await;
        let few = if let Some(Fault::Few(count)) = fault { count } else { keys.len() };
        let spoil = |entry| spoil_entry(fault.as_ref(), entry);
        let spoiled = got.map(|all| all.into_iter().take(few).map(spoil).collect());
        answer(fault.as_ref(), spoiled)
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        let fault = self.disturb(Operation::Put).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(PutOutcome::Stored);
        }
        answer(fault.as_ref(), self.inner.put(key, entry, mode).await)
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        let fault = self.disturb(Operation::Remove).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(true);
        }
        answer(fault.as_ref(), self.inner.remove(key).await)
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let fault = self.disturb(Operation::List).await?;
        answer(fault.as_ref(), self.inner.list(filter, after, limit).await)
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let fault = self.disturb(Operation::Missing).await?;
        answer(fault.as_ref(), self.inner.missing(digests).await)
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        let fault = self.disturb(Operation::Read).await?;
        let body = answer(fault.as_ref(), self.inner.read(digest, range).await)?;
        Ok(body.map(|body| spoil_body(fault, body)))
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        let fault = self.disturb(Operation::Write).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(());
        }
        let done = self.inner.write(digest, len, spoil_body(fault.clone(), body)).await;
        answer(fault.as_ref(), done)
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        let fault = self.disturb(Operation::Delete).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(true);
        }
        answer(fault.as_ref(), self.inner.delete(digest).await)
    }

    async fn gc(&self) -> Result<Collected> {
        let fault = self.disturb(Operation::Gc).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(Collected::default());
        }
        answer(fault.as_ref(), self.inner.gc().await)
    }

    async fn flush(&self) -> Result<()> {
        let fault = self.disturb(Operation::Flush).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(());
        }
        answer(fault.as_ref(), self.inner.flush().await)
    }

    async fn close(&self) -> Result<()> {
        let fault = self.disturb(Operation::Close).await?;
        if matches!(fault, Some(Fault::Drop)) {
            return Ok(());
        }
        answer(fault.as_ref(), self.inner.close().await)
    }
}
