//! Decode: bytes to documents; what cannot be decoded becomes [`crate::batch::Bad`]. Knows nothing of tables.
