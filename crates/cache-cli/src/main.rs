//! The `vitte-cache` command.
fn main() {}
