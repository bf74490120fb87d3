//! Servers of this project, by their own protocol: docs/protocols/native.md.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use cache_core::envelope::decode_entry_facts;
use cache_core::signing::KeyId;
use cache_core::{
    Body, Capabilities, Digest, Entry, Error, Key, ListFilter, Listed, Namespace, Page, PutMode, PutOutcome,
    Result, Timestamp,
};
use reqwest::header::{CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::coded;
use crate::download::{Blob, Download};
use crate::failure::Failure;
use crate::options::HttpOptions;
use crate::resume::{self, Source};
use crate::server::{Answer, Question, Server};
use crate::upload;
use crate::wire::{Wire, capabilities};

/// Things in one question: what the server takes at most.
const MAX_ITEMS: usize = 2_000;
/// Bytes of the largest thing in a batch: what the server sends at most.
pub(crate) const MAX_BATCHED: usize = 256 << 10;
/// Bytes of the largest answer in JSON that is read: a page of entries with many dependencies each.
const MAX_JSON: u64 = 64 << 20;
/// Bytes of the largest refusal that is read.
const MAX_PROBLEM: u64 = 256 << 10;
/// The length before what comes in a batch, in bytes.
pub(crate) const LEN: usize = 4;

/// A server of this project.
#[derive(Debug)]
pub(crate) struct Native {
    server: Arc<Server>,
}

/// What a batch says of one thing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Absent,
    Here(Bytes),
    /// It has to be asked for alone.
    Large,
}

#[derive(Deserialize)]
struct Missing {
    missing: Vec<Digest>,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Item>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    key: Key,
    /// The facts about the entry, as in its envelope, in base64.
    facts: String,
    size: u64,
    last_used: Option<Timestamp>,
    signer: Option<String>,
}

impl Native {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    fn question<'a>(path: &'a str, content: &serde_json::Value) -> Question<'a> {
        let mut question = Question::new(Method::POST, path);
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        question.body = Some(content.to_string().into());
        question
    }

    fn parsed<T: DeserializeOwned>(&self, content: &[u8]) -> Result<T> {
        serde_json::from_slice(content)
            .map_err(|_| self.server.unavailable("what it answers is not the JSON of this protocol"))
    }

    /// Returns what is under each of some `keys`, in one answer.
    async fn batch(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let question = Self::question("v1/batch", &json!({ "entries": keys }));
        let mut attempts = self.server.attempts();
        let found = loop {
            match self.batch_once(&question, keys, attempts.deadline).await {
                Ok(found) => break found,
                Err(failure) => attempts.again(failure).await?,
            }
        };
        let mut entries = Vec::with_capacity(found.len());
        for (key, found) in keys.iter().zip(found) {
            entries.push(match found {
                Ok(entry) => entry,
                Err(Alone) => self.get(key).await?,
            });
        }
        Ok(entries)
    }

    async fn batch_once(
        &self,
        question: &Question<'_>,
        keys: &[Key],
        deadline: Instant,
    ) -> Result<Vec<Result<Option<Entry>, Alone>>, Failure> {
        let server = &self.server;
        let mut answer = server.ask_once(question, deadline).await?;
        if answer.response.status() != StatusCode::OK {
            return Err(server.refused(&answer.response, "batches", 0));
        }
        let (mut buffer, mut arrived) = (BytesMut::new(), 0);
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let frame = loop {
                if let Some(frame) = next_frame(&mut buffer, server)? {
                    break frame;
                }
                // Bytes that came have bought time.
                let bought = Duration::from_secs(arrived / HttpOptions::MIN_RATE);
                let piece = server.within(deadline + bought, answer.response.chunk()).await?;
                let piece = piece.map_err(|error| server.broken(error))?;
                let piece = piece.ok_or_else(|| server.passing("its answer ends early"))?;
                arrived += piece.len() as u64;
                buffer.extend_from_slice(&piece);
            };
            found.push(match frame {
                Frame::Absent => Ok(None),
                Frame::Here(envelope) => Ok(self.server.opened(key, &envelope)),
                Frame::Large => Err(Alone),
            });
        }
        Ok(found)
    }

    /// Returns what the server says is missing, or another blob that `entry` may be missing.
    async fn first_missing(&self, mut answer: Answer) -> Result<Error> {
        let deadline = self.server.deadline();
        let content = self.server.content(&mut answer, MAX_PROBLEM, deadline).await;
        let problem: Missing = self.parsed(&content.map_err(|failure| failure.error)?)?;
        let first = problem.missing.first();
        Ok(first.map_or_else(
            || self.server.unavailable("it answers 409 to PUT"),
            |digest| Error::Incomplete { digest: *digest },
        ))
    }
}

