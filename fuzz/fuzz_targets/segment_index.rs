//! No bytes make the decoder of the index of segments panic, and what it accepts is within its bounds.

#![no_main]

use cache_fs::fuzzing::index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| index(data));
