//! Merge: claims and rows + key index to a plan. Pure: no I/O, no clock.
