//! Which instruction sets the other tests run on.

#![allow(clippy::unwrap_used)]

use docent_kernels::Isa;

/// Emulated machines are there to run certain instruction sets. That they do not would otherwise go unnoticed: the tests
/// pass on whatever there is.
#[test]
fn the_host_has_the_instruction_sets_that_are_expected() {
    let available = Isa::available().map(Isa::name).collect::<Vec<_>>().join(",");
    println!("instruction sets: {available}");
    if let Ok(expected) = std::env::var("DOCENT_TEST_EXPECT_ISA") {
        assert_eq!(available, expected);
    }
    assert!(available.starts_with("portable"));
}
