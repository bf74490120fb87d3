//! Writing a bundle.

use std::collections::HashSet;
use std::io::{self, Write};

use bytes::Bytes;
use cache_core::envelope::{Compression, encode_entry};
use cache_core::{Digest, Entry, Error, Fingerprinter, Key, ListFilter, Result, Store, crc32c};

use super::{BLOB, CHUNK, CONTENTS, END, END_LEN, ENTRY, HEADER, IN_MEMORY, KEY, KEYS, LEFT_OUT, MAGIC};
use super::{MOST_ENTRIES, START, VERSION};

/// Entries that are listed at a time.
const PAGE: usize = 1000;
/// Entries that are looked up at a time.
const BATCH: usize = 64;

/// Which entries to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those under these keys, in their order.
    Keys(Vec<Key>),
    /// Those that pass, such as all of a namespace.
    Filter(ListFilter),
}

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Entries.
    pub entries: u64,
    /// Blobs, each once.
    pub blobs: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Keys under which there was no entry, or one of whose blobs could not be read.
    pub left_out: Vec<Key>,
}

/// Writes the selected entries of `store` with their blobs to `out`, on the thread that polls, and flushes it.
///
/// # Errors
/// If `out` cannot be written, the store cannot list or look up, or there are more than 1,048,576 entries. What was written is
/// then no whole file, and an import says so. An entry or blob that is gone or cannot be read is left out.
///
/// # Cancel safety
/// Dropping the future leaves a file that is cut off.
pub async fn export(
    store: &dyn Store,
    selection: &Selection,
    out: &mut (dyn Write + Send),
) -> Result<Exported> {
    let keys = match selection {
        Selection::Keys(keys) => {
            let mut seen = HashSet::new();
            keys.iter().copied().filter(|key| seen.insert(*key)).collect()
        }
        Selection::Filter(filter) => listed(store, filter).await?,
    };
    if keys.len() > MOST_ENTRIES {
        let (count, most) = (keys.len(), MOST_ENTRIES);
        return Err(Error::Invalid(format!(
            "{count} entries are too many for one file, which holds {most}; select fewer"
        )));
    }
    let mut writer = Writer { out, sum: Fingerprinter::new(), exported: Exported::default() };
    writer.start(&keys).map_err(failed)?;
    let mut there = HashSet::new();
    for keys in keys.chunks(BATCH) {
        for (key, entry) in keys.iter().zip(store.get_many(keys).await?) {
            let whole = match &entry {
                Some(entry) => writer.blobs(store, entry, &mut there).await?,
                None => false,
            };
            match entry.filter(|_| whole) {
                Some(entry) => writer.entry(key, &entry)?,
                None => writer.left_out(key).map_err(failed)?,
            }
        }
    }
    writer.end().map_err(failed)
}

async fn listed(store: &dyn Store, filter: &ListFilter) -> Result<Vec<Key>> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(filter, after.as_deref(), PAGE).await?;
        keys.extend(page.items.iter().map(|item| item.key));
        after = page.next;
        if after.is_none() || keys.len() > MOST_ENTRIES {
            return Ok(keys);
        }
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io { what: "cannot write the export".to_owned(), source }
}

struct Writer<'a> {
    out: &'a mut (dyn Write + Send),
    sum: Fingerprinter,
    exported: Exported,
}

impl Writer<'_> {
    fn start(&mut self, keys: &[Key]) -> io::Result<()> {
        let mut start = [0; START];
        start[..4].copy_from_slice(&MAGIC);
        start[4..8].copy_from_slice(&VERSION.to_le_bytes());
        self.write(&start)?;
        for keys in keys.chunks(KEYS) {
            self.header(CONTENTS, 0, (keys.len() * KEY) as u64, &[0; 32])?;
            keys.iter().try_for_each(|key| self.write(key.as_bytes()))?;
        }
        Ok(())
    }

    /// Writes those blobs of `entry` that are not in the file, and returns whether all are.
    async fn blobs(&mut self, store: &dyn Store, entry: &Entry, there: &mut HashSet<Digest>) -> Result<bool> {
        for (digest, len) in entry.blobs() {
            if !there.contains(digest) && !self.blob(store, digest, len).await? {
                return Ok(false);
            }
            there.insert(*digest);
        }
        Ok(true)
    }

    /// Writes a blob, and returns whether the store had it. Nothing that the store cannot give is an error.
    async fn blob(&mut self, store: &dyn Store, digest: &Digest, len: u64) -> Result<bool> {
        let Ok(Some(mut body)) = store.read(digest, None).await else { return Ok(false) };
        let whole = if len <= IN_MEMORY {
            // As a whole first, so that nothing is in the file that nobody can use.
            let Ok(content) = body.into_bytes(len).await else { return Ok(false) };
            if content.len() as u64 != len {
                return Ok(false);
            }
            self.blob_header(digest, len).and_then(|()| self.write(&content)).map_err(failed)?;
            true
        } else {
            self.blob_header(digest, len).map_err(failed)?;
            let mut left = len;
            while let Ok(Some(piece)) = body.next().await {
                let piece: Bytes =
                    piece.slice(..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                self.write(&piece).map_err(failed)?;
                left -= piece.len() as u64;
                if left == 0 {
                    break;
                }
            }
            // The length is written already. What is filled up does not have the digest, and so is no blob.
            let whole = left == 0;
            let zeros = vec![0; CHUNK];
            while left > 0 {
                let some = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
                self.write(&zeros[..some]).map_err(failed)?;
                left -= some as u64;
            }
            whole
        };
        self.exported.blobs += 1;
        Ok(whole)
    }

    fn blob_header(&mut self, digest: &Digest, len: u64) -> io::Result<()> {
        self.header(BLOB, digest.function().id(), len, digest.as_bytes())
    }

    fn entry(&mut self, key: &Key, entry: &Entry) -> Result<()> {
        // One that came out of a store fits.
        let Ok(envelope) = encode_entry(key, entry, Compression::Adaptive) else {
            return self.left_out(key).map_err(failed);
        };
        let written = self.header(ENTRY, 0, envelope.len() as u64, key.as_bytes());
        written.and_then(|()| self.write(&envelope)).map_err(failed)?;
        self.exported.entries += 1;
        Ok(())
    }

    fn left_out(&mut self, key: &Key) -> io::Result<()> {
        self.exported.left_out.push(*key);
        self.header(LEFT_OUT, 0, 0, key.as_bytes())
    }

    fn end(mut self) -> io::Result<Exported> {
        let sum = self.sum.finish();
        self.header(END, 0, END_LEN, &[0; 32])?;
        self.write(&self.exported.entries.to_le_bytes())?;
        self.write(&self.exported.blobs.to_le_bytes())?;
        self.write(&sum.to_bytes())?;
        self.out.flush()?;
        Ok(self.exported)
    }

    fn header(&mut self, what: u8, function: u8, len: u64, id: &[u8; 32]) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[0] = what;
        header[1] = function;
        header[4..12].copy_from_slice(&len.to_le_bytes());
        header[12..44].copy_from_slice(id);
        let checksum = crc32c(&header[..44]);
        header[44..].copy_from_slice(&checksum.to_le_bytes());
        self.write(&header)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.sum.update(bytes);
        self.exported.bytes += bytes.len() as u64;
        Ok(())
    }
}
