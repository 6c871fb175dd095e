//! Fuzzes `bodies::query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::bodies::query::run(data));
