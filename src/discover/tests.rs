//! Discover as a whole.
