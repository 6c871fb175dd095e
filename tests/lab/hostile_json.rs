//! Row 11: Hostile JSON, archives, names and columns.
