//! How long it takes to open a model, and of that its tokenizer alone: `load MODEL [THREADS] [RUNS]`.
//!
//! Each run is a process of its own, since memory that one has got from the system the next need not ask for. The page cache is
//! warm after the first, which is not counted.

#![allow(clippy::print_stdout)]

use std::any::Any;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use docent_gguf::Gguf;
use docent_kernels::ThreadPool;
use docent_models::{Model, directory_tokenizer};
use docent_tokenizer::Tokenizer;

type Error = Box<dyn std::error::Error>;

/// Set to what a run is to open.
const PART: &str = "DOCENT_LOAD_PART";

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: load MODEL [THREADS] [RUNS]")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (threads, runs) = (number(2)?, number(15)?);
    match std::env::var(PART) {
        Ok(part) => println!("{}", open(&part, &path, threads)?),
        Err(_) => {
            for part in ["model", "tokenizer"] {
                let mut times = Vec::new();
                for _ in 0..=runs {
                    times.push(in_a_process(part, &path, threads)?);
                }
                times.remove(0);
                times.sort_unstable_by(f64::total_cmp);
                println!("{part}: least {:.1} ms, median {:.1} ms", times[0], times[times.len() / 2]);
            }
        }
    }
    Ok(())
}

fn in_a_process(part: &str, path: &Path, threads: usize) -> Result<f64, Error> {
    let output = Command::new(std::env::current_exe()?).env(PART, part).arg(path).arg(threads.to_string()).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Milliseconds that it takes.
fn open(part: &str, path: &Path, threads: usize) -> Result<f64, Error> {
    let threads = ThreadPool::new(threads);
    // Dropping what was opened is not part of the time.
    let begin = Instant::now();
    let (elapsed, _opened): (_, Box<dyn Any>) = match part {
        "model" => {
            let model = Model::open(path, &threads)?;
            (begin.elapsed(), Box::new(model))
        }
        _ => {
            let tokenizer = if path.is_dir() {
                directory_tokenizer(path)?
            } else {
                Tokenizer::from_gguf(Gguf::open(path)?.metadata())?
            };
            (begin.elapsed(), Box::new(tokenizer))
        }
    };
    Ok(elapsed.as_secs_f64() * 1e3)
}
