//! No bytes make the reader of recorded output panic, and checking a log finds exactly what replaying it finds.

#![no_main]

use cache_run::exec::{check, replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let replayed = replay(data, &mut stdout, &mut stderr);
    let checked = check(data);
    assert_eq!(replayed.is_ok(), checked.is_ok());
    assert!(stdout.len() + stderr.len() <= data.len());
    if let (Ok(replayed), Ok(checked)) = (replayed, checked) {
        assert_eq!(replayed, checked);
        assert_eq!((replayed.stdout, replayed.stderr), (stdout.len() as u64, stderr.len() as u64));
    }
});
