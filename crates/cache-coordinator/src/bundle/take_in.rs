//! Taking in a bundle.

use std::collections::HashSet;
use std::io::Read;

use cache_core::envelope::{Limits, decode_entry};
use cache_core::signing::{Keyring, Standing};
use cache_core::{Clock, Digest, Entry, Error, Key, PutMode, PutOutcome, Result, Store, SystemClock};

use crate::Unsigned;

use super::MOST_ENTRIES;
use super::read::{Item, Reader, Stop};

/// Flaws that are described; of the rest only the number is known.
const MOST_FLAWS: usize = 1000;
/// Bytes of an envelope besides metadata and payload.
const ENVELOPE: u64 = 1 << 10;

/// What an import takes.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Whether an entry replaces one that is there.
    pub mode: PutMode,
    /// By which keys entries have to be signed, and what becomes of those that nobody signed. Without, each is believed because it
    /// is in the file.
    pub signing: Option<(Keyring, Unsigned)>,
    /// Bytes of the largest blob.
    pub max_blob: u64,
    /// Bytes of the largest entry without its blobs.
    pub max_entry: u64,
}

impl Default for ImportOptions {
    /// Returns limits that hold what a build makes: blobs of 16 GiB, entries of 64 MiB. What is there stays. Nothing has to be
    /// signed.
    fn default() -> Self {
        Self { mode: PutMode::IfAbsent, signing: None, max_blob: 16 << 30, max_entry: 64 << 20 }
    }
}

/// Something of a file that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flaw {
    /// What: "entry 4f… (compile main.c)", "blob blake3:…".
    pub what: String,
    /// Why not.
    pub why: String,
}

/// What an import took in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Entries that are in the store now and were not before, or replaced another.
    pub entries: u64,
    /// Entries that were not needed because there was one.
    pub present: u64,
    /// Entries whose time is over.
    pub expired: u64,
    /// Blobs that are in the store now.
    pub blobs: u64,
    /// Bytes of them.
    pub blob_bytes: u64,
    /// Entries that the export already had to leave out.
    pub left_out: u64,
    /// Number of blobs, entries and parts of the file that were not taken in.
    pub flaws: u64,
    /// What they are, for the first thousand of them.
    pub details: Vec<Flaw>,
    /// Why the rest of the file could not be read, if it could not.
    pub broken_off: Option<String>,
}

impl Imported {
    /// Returns whether everything that the export wrote is in the store, except what is over.
    pub fn is_whole(&self) -> bool {
        self.flaws == 0 && self.broken_off.is_none()
    }

    fn flaw(&mut self, what: String, why: impl Into<String>) {
        self.flaws += 1;
        if self.details.len() < MOST_FLAWS {
            self.details.push(Flaw { what, why: why.into() });
        }
    }
}

/// Reads a file that [`export`](super::export) wrote, on the thread that polls, and stores what is proved whole: of a damaged
/// or cut off file all that is right, and the rest is reported.
///
/// If others can write to the file, say [by whom entries have to be signed](ImportOptions::signing): a
/// [`Signed`](crate::Signed) store signs what is put, and does not ask where it comes from.
///
/// # Errors
/// If it is no such file or one of a newer version; nothing has changed then. If the store is closed.
///
/// # Cancel safety
/// Whole blobs and entries that were stored stay.
pub async fn import(
    store: &dyn Store,
    input: &mut (dyn Read + Send),
    options: &ImportOptions,
) -> Result<Imported> {
    let mut reader = Reader::new(input)?;
    let mut import = Import { store, options, imported: Imported::default(), announced: HashSet::new() };
    let (mut entries, mut blobs) = (0_u64, 0_u64);
    let stop = loop {
        let step = match reader.next() {
            Ok(Item::Contents(keys)) => {
                import.announce(keys);
                continue;
            }
            Ok(Item::LeftOut(key)) => {
                import.announced.remove(&key);
                import.imported.left_out += 1;
                continue;
            }
            Ok(Item::Blob(digest, len)) => {
                blobs += 1;
                import.blob(&mut reader, &digest, len).await?
            }
            Ok(Item::Entry(key, len)) => {
                entries += 1;
                import.entry(&mut reader, &key, len).await?
            }
            Ok(Item::End { entries: of_entries, blobs: of_blobs, right }) => {
                if (of_entries, of_blobs) != (entries, blobs) {
                    let why =
                        format!("it has {entries} of {of_entries} entries and {blobs} of {of_blobs} blobs");
                    import.imported.flaw("the file".to_owned(), why);
                } else if !right && import.imported.flaws == 0 {
                    // What is damaged otherwise has been named already.
                    import.imported.flaw("the file".to_owned(), "it does not have its checksum");
                }
                break None;
            }
            Err(stop) => Some(stop),
        };
        if step.is_some() {
            break step;
        }
    };
    import.imported.broken_off = stop.map(|stop| match stop {
        Stop::CutOff => "the file is cut off".to_owned(),
        Stop::Damaged => "the file is damaged, and it cannot be told where the next part begins".to_owned(),
        Stop::Unreadable(error) => format!("the file cannot be read: {error}"),
        Stop::NoRoom(error) => {
            format!("a large blob cannot be kept in {} on its way: {error}", std::env::temp_dir().display())
        }
    });
    Ok(import.finish())
}

