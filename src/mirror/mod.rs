//! Mirror: brings a database for looking at to the committed batch. Knows nothing of events or Delta.
