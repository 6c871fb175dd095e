//! Row 7: A mirror that was damaged, locked by a reader, or deleted in use.