/// It has to be asked for alone.
struct Alone;

/// Takes the next frame out of `buffer`, if there is a whole one.
pub(crate) fn next_frame(buffer: &mut BytesMut, server: &Server) -> Result<Option<Frame>, Failure> {
    let garbage = || Failure::lasting(server.unavailable("what it answers is no batch"));
    let Some(state) = buffer.first() else { return Ok(None) };
    let frame = match state {
        0 => Frame::Absent,
        2 => Frame::Large,
        1 => {
            let Some(len) = buffer[1..].first_chunk::<LEN>() else { return Ok(None) };
            let len = u32::from_le_bytes(*len) as usize;
            if len > MAX_BATCHED {
                return Err(garbage());
            }
            if buffer.len() < 1 + LEN + len {
                return Ok(None);
            }
            buffer.advance(1 + LEN);
            return Ok(Some(Frame::Here(buffer.split_to(len).freeze())));
        }
        _ => return Err(garbage()),
    };
    buffer.advance(1);
    Ok(Some(frame))
}

/// Returns `text` as it stands in a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02x}");
        }
        encoded
    })
}

fn listed(item: Item) -> Option<Listed> {
    let Item { key, facts, size, last_used, signer: hex } = item;
    let (found, entry) = decode_entry_facts(&STANDARD.decode(facts).ok()?).ok()?;
    let signer = hex.as_deref().and_then(signer);
    (found == key).then_some(Listed { key, meta: entry.meta, size, last_used, signer })
}

fn signer(hex: &str) -> Option<KeyId> {
    let number = u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 16)?;
    Some(KeyId::from_bytes(number.to_be_bytes()))
}

#[async_trait]
impl Wire for Native {
    fn capabilities(&self) -> Capabilities {
        capabilities(&self.server.options)
    }

    fn entry_path(&self, key: &Key) -> String {
        format!("v1/entries/{key}")
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("v1/blobs/{}/{}", digest.function().name(), digest.to_hex())
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let envelope = self.server.fetch(&self.entry_path(key), self.server.options.max_entry).await?;
        Ok(envelope.and_then(|envelope| self.server.opened(key, &envelope)))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let mut all = Vec::with_capacity(keys.len());
        for some in keys.chunks(MAX_ITEMS) {
            all.extend(self.batch(some).await?);
        }
        Ok(all)
    }

    /// The server does that, in the same request.
    async fn ensure_complete(&self, _: &Entry) -> Result<()> {
        Ok(())
    }

