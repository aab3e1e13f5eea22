//! libFuzzer's way to [`kvill_fuzz::stun`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::stun::run(data));
