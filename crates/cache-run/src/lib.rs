//! cache-run
