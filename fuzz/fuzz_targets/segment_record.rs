//! No bytes make the decoder of the header of a record panic, and what it accepts is within its bounds.

#![no_main]

use cache_fs::fuzzing::record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| record(data));
