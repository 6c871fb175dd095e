//! Fuzzes `bodies::pipeline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::bodies::pipeline::run(data));
