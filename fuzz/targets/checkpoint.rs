//! Fuzzes `bodies::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::bodies::checkpoint::run(data));
