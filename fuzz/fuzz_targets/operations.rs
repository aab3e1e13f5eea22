//! libFuzzer's way to [`kvill_fuzz::operations`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::operations::run(data));
