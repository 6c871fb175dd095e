//! A small pipeline and its rows for the mirror's tests.
