//! A text that names a place to listen at is the same place when it is written again.

#![no_main]

use cache_server::Listen;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(place) = text.parse::<Listen>() {
        let shown = place.to_string();
        assert_eq!(shown.parse(), Ok(place));
    }
});
