//! cache-testkit
