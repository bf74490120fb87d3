//! cache-fs
