//! The map of an index as [loom](https://docs.rs/loom) knows it: words that are shared by threads, each of which stands for a
//! process. It takes the place of `map.rs` where loom tries all orders in which they can be accessed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// What is mapped, by the number of the file: words that were never touched do not exist yet.
type Words = Arc<std::sync::Mutex<HashMap<usize, Arc<AtomicU64>>>>;

thread_local! {
    /// Loom runs the threads of a model on one of the system.
    static FILES: RefCell<HashMap<u64, Words>> = RefCell::default();
}

/// Forgets all files, before a model runs once more.
pub(super) fn begin() {
    FILES.with_borrow_mut(HashMap::clear);
}

#[derive(Debug)]
pub(super) struct Map {
    words: Words,
}

impl Map {
    pub(super) fn new(file: &File, _len: usize, _writable: bool) -> io::Result<Self> {
        let number = file.metadata()?.ino();
        Ok(Self { words: FILES.with_borrow_mut(|files| Arc::clone(files.entry(number).or_default())) })
    }

    pub(super) fn is_broken(&self) -> bool {
        false
    }

    pub(super) fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    pub(super) fn swap(&self, at: usize, old: u64, new: u64) -> bool {
        let swapped = self.word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        fence(Ordering::SeqCst);
        swapped
    }

    /// Hits and what has room on the disk decide nothing that is tried here.
    pub(super) fn load_byte(&self, _at: usize) -> u8 {
        1
    }

    pub(super) fn store_byte(&self, _at: usize, _byte: u8) {}

    fn word(&self, at: usize) -> Arc<AtomicU64> {
        let mut words = self.words.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(words.entry(at).or_insert_with(|| Arc::new(AtomicU64::new(0))))
    }
}
