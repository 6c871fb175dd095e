//! Stage: a plan to durable but invisible files.