struct Import<'a> {
    store: &'a dyn Store,
    options: &'a ImportOptions,
    imported: Imported,
    /// Keys that should come and have not.
    announced: HashSet<Key>,
}

impl Import<'_> {
    fn announce(&mut self, keys: Vec<Key>) {
        let room = MOST_ENTRIES.saturating_sub(self.announced.len());
        self.announced.extend(keys.into_iter().take(room));
    }

    /// Takes in a blob, and returns why there is nothing more to be had.
    async fn blob(&mut self, reader: &mut Reader<'_>, digest: &Digest, len: u64) -> Result<Option<Stop>> {
        let what = || format!("blob {digest}");
        if len > self.options.max_blob {
            self.imported.flaw(what(), too_large(len, self.options.max_blob));
            return Ok(reader.skip(len).err());
        }
        match reader.blob(digest, len) {
            Ok(Some(body)) => match self.store.write(digest, len, body).await {
                Ok(()) => {
                    self.imported.blobs += 1;
                    self.imported.blob_bytes += len;
                }
                Err(error) => self.refused(what(), error)?,
            },
            Ok(None) => self.imported.flaw(what(), "its content does not have its digest"),
            Err(stop) => {
                self.imported.flaw(what(), "its content is not all there");
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    /// Takes in an entry, and returns why there is nothing more to be had.
    async fn entry(&mut self, reader: &mut Reader<'_>, key: &Key, len: u64) -> Result<Option<Stop>> {
        self.announced.remove(key);
        let plain = || format!("entry {key}");
        if len > self.options.max_entry.saturating_add(ENVELOPE) {
            self.imported.flaw(plain(), too_large(len, self.options.max_entry));
            return Ok(reader.skip(len).err());
        }
        let bytes = match reader.bytes(len) {
            Ok(bytes) => bytes,
            Err(stop) => {
                self.imported.flaw(plain(), "its content is not all there");
                return Ok(Some(stop));
            }
        };
        let limits = Limits {
            metadata: u32::try_from(self.options.max_entry).unwrap_or(u32::MAX),
            payload: self.options.max_entry,
        };
        let entry = match decode_entry(&bytes, limits) {
            Ok((found, entry)) if found == *key => entry,
            Ok((found, _)) => {
                self.imported.flaw(plain(), format!("it is the entry {found}"));
                return Ok(None);
            }
            Err(error) => {
                self.imported.flaw(plain(), error.to_string());
                return Ok(None);
            }
        };
        if let Some(why) = self.distrust(key, &entry) {
            self.imported.flaw(plain(), why);
            return Ok(None);
        }
        if entry.meta.is_expired(SystemClock.now()) {
            self.imported.expired += 1;
            return Ok(None);
        }
        match self.store.put(key, &entry, self.options.mode).await {
            Ok(PutOutcome::Stored) => self.imported.entries += 1,
            Ok(PutOutcome::Present) => self.imported.present += 1,
            Err(error) => {
                let (kind, name) = (&entry.meta.kind, &entry.meta.name);
                self.refused(format!("{} ({kind} {name})", plain()), error)?;
            }
        }
        Ok(None)
    }

    /// Returns why an entry does not count, if it does not.
    fn distrust(&self, key: &Key, entry: &Entry) -> Option<&'static str> {
        let (ring, unsigned) = self.options.signing.as_ref()?;
        match ring.standing(key, entry) {
            Standing::Valid => None,
            Standing::Unsigned if *unsigned == Unsigned::Accept => None,
            Standing::Unsigned => Some("nobody has signed it"),
            Standing::UnknownSigner => Some("it is signed with a key that is not known here"),
            Standing::Forged => Some("its signature is wrong"),
        }
    }

    fn refused(&mut self, what: String, error: Error) -> Result<()> {
        match error {
            Error::Closed { .. } => Err(error),
            Error::Incomplete { digest } => {
                self.imported.flaw(what, format!("it names the blob {digest}, which was not taken in"));
                Ok(())
            }
            error => {
                self.imported.flaw(what, error.to_string());
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Imported {
        let mut lost: Vec<Key> = self.announced.into_iter().collect();
        lost.sort_unstable();
        for key in lost {
            self.imported.flaw(format!("entry {key}"), "the file announces it and does not have it");
        }
        self.imported
    }
}

fn too_large(len: u64, limit: u64) -> String {
    format!("it has {len} bytes, and the limit is {limit}")
}