    async fn put(&self, key: &Key, envelope: Bytes, mode: PutMode) -> Result<PutOutcome> {
        let path = self.entry_path(key);
        let mut question = Question::new(Method::PUT, &path);
        question.body = Some(envelope);
        let answer = match mode {
            PutMode::Overwrite => self.server.ask(&question).await?,
            PutMode::IfAbsent => {
                question.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
                // Not repeated: a second attempt may meet what the first one stored.
                let answer = self.server.ask_once(&question, self.server.deadline()).await;
                answer.map_err(|failure| failure.error)?
            }
        };
        match answer.response.status() {
            StatusCode::PRECONDITION_FAILED if mode == PutMode::IfAbsent => Ok(PutOutcome::Present),
            StatusCode::CONFLICT => Err(self.first_missing(answer).await?),
            _ => self.server.stored(&answer).map(|()| PutOutcome::Stored),
        }
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.server.remove(&self.entry_path(key)).await
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let mut path = format!("v1/entries?limit={}", limit.max(1));
        let namespace = filter.namespace.as_ref().map(Namespace::as_str);
        let parameters = [
            ("namespace", namespace),
            ("kind", filter.kind.as_deref()),
            ("name_prefix", filter.name_prefix.as_deref()),
            ("after", after),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", encoded(value));
            }
        }
        let content = self.server.fetch(&path, MAX_JSON).await?;
        let content = content.ok_or_else(|| self.server.unavailable("it has no list of entries"))?;
        let Items { items, next } = self.parsed(&content)?;
        let items: Option<Vec<Listed>> = items.into_iter().map(listed).collect();
        let items = items.ok_or_else(|| self.server.unavailable("it lists what is no entry"))?;
        Ok(Page { items: items.into_iter().filter(|item| filter.passes(&item.meta)).collect(), next })
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let mut all = Vec::new();
        for some in digests.chunks(MAX_ITEMS) {
            let question = Self::question("v1/missing", &json!({ "digests": some }));
            let content = self.server.fetch_question(&question, MAX_JSON).await?;
            let content = content.ok_or_else(|| self.server.unavailable("it cannot say what is missing"))?;
            let Missing { missing } = self.parsed(&content)?;
            let missing: HashSet<Digest> = missing.into_iter().collect();
            all.extend(some.iter().filter(|digest| missing.contains(digest)));
        }
        Ok(all)
    }

    async fn read(&self, digest: &Digest, wanted: Range<u64>, partial: bool) -> Result<Option<Download>> {
        let (path, coding) = (self.blob_path(digest), self.server.coding);
        Download::begin(&self.server, Blob { digest: *digest, path, len: None, coding }, wanted, partial)
            .await
    }

    async fn write(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let path = self.blob_path(digest);
        let mut question = Question::new(Method::PUT, &path);
        let coding = self.server.coding_of_uploads();
        let coded = coding.and_then(|coding| Some((coding, coded::whole(coding, &content)?)));
        question.body = Some(match coded {
            None => content,
            Some((coding, coded)) => {
                question.headers = coded::headers(coding, content.len() as u64);
                coded
            }
        });
        self.server.stored(&self.server.ask(&question).await?)
    }

    async fn upload(&self, digest: Digest, len: u64, body: Body, gone: oneshot::Receiver<()>) -> Result<()> {
        let path = self.blob_path(&digest);
        if self.server.has_blob(&path, len).await? {
            return Ok(());
        }
        let body = match Source::of(body, len)? {
            Ok(source) => match resume::Upload::begin(&self.server, digest, len).await? {
                Some(upload) => return upload.send(&source, &path, gone).await,
                None => source.after(0),
            },
            Err(body) => body,
        };
        let coding = self.server.coding_of_uploads();
        let answer = upload::stream(&self.server, &path, digest, len, body, coding, gone).await?;
        self.server.stored(&answer)
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.server.remove(&self.blob_path(digest)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_read_in_any_pieces_and_garbage_is_refused() {
        let server = Server::new(HttpOptions::new("http://a")).unwrap();
        let whole = [&[0][..], &[1, 3, 0, 0, 0], b"abc", &[2], &[1, 0, 0, 0, 0]].concat();
        for size in 1..=whole.len() {
            let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
            for piece in whole.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = next_frame(&mut buffer, &server).unwrap() {
                    frames.push(frame);
                }
            }
            let here = |bytes: &'static [u8]| Frame::Here(Bytes::from_static(bytes));
            assert_eq!(frames, [Frame::Absent, here(b"abc"), Frame::Large, here(b"")], "in pieces of {size}");
        }
        for garbage in [&[3][..], &[1, 255, 255, 255, 255], &[1, 1, 0, 4, 0]] {
            assert!(next_frame(&mut BytesMut::from(garbage), &server).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn texts_stand_in_a_query() {
        assert_eq!(encoded("a/b &é"), "a%2fb%20%26%c3%a9");
        assert_eq!(signer("00000000000000ff").unwrap().to_string(), "00000000000000ff");
        assert!(signer("ff").is_none());
    }
}
