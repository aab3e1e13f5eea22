//! libFuzzer's way to [`kvill_fuzz::offers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::offers::run(data));
