//! The one place that knows Delta and Parquet: open, scan, write, publish.
