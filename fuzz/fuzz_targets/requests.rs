//! libFuzzer's way to [`kvill_fuzz::requests`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::requests::run(data));
