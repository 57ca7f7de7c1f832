//! Lists a GGUF file: `cargo run -p docent-gguf --example list -- FILE`.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use docent_gguf::{Gguf, codec};

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
    let path = std::env::args_os().nth(1).ok_or("expected the path of a GGUF file")?;
    let model = Gguf::open(path)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(
        out,
        "{}: version {}, {} bytes in {} files",
        model.file(),
        model.version(),
        model.n_bytes(),
        model.n_files()
    )?;
    for (key, value) in model.metadata().iter() {
        // Chat templates and vocabularies are long; a line has room for the start.
        let shown: String = value.to_string().escape_debug().take(100).collect();
        writeln!(out, "{key} = {shown}")?;
    }
    for tensor in model.tensors() {
        let ty = tensor.tensor_type();
        write!(out, "{} {ty} {:?}", tensor.name(), tensor.dims())?;
        if ty.is_supported() {
            let mut row = vec![0.0; tensor.row_len()];
            let row_bytes = tensor.bytes().len() / tensor.n_rows();
            let mut largest = 0f32;
            for bytes in tensor.bytes().chunks_exact(row_bytes) {
                codec::dequantize(ty, bytes, &mut row)?;
                largest = row.iter().fold(largest, |largest, value| largest.max(value.abs()));
            }
            write!(out, ", largest {largest}")?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}
