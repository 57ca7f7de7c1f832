//! How fast a language model reads a prompt and writes: `decode MODEL [THREADS] [PROMPT TOKENS] [TOKENS]`.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use docent_kernels::{Executor, Isa, ThreadPool};
use docent_models::{Model, Prefix};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: decode MODEL [THREADS] [PROMPT TOKENS] [TOKENS]")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (threads, prompt, tokens) = (number(2)?, number(40)?, number(100)?);

    let threads = Arc::new(ThreadPool::new(threads));
    let begin = Instant::now();
    let mut model = Model::open(&path, &threads)?;
    if !model.load_output(&threads)? {
        return Err("the model is no language model".into());
    }
    let loaded = begin.elapsed();
    let mut executor = Executor::on_pool(Isa::best(), threads);
    // The first run touches the file's pages.
    for run in ["first", "second"] {
        let ids: Vec<u32> = (0..prompt).map(|place| (place * 37 % 1000) as u32 + 10).collect();
        let mut prefix = Prefix::new();
        let begin = Instant::now();
        let logits = model.next_logits(&mut executor, &ids, &mut prefix)?;
        executor.recycle(logits);
        let read = begin.elapsed();
        let begin = Instant::now();
        for place in 0..tokens {
            let logits = model.next_logits(&mut executor, &[(place * 91 % 1000) as u32 + 10], &mut prefix)?;
            executor.recycle(logits);
        }
        let written = begin.elapsed();
        println!(
            "{run}: opened in {:.0} ms; {prompt} tokens read in {:.0} ms; {:.1} ms a token written, {:.1} tokens/s; {:.1} MB of keys and values",
            loaded.as_secs_f64() * 1e3,
            read.as_secs_f64() * 1e3,
            written.as_secs_f64() * 1e3 / tokens as f64,
            tokens as f64 / written.as_secs_f64(),
            prefix.bytes() as f64 / 1e6,
        );
        prefix.recycle(&mut executor);
    }
    Ok(())
}
