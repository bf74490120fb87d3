//! A file as memory that processes share. The one module with unsafe code.
//!
//! A read of mapped memory cannot fail; where the file was cut off, or its disk cannot be read, the system sends `SIGBUS`
//! instead, which ends the process. A cache must not do that to a build. So faults in the maps of this module are caught:
//! empty memory takes the place of the map, which is [broken](Map::is_broken) from then on.

#![allow(
    unsafe_code,
    reason = "memory that is shared by processes cannot be had without; each block says why it is sound"
)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Most maps of a process: one for each store that it has open.
const MAX_MAPS: usize = 1024;

/// What the handler of faults knows of a map. Its `start` is 0 while nothing is mapped.
struct Guard {
    start: AtomicUsize,
    len: AtomicUsize,
    writable: AtomicBool,
    broken: AtomicBool,
}

static GUARDS: [Guard; MAX_MAPS] = [const {
    Guard {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        writable: AtomicBool::new(false),
        broken: AtomicBool::new(false),
    }
}; MAX_MAPS];

/// Held by whoever looks for a free guard.
static CLAIM: Mutex<()> = Mutex::new(());

/// A file, or its beginning, as memory.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    guard: usize,
}

// SAFETY: the memory is only ever accessed by atomic operations, and is unmapped by the one owner of the map.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `len` bytes of a file.
    pub(super) fn new(file: &File, len: usize, writable: bool) -> io::Result<Self> {
        catch_faults()?;
        let _claim = CLAIM.lock().unwrap_or_else(PoisonError::into_inner);
        let free = GUARDS.iter().position(|guard| guard.start.load(Ordering::Relaxed) == 0);
        let guard = free.ok_or_else(|| io::Error::other("too many stores are open in this process"))?;
        // SAFETY: the system chooses where, so that nothing that is in use is replaced.
        let start = unsafe { mmap(ptr::null_mut(), len, protection(writable), MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let entry = &GUARDS[guard];
        entry.len.store(len, Ordering::Relaxed);
        entry.writable.store(writable, Ordering::Relaxed);
        entry.broken.store(false, Ordering::Relaxed);
        entry.start.store(start.as_ptr() as usize, Ordering::Release);
        Ok(Self { start, len, writable, guard })
    }

    /// Returns whether a fault has taken the file from the map, which then reads as zeros.
    pub(super) fn is_broken(&self) -> bool {
        GUARDS[self.guard].broken.load(Ordering::Acquire)
    }

    /// Returns the 8 bytes at `at`, a multiple of 8, as a number in the order of bytes of this machine.
    pub(super) fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// Puts `new` in the place of `old` at `at`, a multiple of 8; returns whether `old` was there.
    pub(super) fn swap(&self, at: usize, old: u64, new: u64) -> bool {
        assert!(self.writable, "the map is only read");
        let swapped = self.word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // Of two that each write a word and then look at that of the other, one at least sees what was written.
        fence(Ordering::SeqCst);
        swapped
    }

    pub(super) fn load_byte(&self, at: usize) -> u8 {
        self.byte(at).load(Ordering::Relaxed)
    }

    pub(super) fn store_byte(&self, at: usize, byte: u8) {
        assert!(self.writable, "the map is only read");
        self.byte(at).store(byte, Ordering::Relaxed);
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at.checked_add(8).is_some_and(|end| end <= self.len));
        // SAFETY: it is within the map, which lives as long as `self` and starts on a page, so that `at` is aligned. Other
        // processes access it by the same operations. No byte is accessed both as a part of a word and by itself.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.len);
        // SAFETY: as for a word.
        unsafe { AtomicU8::from_ptr(self.start.as_ptr().add(at)) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // From here on a fault there is nobody's: whoever gets the memory next is not to be held for this map.
        GUARDS[self.guard].start.store(0, Ordering::Release);
        // SAFETY: `new` has mapped it, or the handler over it, and nothing borrows from `self` any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

fn protection(writable: bool) -> ProtFlags {
    if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
}

/// Installs the handler, once.
fn catch_faults() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    // SAFETY: all zeros is a valid `sigaction`; both pointers are to live ones or null. The handler does only what may be
    // done in one: atomic loads and stores, and system calls. It keeps to the stack that was set aside for handlers.
    unsafe {
        let mut previous: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) != 0 {
            return Err(io::Error::last_os_error());
        }
        PREVIOUS.get_or_init(|| previous);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        if libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    *installed = true;
    Ok(())
}

/// What was done about faults before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Puts empty memory into the place of a map in which a fault was. Other faults go to whoever was there before.
///
/// # Safety
/// Called by the system alone, as the handler of a signal.
unsafe extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system passes the facts of the signal; where it caused it itself, which a positive code says, they have
    // an address.
    let address = unsafe { if (*info).si_code > 0 { (*info).si_addr() as usize } else { 0 } };
    for guard in &GUARDS {
        let start = guard.start.load(Ordering::Acquire);
        let len = guard.len.load(Ordering::Relaxed);
        if start == 0 || address < start || address - start >= len {
            continue;
        }
        let protection = protection(guard.writable.load(Ordering::Relaxed));
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the place belongs to a map that is not dropped, as the thread that was interrupted is using it. Its words
        // stay aligned and accessible.
        if unsafe { mmap_anonymous(start as *mut c_void, len, protection, flags) }.is_ok() {
            guard.broken.store(true, Ordering::Release);
            return;
        }
    }
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: both pointers are to a live action or null. The instruction faults again, and ends the process.
            unsafe {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that this is the type of the function that somebody installed.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag, this is its type.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn two_maps_and_the_file_are_the_same_bytes() {
        let file = file(8192);
        let (one, other) = (Map::new(&file, 8192, true).unwrap(), Map::new(&file, 8192, false).unwrap());
        assert!(one.swap(4096, 0, 7u64.to_le()));
        assert!(!one.swap(4096, 0, 9), "it is 7 by now");
        one.store_byte(8191, 3);
        assert_eq!((other.load(4096), other.load_byte(8191)), (7u64.to_le(), 3));
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(bytes, 7u64.to_le_bytes());
        file.write_all_at(&[1], 0).unwrap();
        assert_eq!(other.load_byte(0), 1);
    }

    #[test]
    fn what_was_cut_off_reads_as_nothing_and_is_broken() {
        let cut = file(8192);
        let (map, whole) = (Map::new(&cut, 8192, true).unwrap(), Map::new(&file(64), 64, true).unwrap());
        assert!(map.swap(0, 0, 5) && map.swap(4096, 0, 5) && !map.is_broken());
        cut.set_len(0).unwrap();
        assert_eq!(map.load(4096), 0);
        assert!(map.is_broken() && !whole.is_broken());
        assert!(map.swap(0, 0, 6), "what is written there is nobody's");
        drop(map);
        let again = Map::new(&cut, 8192, true).unwrap();
        assert!(!again.is_broken(), "another map begins anew");
        again.store_byte(1, 1);
        assert!(again.is_broken());
    }

    #[test]
    #[should_panic(expected = "only read")]
    fn what_is_only_read_is_not_written() {
        Map::new(&file(64), 64, false).unwrap().store_byte(0, 1);
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn beyond_the_end_is_nothing() {
        Map::new(&file(64), 64, true).unwrap().load(64);
    }

    /// A fault of somebody else still ends the process, with the signal that it would have had.
    #[test]
    fn a_fault_elsewhere_is_left_alone() {
        use std::os::unix::process::ExitStatusExt;
        const CHILD: &str = "VITTE_CACHE_TEST_FAULT";
        if std::env::var_os(CHILD).is_some() {
            let (ours, theirs) = (file(4096), file(4096));
            let _map = Map::new(&ours, 4096, true).unwrap();
            // SAFETY: a map of a file of its own, read once below.
            let foreign = unsafe {
                let flags = MapFlags::SHARED;
                mmap(ptr::null_mut(), 4096, ProtFlags::READ, flags, &theirs, 0).unwrap().cast::<u8>()
            };
            theirs.set_len(0).unwrap();
            // SAFETY: the address is mapped; that the read faults is what this is about.
            let byte = unsafe { foreign.read_volatile() };
            panic!("read {byte}");
        }
        let name = "segments::map::tests::a_fault_elsewhere_is_left_alone";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let status = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap().status;
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status:?}");
    }
}
