//! Row 12: The fuzz targets' corpora and the differential against `serde_json`, as tests.
