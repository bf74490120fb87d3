//! A text is the text form of a digest, a key or a namespace, or it is refused.

#![no_main]

use cache_core::{Digest, Key, Namespace};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Digest>() {
        Ok(digest) => assert_eq!(digest.to_string(), text),
        Err(error) => assert!(error.to_string().len() < 1000),
    }
    match text.parse::<Key>() {
        Ok(key) => assert_eq!(key.to_string(), text),
        Err(error) => assert!(error.to_string().len() < 1000),
    }
    if let Ok(namespace) = text.parse::<Namespace>() {
        assert_eq!(namespace.as_str(), text);
    }
});
