//! The control file: how far the logs have come, and what the store takes on the disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cache_core::crc32c;

use super::record::{Class, u64_at};
use super::sys;

const MAGIC: &[u8; 8] = b"VTCSEGS1";
/// Bytes of the constant part, its check included.
const CONSTANT: usize = 64;
/// Bytes of the changing part, its check included.
const CHANGING: usize = 256;

/// What never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Constant {
    /// Bytes of a segment.
    pub(super) segment: u64,
    /// Random number of the store.
    pub(super) store: u64,
}

impl Constant {
    fn encode(self) -> [u8; CONSTANT] {
        let mut bytes = [0; CONSTANT];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store.to_le_bytes());
        let check = u64::from(crc32c(&bytes[..CONSTANT - 8]));
        bytes[CONSTANT - 8..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let checked = bytes.get(..CONSTANT - 8)?;
        let right = checked[..8] == *MAGIC && u64::from(crc32c(checked)) == u64_at(bytes, CONSTANT - 8);
        let constant = Self { segment: u64_at(bytes, 8), store: u64_at(bytes, 16) };
        // What could only be if the check lies is not computed with.
        let sound = (super::MIN_SEGMENT..=super::MAX_SEGMENT).contains(&constant.segment)
            && constant.segment.is_power_of_two();
        (right && sound).then_some(constant)
    }
}

/// One of the two logs. Its segments are those from `oldest` to that of `tail`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogState {
    /// Number of the oldest segment.
    pub(super) oldest: u64,
    /// Where the next lease begins, in bytes.
    pub(super) tail: u64,
    /// Up to where the disk has given room, in bytes.
    pub(super) allocated: u64,
    /// Bytes that its segments and seals take on the disk.
    pub(super) held: u64,
    /// Bytes in the files of large payloads.
    pub(super) large: u64,
    /// Bytes of those in the newest segment.
    pub(super) large_here: u64,
}

impl LogState {
    /// Returns an empty log that begins with the segment `number`.
    pub(super) fn empty(number: u64, segment: u64) -> Self {
        let start = number * segment;
        Self { oldest: number, tail: start, allocated: start, ..Self::default() }
    }

    /// Returns the bytes that it takes on the disk at most.
    pub(super) fn bytes(&self) -> u64 {
        self.held.saturating_add(self.large)
    }

    /// Lets the log go on in the next segment.
    pub(super) fn close(&mut self, segment: u64) {
        self.tail = self.tail.div_ceil(segment) * segment;
        self.allocated = self.tail;
    }
}

/// What changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The boot in which the store was last written to.
    pub(super) boot: u64,
    /// When a segment was last reclaimed, in milliseconds since 1970.
    pub(super) reclaimed_at: u64,
    pub(super) logs: [LogState; 2],
    pub(super) counters: Counters,
}

/// What happened since the store was made, as far as its processes came to write it down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Records stored, duplicates included.
    pub puts: u64,
    /// Records whose payload was there already.
    pub duplicates: u64,
    /// Records that went to make room.
    pub evicted: u64,
    /// Records that moved on to the main log, having been used.
    pub promoted: u64,
    /// Records of the main log that were kept for another round.
    pub kept: u64,
    /// Puts of what had just been evicted, which therefore started in the main log.
    pub ghost_hits: u64,
    /// Segments that were reclaimed.
    pub reclaimed: u64,
    /// Hits in the probation log.
    pub probation_hits: u64,
    /// Hits in the main log.
    pub main_hits: u64,
    /// Look-ups that found nothing.
    pub misses: u64,
    /// Records in the logs, dead ones included.
    pub records: u64,
}

impl Counters {
    fn numbers(&mut self) -> [&mut u64; 11] {
        let Self { puts, duplicates, evicted, promoted, kept, ghost_hits, .. } = self;
        let Self { reclaimed, probation_hits, main_hits, misses, records, .. } = self;
        [
            puts,
            duplicates,
            evicted,
            promoted,
            kept,
            ghost_hits,
            reclaimed,
            probation_hits,
            main_hits,
            misses,
            records,
        ]
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for (own, more) in self.numbers().into_iter().zip(other.numbers()) {
            *own = own.saturating_add(*more);
        }
    }
}

impl State {
    pub(super) fn log(&mut self, class: Class) -> &mut LogState {
        &mut self.logs[class as usize]
    }

    /// Returns the bytes that the logs take on the disk at most.
    pub(super) fn bytes(&self) -> u64 {
        self.logs.iter().map(LogState::bytes).fold(0, u64::saturating_add)
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        let logs = self.logs.iter_mut();
        let logs = logs.flat_map(|log| {
            let LogState { oldest, tail, allocated, held, large, large_here } = log;
            [oldest, tail, allocated, held, large, large_here]
        });
        [&mut self.boot, &mut self.reclaimed_at].into_iter().chain(logs).chain(self.counters.numbers())
    }

