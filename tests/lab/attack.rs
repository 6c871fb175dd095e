//! Row 15: `query` and file names as an attack.
