//! The decoders of what lies on the disk, for the fuzz targets. No part of the interface.

/// Decodes the header of a record.
pub fn record(data: &[u8]) {
    super::record::fuzz(data);
}

/// Decodes a seal.
pub fn seal(data: &[u8]) {
    super::seal::fuzz(data);
}

/// Decodes the header and a bucket of the index.
pub fn index(data: &[u8]) {
    super::index::fuzz(data);
}
