//! Any bytes as a request of every route: they are refused with one short line, or are one.

#![no_main]

use docent_server::read_as_every_request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for failure in read_as_every_request(bytes).into_iter().filter_map(Result::err) {
        assert!(!failure.message.contains(char::is_control), "{}", failure.message);
        assert!(failure.message.len() < 1000, "{}", failure.message);
    }
});
