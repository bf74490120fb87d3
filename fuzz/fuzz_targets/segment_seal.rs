//! No bytes make the decoder of the seal of a segment panic, and what it accepts is within its bounds.

#![no_main]

use cache_fs::fuzzing::seal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| seal(data));
