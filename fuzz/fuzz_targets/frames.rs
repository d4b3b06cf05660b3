#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shard_cluster::wire::fuzz::fuzz_frames(input));
