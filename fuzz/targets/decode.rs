//! Fuzzes `bodies::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::bodies::decode::run(data));
