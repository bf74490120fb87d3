//! From files to digests, reading as little as possible.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::files::{self, Links};
use cache_core::{Digest, FileState, StatFingerprint};
use rayon::prelude::*;

use super::read::read_file;
use super::{Found, Input, InputError, Kind, Stat};
use crate::memory::Memory;

/// Up to this many files of up to [`FEW_BYTES`] together are read by the caller's thread: starting a pool of threads
/// takes as long as reading ten small files.
const FEW_FILES: usize = 16;
/// See [`FEW_FILES`]; in bytes.
const FEW_BYTES: u64 = 1 << 20;

/// Is told how reading files goes on. Called from several threads, once for each file.
pub trait Progress: Sync {
    /// `done` of `total` have been read. Files whose digest was remembered are not among them. The first call says
    /// that nothing is read yet, and the last one, also after an error, that all is.
    fn read(&self, done: Amount, total: Amount);
}

impl Progress for () {
    fn read(&self, _done: Amount, _total: Amount) {}
}

/// How much there is to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Number of files.
    pub files: u64,
    /// Their lengths together.
    pub bytes: u64,
}

/// What is at a path that a command has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// What is there, links followed.
    pub state: FileState,
    /// The stat of the file, if an equal one later on proves equal content.
    pub stat: Option<StatFingerprint>,
}

/// Returns what is at each of `paths`, links followed: a file, a directory, or nothing. For what a command is known to
/// have read or looked for, such as the headers in a depfile.
///
/// # Errors
/// If a file cannot be read or keeps changing, or a path names a FIFO, socket or device.
pub fn observe(
    paths: &[PathBuf],
    memory: &mut Memory,
    progress: &dyn Progress,
) -> Result<Vec<Observed>, InputError> {
    let mut states = vec![Observed { state: FileState::Absent, stat: None }; paths.len()];
    let mut wanted = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let stat = match path.metadata() {
            Ok(metadata) => Stat::new(&metadata),
            Err(error) if super::walk::is_gone(&error) => continue,
            Err(error) => return Err(InputError::io(path, error)),
        };
        match stat.kind {
            Kind::File => wanted.push((at, stat)),
            Kind::Directory => states[at].state = FileState::Directory,
            Kind::Symlink | Kind::Special => return Err(InputError::Special { path: path.clone() }),
        }
    }
    let locate = |at: usize| Ok(paths[at].clone());
    for (at, content) in contents(wanted, &locate, Links::Follow, memory, progress)? {
        states[at] = Observed { state: content.state(), stat: content.proof };
    }
    Ok(states)
}

/// Returns `files` with their content, in the same order.
pub(super) fn inputs(
    base: &Path,
    files: Vec<Found>,
    memory: &mut Memory,
    progress: &dyn Progress,
) -> Result<Vec<Input>, InputError> {
    let locate = |at: usize| Ok(files[at].path.locate(base)?);
    let is_file = |(_, found): &(usize, &Found)| found.stat.kind == Kind::File;
    let wanted = files.iter().enumerate().filter(is_file).map(|(at, found)| (at, found.stat)).collect();
    let now = memory.now();
    let mut contents = contents(wanted, &locate, Links::Refuse, memory, progress)?.into_iter().peekable();
    let mut inputs = Vec::with_capacity(files.len());
    for (at, Found { path, stat }) in files.into_iter().enumerate() {
        if let Some((_, content)) = contents.next_if(|(of, _)| *of == at) {
            let state = content.state();
            inputs.push(Input { path, state, stat: content.proof, len: content.stat.len });
            continue;
        }
        let native = path.locate(base)?;
        let target = native.read_link().map_err(|error| InputError::io(&native, error))?;
        let target = link_bytes(&target);
        let proven = stat.settled(now) && memory.trusts(stat.dev, || Ok::<_, InputError>(native))?;
        let proof = proven.then_some(stat.fingerprint);
        let state = FileState::Symlink { target: Digest::blake3(&target) };
        inputs.push(Input { path, state, stat: proof, len: target.len() as u64 });
    }
    Ok(inputs)
}

/// Returns the bytes of a link's target, `/` between components on every system.
fn link_bytes(target: &Path) -> Vec<u8> {
    let bytes = target.as_os_str().as_encoded_bytes();
    if cfg!(windows) {
        return bytes.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
    }
    bytes.to_vec()
}

/// The content of a file.
struct Content {
    digest: Digest,
    stat: Stat,
    /// The stat's fingerprint, if it proves the content.
    proof: Option<StatFingerprint>,
}

impl Content {
    fn state(&self) -> FileState {
        FileState::File { digest: self.digest, executable: self.stat.executable }
    }
}

/// Returns the contents of the files `wanted`, in their order, and teaches `memory` those that it did not know.
fn contents(
    wanted: Vec<(usize, Stat)>,
    locate: &(dyn Fn(usize) -> Result<PathBuf, InputError> + Sync),
    links: Links,
    memory: &mut Memory,
    progress: &dyn Progress,
) -> Result<Vec<(usize, Content)>, InputError> {
    // Taken before anything is read: what is touched from now on has not settled.
    let now = memory.now();
    let mut contents = Vec::with_capacity(wanted.len());
    let mut unknown = Vec::new();
    let mut total = Amount::default();
    for (at, stat) in wanted {
        let trusted = memory.trusts(stat.dev, || locate(at))?;
        if trusted && let Some(digest) = memory.get(stat.fingerprint) {
            let proof = stat.settled(now).then_some(stat.fingerprint);
            contents.push((at, Content { digest, stat, proof }));
        } else {
            total.files += 1;
            total.bytes += stat.len;
            unknown.push((at, trusted));
        }
    }
    if unknown.is_empty() {
        return Ok(contents);
    }
    progress.read(Amount::default(), total);
    let (files_done, bytes_done) = (AtomicU64::new(0), AtomicU64::new(0));
    let read = |&(at, trusted): &(usize, bool)| -> Result<_, InputError> {
        let read = read_file(&locate(at)?, links)?;
        let done = Amount {
            files: files_done.fetch_add(1, Ordering::Relaxed) + 1,
            bytes: bytes_done.fetch_add(read.len, Ordering::Relaxed) + read.len,
        };
        progress.read(done, total);
        Ok((at, trusted, read))
    };
    let results: Result<Vec<_>, _> = if unknown.len() <= FEW_FILES && total.bytes <= FEW_BYTES {
        unknown.iter().map(read).collect()
    } else {
        unknown.par_iter().map(read).collect()
    };
    // After an error nothing more will come.
    let results = results.inspect_err(|_| progress.read(total, total))?;
    for (at, trusted, files::Content { digest, stat, len }) in results {
        let proof = (trusted && stat.settled(now) && len == stat.len).then_some(stat.fingerprint);
        if let Some(proof) = proof {
            memory.insert(proof, digest);
        }
        contents.push((at, Content { digest, stat, proof }));
    }
    contents.sort_unstable_by_key(|(at, _)| *at);
    Ok(contents)
}
