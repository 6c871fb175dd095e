//! What a mirror must stand.
