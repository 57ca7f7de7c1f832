//! Any bytes as a safetensors file: they are refused, or every tensor lies where its header says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = SafeTensors::deserialize(bytes) else { return };
    let mut total = 0;
    for (name, view) in tensors.iter() {
        let bits = view.shape().iter().product::<usize>() * view.dtype().bitsize();
        assert_eq!(bits, view.data().len() * 8, "{name}");
        total += view.data().len();
    }
    assert!(total <= bytes.len());
});
