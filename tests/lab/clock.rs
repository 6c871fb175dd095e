//! Row 10: Clocks that jump and files from the future.
