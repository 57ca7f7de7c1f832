//! Files built byte by byte, so that each test can break exactly one thing.

#![allow(dead_code, unreachable_pub)] // each test file uses a part

use docent_gguf::{Gguf, TensorType};

/// The parts of a GGUF file, of which a test may set any wrong.
#[derive(Clone)]
pub struct Raw {
    pub magic: [u8; 4],
    pub version: u32,
    /// `None` for the true count.
    pub n_tensors: Option<u64>,
    pub n_entries: Option<u64>,
    pub entries: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_entries: None,
            entries: vec![],
            tensors: vec![],
            alignment: 32,
            data: vec![],
        }
    }
}

pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = (text.as_ref().len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_ref());
    out
}

pub const U8: u32 = 0;
pub const U16: u32 = 2;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

pub fn entry(key: impl AsRef<[u8]>, ty: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&text(key), &ty.to_le_bytes()[..], value.as_ref()].concat()
}

pub fn array(element: u32, count: u64, elements: impl AsRef<[u8]>) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), elements.as_ref()].concat()
}

pub fn tensor(name: impl AsRef<[u8]>, dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend((dims.len() as u32).to_le_bytes());
    out.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
    out.extend(ty.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

impl Raw {
    /// A small valid file: every way of storing a value, and four tensors.
    pub fn valid() -> Self {
        let texts = ["[PAD]", "", "ü"].map(text).concat();
        Self::default()
            .entry("general.architecture", STRING, text("bert"))
            .entry("a.count", U32, 3u32.to_le_bytes())
            .entry("a.bytes", ARRAY, array(U8, 5, [1, 2, 3, 4, 5]))
            .entry("a.texts", ARRAY, array(STRING, 3, texts))
            .entry("a.ids", ARRAY, array(I32, 2, [1i32, -1].map(i32::to_le_bytes).concat()))
            .tensor("one", &[4], TensorType::F32, 0)
            .tensor("two", &[32, 2], TensorType::Q8_0, 32)
            .tensor("three", &[2, 2, 2, 2], TensorType::F16, 128)
            .tensor("four", &[1], TensorType::I8, 160)
            .data((0..161).map(|i| i as u8).collect())
    }

    pub fn entry(mut self, key: impl AsRef<[u8]>, ty: u32, value: impl AsRef<[u8]>) -> Self {
        self.entries.push(entry(key, ty, value));
        self
    }

    pub fn tensor(self, name: impl AsRef<[u8]>, dims: &[u64], ty: TensorType, offset: u64) -> Self {
        self.raw_tensor(tensor(name, dims, ty.id(), offset))
    }

    pub fn raw_tensor(mut self, record: Vec<u8>) -> Self {
        self.tensors.push(record);
        self
    }

    pub fn data(mut self, data: Vec<u8>) -> Self {
        self.data = data;
        self
    }

    pub fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_entries.unwrap_or(self.entries.len() as u64).to_le_bytes());
        out.extend(self.entries.concat());
        out.extend(self.tensors.concat());
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.data);
        out
    }

    pub fn open(&self) -> Gguf {
        Gguf::from_bytes(self.bytes()).expect("the file is good")
    }

    pub fn error(&self) -> String {
        error(self.bytes())
    }
}

/// The message with which `bytes` are refused: one line.
pub fn error(bytes: Vec<u8>) -> String {
    let message = match Gguf::from_bytes(bytes) {
        Ok(model) => panic!("opened: {model:?}"),
        Err(error) => error.to_string(),
    };
    assert!(!message.contains('\n'), "{message}");
    assert!(message.len() < 600, "{message}");
    message
}

/// Touches everything a file has, and returns how many values and bytes it saw.
pub fn walk(model: &Gguf) -> usize {
    let mut seen = 0;
    for (key, value) in model.metadata().iter() {
        assert_eq!(model.metadata().get(key).map(|v| v.value_type()), Some(value.value_type()));
        if let docent_gguf::Value::Array(array) = value {
            assert_eq!(array.iter().count(), array.len());
            seen += array.len();
        }
        seen += 1;
    }
    for tensor in model.tensors() {
        assert_eq!(model.tensor(tensor.name()).map(|t| t.bytes().as_ptr()), Some(tensor.bytes().as_ptr()));
        let expected = tensor.tensor_type().bytes_for(tensor.n_elements() as u64);
        assert_eq!(expected, Some(tensor.bytes().len() as u64));
        seen += tensor.bytes().iter().filter(|&&byte| byte < 128).count();
    }
    seen
}
