//! No dependency file makes the parser panic, and what it returns was in the file.

#![no_main]

use cache_run::depfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parsed = match depfile::parse(data) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for path in parsed.targets.iter().chain(&parsed.deps) {
        let name = path.as_os_str();
        assert!(!name.is_empty() && name.len() <= depfile::MAX_NAME_BYTES);
    }
    // Unescaping only ever takes away.
    let taken: usize = parsed.targets.iter().chain(&parsed.deps).map(|path| path.as_os_str().len()).sum();
    assert!(taken <= data.len());
});
