//! libFuzzer's way to [`kvill_fuzz::fragments`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::fragments::run(data));