    fn encode(mut self) -> [u8; CHANGING] {
        let mut bytes = [0; CHANGING];
        for (number, room) in self.numbers().zip(bytes.as_chunks_mut::<8>().0) {
            *room = number.to_le_bytes();
        }
        let check = u64::from(crc32c(&bytes[..CHANGING - 8]));
        bytes[CHANGING - 8..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], segment: u64) -> Option<Self> {
        let checked = bytes.get(..CHANGING - 8)?;
        if u64::from(crc32c(checked)) != u64_at(bytes, CHANGING - 8) {
            return None;
        }
        let mut state = Self::default();
        for (number, bytes) in state.numbers().zip(checked.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        // What could only be if the check lies is not computed with.
        let sound = |log: &LogState| {
            log.oldest > 0
                && log.oldest.checked_mul(segment).is_some_and(|start| start <= log.tail)
                && log.tail <= super::record::Position::END
                && log.allocated <= super::record::Position::END
        };
        state.logs.iter().all(sound).then_some(state)
    }
}

/// The control file of a store.
#[derive(Debug)]
pub(super) struct Control {
    file: File,
    /// Locked by the process that changes the state; separate threads of it wait for one another here.
    lock: Mutex<File>,
    pub(super) constant: Constant,
    /// Records that this process evicted and has not told of, and the bytes that it freed by that.
    evicted: AtomicU64,
    freed: AtomicU64,
}

impl Control {
    /// Opens the control file; nothing if there is none, or none that can be used.
    pub(super) fn open(root: &Path, writable: bool) -> io::Result<Option<Self>> {
        let Some(file) = sys::open_if_there(&root.join("control"), writable)? else { return Ok(None) };
        let mut bytes = [0; CONSTANT];
        sys::read_at(&file, &mut bytes, 0)?;
        let Some(constant) = Constant::decode(&bytes) else { return Ok(None) };
        let lock = sys::open(&root.join("locks").join("lease"), writable)?;
        let lock = Mutex::new(lock);
        Ok(Some(Self { file, lock, constant, evicted: AtomicU64::new(0), freed: AtomicU64::new(0) }))
    }

    /// Puts a control file into place.
    pub(super) fn create(root: &Path, constant: Constant, state: State) -> io::Result<()> {
        let (file, temp) = sys::create_temp(&root.join("tmp"), "control")?;
        sys::write_at(&file, &constant.encode(), 0)?;
        sys::write_at(&file, &state.encode(), CONSTANT as u64)?;
        // It is made once, and without it the records are strangers: it is worth the wait.
        sys::sync(&file)?;
        drop(sys::open_or_create(&root.join("locks").join("lease"))?);
        sys::rename(&temp, &root.join("control"))?;
        sys::sync_dir(root)?;
        root.parent().map_or(Ok(()), sys::sync_dir)
    }

    /// Returns the state as it was a moment ago; nothing if it is damaged, or was being written just then.
    pub(super) fn peek(&self) -> Option<State> {
        let mut bytes = [0; CHANGING];
        sys::read_at(&self.file, &mut bytes, CONSTANT as u64).ok()?;
        State::decode(&bytes, self.constant.segment)
    }

    /// Runs `change` on the state while no other process changes it, and writes it back unless it fails. A damaged state
    /// is first made anew by `recover`.
    pub(super) fn update<T>(
        &self,
        recover: impl FnOnce() -> io::Result<State>,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = sys::Flock::new(&lock)?;
        if !sys::is_linked(&self.file)? {
            return Err(super::handle::made_anew());
        }
        let before = self.peek();
        let mut state = match before {
            Some(state) => state,
            None => recover()?,
        };
        let result = change(&mut state)?;
        if before != Some(state) {
            sys::write_at(&self.file, &state.encode(), CONSTANT as u64)?;
        }
        if let Some(before) = before
            && state.counters.evicted > before.counters.evicted
        {
            self.evicted.fetch_add(state.counters.evicted - before.counters.evicted, Ordering::Relaxed);
            self.freed.fetch_add(before.bytes().saturating_sub(state.bytes()), Ordering::Relaxed);
        }
        Ok(result)
    }

    /// Returns how many records this process has evicted since the last call and the bytes that it freed by that; nothing
    /// if none.
    pub(super) fn take_evicted(&self) -> Option<(u64, u64)> {
        if self.evicted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let records = self.evicted.swap(0, Ordering::Relaxed);
        (records > 0).then(|| (records, self.freed.swap(0, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_round_trips_and_a_damaged_one_is_none() {
        let segment = 1 << 20;
        let mut state = State { boot: 5, ..State::default() };
        for (number, log) in state.logs.iter_mut().enumerate() {
            *log = LogState::empty(number as u64 + 1, segment);
            log.large = 77;
        }
        state.counters.misses = 9;
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes, segment), Some(state));
        for bit in (0..CHANGING * 8).step_by(7) {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::decode(&flipped, segment), None);
        }
        state.logs[0].oldest = 0;
        assert_eq!(State::decode(&state.encode(), segment), None, "no segment has the number 0");
    }
}
