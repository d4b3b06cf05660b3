#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocol::wire::fuzz::fuzz_packet(input));
