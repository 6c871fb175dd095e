//! Row 14: A short soak: random kills and compaction under load, growth watched.
