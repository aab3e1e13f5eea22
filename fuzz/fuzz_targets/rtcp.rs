//! libFuzzer's way to [`kvill_fuzz::rtcp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::rtcp::run(data));
