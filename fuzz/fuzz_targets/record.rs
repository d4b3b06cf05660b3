#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shard_store::fuzz::fuzz_record(input));
