//! Row 6: Tables that were damaged, and commits of others in between.
