//! vitte-cache
