//! Commit: makes a staged batch visible, once, in every table.
