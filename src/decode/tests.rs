//! Decode as a whole.
