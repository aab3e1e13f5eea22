//! libFuzzer's way to [`kvill_fuzz::datagrams`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kvill_fuzz::datagrams::run(data));
