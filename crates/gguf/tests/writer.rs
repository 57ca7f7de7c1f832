//! What is written reads back; what cannot be written says why and leaves nothing behind.

mod common;

use std::fs;
use std::io::{self, Write};

use docent_gguf::{Gguf, OwnedArray, OwnedValue, TensorType, WriteError, Writer};
use proptest::prelude::*;

fn write(writer: &Writer, data: &[Vec<u8>], piece: usize) -> Result<Vec<u8>, WriteError> {
    let mut data = data.iter();
    let mut out = vec![];
    writer.write(&mut out, |_, sink| {
        let bytes = data.next().expect("data are asked for once a tensor");
        bytes.chunks(piece.max(1)).try_for_each(|piece| sink.write(piece))
    })?;
    Ok(out)
}

fn value() -> impl Strategy<Value = OwnedValue> {
    fn both<T>(one: impl Strategy<Value = T> + Clone + 'static) -> BoxedStrategy<OwnedValue>
    where
        T: std::fmt::Debug + 'static,
        OwnedValue: From<T> + From<Vec<T>>,
    {
        prop_oneof![one.clone().prop_map_into(), prop::collection::vec(one, 0..20).prop_map_into()].boxed()
    }
    prop_oneof![
        both(any::<u8>()),
        both(any::<i8>()),
        both(any::<u16>()),
        both(any::<i16>()),
        both(any::<u32>()),
        both(any::<i32>()),
        both(any::<u64>()),
        both(any::<i64>()),
        both(any::<f32>()),
        both(any::<f64>()),
        both(any::<bool>()),
        both(any::<String>()),
    ]
}

/// Type, sizes and the bytes of a tensor.
fn tensor() -> impl Strategy<Value = (TensorType, Vec<u64>, Vec<u8>)> {
    (prop::sample::select(TensorType::ALL), prop::collection::vec(1u64..4, 1..=4)).prop_flat_map(|(ty, mut dims)| {
        dims[0] *= ty.block_elements() as u64;
        let bytes = ty.bytes_for(dims.iter().product()).expect("rows are whole blocks") as usize;
        (Just(ty), Just(dims), prop::collection::vec(any::<u8>(), bytes))
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        metadata in prop::collection::btree_map("[a-z._]{1,12}|\\PC{1,5}", value(), 0..8),
        tensors in prop::collection::btree_map("[a-z.0-9]{1,30}", tensor(), 0..6),
        alignment in prop::option::of(0u32..9),
        piece in 1usize..200,
    ) {
        let mut writer = Writer::new();
        for (key, value) in &metadata {
            writer.metadata(key, value.clone()).unwrap();
        }
        if let Some(log) = alignment {
            writer.metadata("general.alignment", 1u32 << log).unwrap();
        }
        for (name, (ty, dims, _)) in &tensors {
            writer.tensor(name, dims, *ty).unwrap();
        }
        let data: Vec<_> = tensors.values().map(|(_, _, bytes)| bytes.clone()).collect();
        let file = write(&writer, &data, piece).unwrap();
        prop_assert_eq!(writer.n_bytes(), file.len() as u64);

        let model = Gguf::from_bytes(file).unwrap();
        prop_assert_eq!(model.version(), 3);
        prop_assert_eq!(model.alignment(), alignment.map_or(32, |log| 1 << log));
        prop_assert_eq!(model.metadata().len(), metadata.len() + usize::from(alignment.is_some()));
        for ((key, value), (found_key, found)) in metadata.iter().zip(model.metadata().iter()) {
            prop_assert_eq!(key, found_key);
            // Bits, because a NaN is not equal to itself.
            prop_assert_eq!(format!("{:?}", OwnedValue::from(found)), format!("{value:?}"));
            prop_assert_eq!(model.metadata().get(key).map(|v| v.describe()), Some(found.describe()));
        }
        prop_assert_eq!(model.tensors().len(), tensors.len());
        for ((name, (ty, dims, bytes)), found) in tensors.iter().zip(model.tensors()) {
            prop_assert_eq!((found.name(), found.tensor_type(), found.dims()), (&name[..], *ty, &dims[..]));
            prop_assert_eq!(found.bytes(), &bytes[..]);
            prop_assert_eq!(model.tensor(name).unwrap().bytes(), &bytes[..]);
        }
    }
}

#[test]
fn data_follow_each_other_without_gaps() {
    let mut writer = Writer::new();
    writer.tensor("a", &[3], TensorType::I8).unwrap();
    writer.tensor("b", &[32], TensorType::Q8_0).unwrap();
    let file = write(&writer, &[vec![1, 2, 3], vec![7; 34]], 100).unwrap();
    assert_eq!(file.len() % 32, 0);
    let data = &file[file.len() - 96..];
    assert_eq!(data[..3], [1, 2, 3]);
    assert!(data[3..32].iter().all(|&byte| byte == 0));
    assert_eq!(data[32..66], [7; 34]);
    assert!(data[66..].iter().all(|&byte| byte == 0));
}

#[test]
fn what_the_format_cannot_have_is_refused() {
    let mut writer = Writer::new();
    writer.metadata("k", 1u32).unwrap();
    writer.tensor("t", &[1], TensorType::F32).unwrap();
    let message = |result: Result<&mut Writer, WriteError>| result.unwrap_err().to_string();
    assert_eq!(message(writer.metadata("", 1u32)), "expected a key of 1 to 65535 bytes, found 0 bytes: ``");
    assert_eq!(message(writer.metadata("k", 2u32)), "expected every key once, found `k` again");
    for bad in [OwnedValue::from(3u32), 0u32.into(), (1u32 << 22).into(), 32u64.into(), "32".into()] {
        let message = message(writer.metadata("general.alignment", bad));
        assert!(message.contains("expected a u32 power of two from 1 to 2097152"), "{message}");
    }
    writer.metadata("general.alignment", 64u32).unwrap();
    assert!(message(writer.tensor("", &[1], TensorType::F32)).contains("1 to 63 bytes"));
    assert!(message(writer.tensor("n".repeat(64), &[1], TensorType::F32)).contains("found 64 bytes"));
    assert_eq!(message(writer.tensor("t", &[1], TensorType::F32)), "expected every tensor name once, found `t` again");
    for (dims, expected) in [
        (&[][..], "1 to 4 dimensions"),
        (&[1; 5], "1 to 4 dimensions"),
        (&[32, 0], "dimensions of at least 1"),
        (&[33], "rows in whole blocks"),
        (&[32, u64::MAX], "a size below 2^63 bytes"),
        (&[1 << 62, 2], "a size below 2^63 bytes"),
    ] {
        let message = message(writer.tensor("u", dims, TensorType::Q8_0));
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(writer.tensors().len(), 1, "refused tensors are not added");
}

#[test]
fn too_few_and_too_many_data_are_refused() {
    let mut writer = Writer::new();
    writer.tensor("t", &[2], TensorType::F32).unwrap();
    assert_eq!(
        write(&writer, &[vec![0; 7]], 3).unwrap_err().to_string(),
        "tensor `t`: expected 8 bytes of data, found 7"
    );
    assert_eq!(
        write(&writer, &[vec![0; 9]], 3).unwrap_err().to_string(),
        "tensor `t`: expected 8 bytes of data, found 9"
    );
}

#[test]
fn a_saved_file_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let files = || fs::read_dir(dir.path()).unwrap().count();
    let mut writer = Writer::new();
    writer.metadata("general.name", "first").unwrap();
    writer.tensor("t", &[4], TensorType::I8).unwrap();

    // The caller's own failure.
    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("no data")]
        Own,
        #[error(transparent)]
        Write(#[from] WriteError),
    }
    let result = writer.save(&path, |_, data| {
        data.write(&[1])?;
        Err(Failure::Own)
    });
    assert!(matches!(result, Err(Failure::Own)));
    assert_eq!(files(), 0);

    writer.save(&path, |_, data| data.write(&[1, 2, 3, 4])).unwrap();
    assert_eq!(files(), 1);
    let old = Gguf::open(&path).unwrap();

    // A second writer that fails leaves the first file, and one that succeeds replaces it under an open mapping.
    assert!(matches!(writer.save(&path, |_, _| Ok(())), Err(WriteError::DataLength { .. })));
    assert_eq!(Gguf::open(&path).unwrap().tensor("t").unwrap().bytes(), [1, 2, 3, 4]);
    writer.save(&path, |_, data| data.write(&[5, 6, 7, 8])).unwrap();
    assert_eq!(Gguf::open(&path).unwrap().tensor("t").unwrap().bytes(), [5, 6, 7, 8]);
    assert_eq!(old.tensor("t").unwrap().bytes(), [1, 2, 3, 4]);
    assert_eq!(files(), 1);
}

#[test]
fn places_that_cannot_be_written_to_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [dir.path().to_owned(), dir.path().join("missing").join("model.gguf")] {
        let error = Writer::new().save(&bad, |_, _| Ok::<_, WriteError>(())).unwrap_err();
        let expected = format!("{}: cannot create the file: ", bad.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

/// Takes some bytes, then has no room.
struct Full {
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_a_clear_error() {
    let mut writer = Writer::new();
    writer.tensor("t", &[3 << 20], TensorType::F32).unwrap();
    let megabyte = vec![0; 1 << 20];
    for room in [0, 1, 100, 2 << 20, 12 << 20] {
        let result = writer.write(Full { room }, |_, data| (0..12).try_for_each(|_| data.write(&megabyte)));
        let error: WriteError = result.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "output: no space left on the disk for a file of {} bytes; free some or choose another place",
                12582976
            )
        );
    }
    writer.write(Full { room: 13 << 20 }, |_, data| (0..12).try_for_each(|_| data.write(&megabyte))).unwrap();
}

#[test]
fn values_of_an_open_file_can_be_written_again() {
    let model = common::Raw::valid().open();
    let mut writer = Writer::new();
    for (key, value) in model.metadata().iter() {
        writer.metadata(key, value).unwrap();
    }
    writer.metadata("more", OwnedArray::U16(vec![1, 2])).unwrap();
    let copy = Gguf::from_bytes(write(&writer, &[], 1).unwrap()).unwrap();
    assert_eq!(copy.metadata().len(), 6);
    for ((key, value), (copied_key, copied)) in model.metadata().iter().zip(copy.metadata().iter()) {
        assert_eq!((key, value), (copied_key, copied));
    }
}
