//! A path that is accepted stays below the directory that it is joined to.

#![no_main]

use std::path::{Component, Path};

use cache_core::RelPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = match RelPath::new(data) {
        Ok(path) => path,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(path.as_bytes(), data);
    assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/')));
    assert!(!path.to_string().chars().any(char::is_control));
    if let Some(parent) = path.parent() {
        assert!(path.starts_with(&parent) && !parent.starts_with(&path));
    }
    let Ok(native) = path.to_native() else { return };
    assert!(native.components().all(|component| matches!(component, Component::Normal(_))));
    assert!(Path::new("/base").join(&native).starts_with("/base"));
    assert_eq!(RelPath::from_path(&native), Ok(path));
});
