//! Fuzzes `bodies::mask`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::bodies::mask::run(data));
