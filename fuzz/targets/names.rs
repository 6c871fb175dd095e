//! Fuzzes `bodies::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::bodies::names::run(data));
