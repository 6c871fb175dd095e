//! Flatten: a document to claims and rows of every table, by the compiled pipeline. Pure: no I/O, no clock.
