//! Discover: which complete files are new. Knows nothing of JSON or tables.
