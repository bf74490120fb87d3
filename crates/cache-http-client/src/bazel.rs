//! Servers of Bazel's HTTP cache that are not ours, such as bazel-remote.
//!
//! They have contents under their SHA-256 (`cas/<hex>`), and results of actions under names of 64 digits (`ac/<hex>`), which
//! many parse and refuse or drop unless they are an `ActionResult` whose files are all there. So both an entry and the address
//! of a blob are such a result:
//!
//! - An entry is at `ac/<key>`. Its envelope is what the action wrote to its standard output, and the blobs that it names are
//!   the files.
//! - A blob is at `cas/<SHA-256>`. What leads there from its digest is at `ac/<SHA-256 of a text with that digest in it>`: a
//!   result with one file. It is there for blobs that are named by their SHA-256 as well, so that each can be removed.
//!
//! The protocol has no way to remove anything. What was removed is a result that failed and has no files.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::coding::Coding;
use cache_core::{
    Body, Capabilities, Digest, Entry, Error, HashFunction, Hasher, Key, ListFilter, Page, PutMode,
    PutOutcome, Result,
};
use prost::Message;
use reqwest::Method;
use tokio::sync::oneshot;

use crate::download::{Blob, Download};
use crate::server::{Question, Server};
use crate::upload;
use crate::wire::{Wire, capabilities, each, is_current, opened};

/// What the name of a blob's address is the SHA-256 of, before the digest. Never changed: what is stored is found by it.
const ADDRESS: &str = "vitte-cache blob v1 ";
/// Bytes of the largest address that is read.
const MAX_ADDRESS: u64 = 4 << 10;

/// The part of `ActionResult` that matters here (remote execution API, version 2).
#[derive(Clone, PartialEq, Message)]
struct ActionResult {
    #[prost(message, repeated, tag = "2")]
    output_files: Vec<OutputFile>,
    #[prost(int32, tag = "4")]
    exit_code: i32,
    #[prost(bytes = "bytes", tag = "5")]
    stdout_raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct OutputFile {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, optional, tag = "2")]
    digest: Option<ContentDigest>,
}

#[derive(Clone, PartialEq, Message)]
struct ContentDigest {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(int64, tag = "2")]
    size_bytes: i64,
}

/// Where the content of a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    sha256: Digest,
    len: u64,
}

/// A server of Bazel's HTTP cache.
#[derive(Debug)]
pub(crate) struct Bazel {
    server: Arc<Server>,
}

fn content_path(sha256: &Digest) -> String {
    format!("cas/{}", sha256.to_hex())
}

/// Returns the file of a result that is the blob `digest`.
fn file(digest: &Digest, address: Address) -> OutputFile {
    let Address { sha256, len } = address;
    let content = ContentDigest { hash: sha256.to_hex(), size_bytes: i64::try_from(len).unwrap_or(i64::MAX) };
    OutputFile {
        path: format!("blobs/{}/{}", digest.function().name(), digest.to_hex()),
        digest: Some(content),
    }
}

fn address(file: &OutputFile) -> Option<Address> {
    let content = file.digest.as_ref()?;
    let sha256 = Digest::from_hex(HashFunction::Sha256, &content.hash).ok()?;
    Some(Address { sha256, len: u64::try_from(content.size_bytes).ok()? })
}

impl Bazel {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    /// Returns the result at `path`; what is none, or says that something was removed, is a miss.
    async fn result(&self, path: &str, limit: u64) -> Result<Option<ActionResult>> {
        let content = self.server.fetch(path, limit).await?;
        let result = content.and_then(|content| ActionResult::decode(content).ok());
        Ok(result.filter(|result| result.exit_code == 0))
    }

    async fn store_result(&self, path: &str, result: &ActionResult) -> Result<()> {
        let mut question = Question::new(Method::PUT, path);
        question.body = Some(result.encode_to_vec().into());
        self.server.stored(&self.server.ask(&question).await?)
    }

    /// Says that what is at `path` was removed.
    async fn forget(&self, path: &str) -> Result<()> {
        self.store_result(path, &ActionResult { exit_code: 1, ..ActionResult::default() }).await
    }

    /// Returns where the content of a blob should be.
    async fn address(&self, digest: &Digest) -> Result<Option<Address>> {
        let result = self.result(&self.blob_path(digest), MAX_ADDRESS).await?;
        Ok(result.and_then(|result| match result.output_files.as_slice() {
            [file] => address(file),
            _ => None,
        }))
    }

    /// Returns where the content of a blob is, if it is there.
    async fn find(&self, digest: &Digest) -> Result<Option<Address>> {
        let Some(address) = self.address(digest).await? else { return Ok(None) };
        let answer = self.server.ask(&Question::new(Method::HEAD, &content_path(&address.sha256))).await?;
        let is_whole =
            answer.response.status().is_success() && answer.len().is_none_or(|len| len == address.len);
        Ok(is_whole.then_some(address))
    }

    /// Returns where each blob of `entry` is, or the first that is not there in its length.
    async fn find_all(&self, entry: &Entry) -> Result<Result<BTreeMap<Digest, Address>, Digest>> {
        let blobs: Vec<(Digest, u64)> = entry.blobs().map(|(digest, len)| (*digest, len)).collect();
        let found = each(blobs, |(digest, len)| async move {
            let found = self.find(&digest).await?.filter(|address| address.len == len);
            Ok(found.map(|address| (digest, address)).ok_or(digest))
        });
        Ok(found.await?.into_iter().collect())
    }

    /// Makes `digest` lead to a content that is there.
    async fn point(&self, digest: &Digest, address: Address) -> Result<()> {
        let result = ActionResult { output_files: vec![file(digest, address)], ..ActionResult::default() };
        self.store_result(&self.blob_path(digest), &result).await
    }
}

