//! What the fuzz targets call.
#![allow(clippy::missing_panics_doc, reason = "a panic is what they look for")]

use super::json;
use super::scan::{Alien, Kind, Reference, Scan};

/// Takes bytes for each message that is scanned, at once and in pieces of `piece` bytes, and for a result in both forms.
pub fn message(bytes: &[u8], piece: usize) {
    for kind in [Kind::Result, Kind::Tree, Kind::Directory] {
        let scanned = scan(kind, bytes, piece.max(1));
        assert_eq!(scanned, scan(kind, bytes, usize::MAX));
        // Each has its 64 digits in the bytes.
        assert!(scanned.map_or(0, |found| found.len()) <= bytes.len() / 64);
    }
    let from_json = json::to_protobuf(bytes).ok().and_then(|protobuf| json::from_protobuf(&protobuf));
    for json in [json::from_protobuf(bytes), from_json].into_iter().flatten() {
        let protobuf = json::to_protobuf(json.as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(json::from_protobuf(&protobuf), Some(json));
    }
}

fn scan(kind: Kind, bytes: &[u8], piece: usize) -> Result<Vec<Reference>, Alien> {
    let (mut scan, mut found) = (Scan::new(kind, bytes.len() as u64), Vec::new());
    for piece in bytes.chunks(piece) {
        scan.feed(piece, &mut found)?;
    }
    if scan.is_whole() { Ok(found) } else { Err(Alien) }
}
