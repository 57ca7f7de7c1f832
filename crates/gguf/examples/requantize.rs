//! Rewrites a model with its weight matrices in another type, row by row in bounded memory:
//! `cargo run -p docent-gguf --example requantize -- IN.gguf OUT.gguf Q8_0`.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use docent_gguf::{Gguf, OwnedValue, Tensor, TensorType, Writer, codec};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, name] = &arguments[..] else {
        return Err("expected IN.gguf OUT.gguf TYPE".into());
    };
    let ty = TensorType::ALL.iter().copied().find(|ty| ty.name() == name && ty.is_supported());
    let ty = ty.ok_or("expected a type of F32, F16, BF16, Q8_0")?;
    // The numbers that the specification gives these types when they are a file's main one.
    let file_type: u32 = match ty {
        TensorType::F32 => 0,
        TensorType::F16 => 1,
        TensorType::BF16 => 32,
        _ => 7,
    };

    let model = Gguf::open(input)?;
    let mut writer = Writer::new();
    for (key, value) in model.metadata().iter().filter(|(key, _)| !key.starts_with("split.")) {
        let value = if key == "general.file_type" { OwnedValue::U32(file_type) } else { value.into() };
        writer.metadata(key, value)?;
    }
    for tensor in model.tensors() {
        let target = if is_matrix(&tensor) { ty } else { tensor.tensor_type() };
        writer.tensor(tensor.name(), tensor.dims(), target)?;
    }
    let mut source = model.tensors();
    writer.save(output, |info, data| {
        let tensor = source.next().expect("the writer has the tensors of the model");
        if info.tensor_type() == tensor.tensor_type() {
            data.write(tensor.bytes())?;
            return Ok(());
        }
        let mut row = vec![0.0; tensor.row_len()];
        let mut encoded = vec![];
        for bytes in tensor.bytes().chunks_exact(tensor.bytes().len() / tensor.n_rows()) {
            codec::dequantize(tensor.tensor_type(), bytes, &mut row)?;
            encoded.clear();
            codec::quantize(info.tensor_type(), &row, &mut encoded)?;
            data.write(&encoded)?;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    Ok(())
}

/// Whether a tensor is one of those that llama.cpp's tools quantise: a matrix of weights, but no table of positions or types
/// and no norm.
fn is_matrix(tensor: &Tensor<'_>) -> bool {
    let name = tensor.name();
    let excluded = ["_norm.weight", "position_embd.weight", "token_types.weight"];
    name.ends_with("weight")
        && tensor.row_len() > 1
        && tensor.n_rows() > 1
        && !excluded.iter().any(|end| name.ends_with(end))
}