#[async_trait]
impl Wire for Bazel {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = capabilities(&self.server.options);
        capabilities.list = false;
        capabilities.conditional_put = false;
        capabilities
    }

    fn entry_path(&self, key: &Key) -> String {
        format!("ac/{key}")
    }

    /// Returns where the address of a blob is.
    fn blob_path(&self, digest: &Digest) -> String {
        format!("ac/{}", Digest::sha256(format!("{ADDRESS}{digest}").as_bytes()).to_hex())
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        // The names of files are no longer than what the envelope says of them.
        let limit = self.server.options.max_entry.saturating_mul(2);
        let Some(result) = self.result(&self.entry_path(key), limit).await? else { return Ok(None) };
        let Some(entry) = self.server.opened(key, &result.stdout_raw) else { return Ok(None) };
        Ok(self.find_all(&entry).await?.is_ok().then_some(entry))
    }

    /// What is missing is found when the entry is put.
    async fn ensure_complete(&self, _: &Entry) -> Result<()> {
        Ok(())
    }

    async fn put(&self, key: &Key, envelope: Bytes, mode: PutMode) -> Result<PutOutcome> {
        if mode == PutMode::IfAbsent && self.get(key).await?.is_some() {
            return Ok(PutOutcome::Present);
        }
        let mut result = ActionResult { stdout_raw: envelope, ..ActionResult::default() };
        // One that is over is stored as well, and needs none.
        if let Some(entry) = opened(key, &result.stdout_raw).filter(is_current) {
            let found = self.find_all(&entry).await?.map_err(|digest| Error::Incomplete { digest })?;
            result.output_files = found.iter().map(|(digest, address)| file(digest, *address)).collect();
        }
        self.store_result(&self.entry_path(key), &result).await?;
        Ok(PutOutcome::Stored)
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        let path = self.entry_path(key);
        let limit = self.server.options.max_entry.saturating_mul(2);
        if self.result(&path, limit).await?.is_none() {
            return Ok(false);
        }
        self.forget(&path).await.map(|()| true)
    }

    async fn list(&self, _: &ListFilter, _: Option<&str>, _: usize) -> Result<Page> {
        Err(Error::Unsupported { store: self.server.place(), operation: "list entries" })
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let missing = each(digests.to_vec(), |digest| async move {
            Ok(self.find(&digest).await?.is_none().then_some(digest))
        });
        Ok(missing.await?.into_iter().flatten().collect())
    }

    async fn read(&self, digest: &Digest, wanted: Range<u64>, partial: bool) -> Result<Option<Download>> {
        let Some(address) = self.address(digest).await? else { return Ok(None) };
        // The proof is the digest that was asked for, whatever the server says where the content is.
        let blob = Blob {
            digest: *digest,
            path: content_path(&address.sha256),
            len: Some(address.len),
            coding: self.server.coding.filter(|coding| *coding == Coding::Zstd),
        };
        Download::begin(&self.server, blob, wanted, partial).await
    }

    async fn write(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let (sha256, len) = (Digest::sha256(&content), content.len() as u64);
        let path = content_path(&sha256);
        let mut question = Question::new(Method::PUT, &path);
        question.body = Some(content);
        self.server.stored(&self.server.ask(&question).await?)?;
        self.point(digest, Address { sha256, len }).await
    }

    async fn upload(&self, digest: Digest, len: u64, body: Body, gone: oneshot::Receiver<()>) -> Result<()> {
        if self.find(&digest).await?.is_some_and(|address| address.len == len) {
            return Ok(());
        }
        let (sha256, body) = match digest.function() {
            HashFunction::Sha256 => (digest, body),
            _ => named(&digest, len, body).await?,
        };
        let path = content_path(&sha256);
        if self.server.has_blob(&path, len).await? {
            // Somebody else has sent it; what comes here has to be right as well.
            upload::prove(&digest, len, body).await?;
        } else {
            let answer = upload::stream(&self.server, &path, sha256, len, body, None, gone).await?;
            self.server.stored(&answer)?;
        }
        self.point(&digest, Address { sha256, len }).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        if self.find(digest).await?.is_none() {
            return Ok(false);
        }
        self.forget(&self.blob_path(digest)).await.map(|()| true)
    }
}

/// Returns the SHA-256 of `body`, which has to be what was announced, and the content again: the server wants to know its name
/// before it comes. What is not in memory goes through an unnamed file.
async fn named(digest: &Digest, len: u64, mut body: Body) -> Result<(Digest, Body)> {
    let mut sha256 = Hasher::new(HashFunction::Sha256);
    let mut own = Hasher::new(digest.function());
    let mut file = None;
    if let Body::Bytes(content) = &body {
        sha256.update(content);
        own.update(content);
    } else {
        let trouble = |source| Error::io("cannot keep an upload in", &std::env::temp_dir(), source);
        let mut spool = tempfile::tempfile().map_err(trouble)?;
        while let Some(piece) = body.next().await? {
            sha256.update(&piece);
            own.update(&piece);
            if own.len() > len {
                return Err(Error::LengthMismatch { expected: len, found: own.len() });
            }
            spool = tokio::task::spawn_blocking(move || spool.write_all(&piece).map(|()| spool))
                .await
                .map_err(std::io::Error::other)
                .flatten()
                .map_err(trouble)?;
        }
        spool.rewind().map_err(trouble)?;
        file = Some(spool);
    }
    upload::ensure_announced(digest, len, &own)?;
    let body = file.map_or(body, |file| Body::File { file, len, path: None });
    Ok((sha256.finish(), body))
}
