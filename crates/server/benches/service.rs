//! What the scheduler costs: single texts of many callers at a time, against the same texts in one call of the library.
//!
//! `cargo bench -p docent-server` (`DOCENT_BENCH_MODEL` names another model than the small fixture).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed bench

use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use docent::{EmbedOptions, Embedder, OpenOptions};
use docent_server::{Config, EmbedCall, Input, ModelsConfig, NamedModel, Service};
use tokio::runtime::Runtime;

const CALLERS: usize = 64;
const CALLS: usize = 16;
const TEXT: &str = "how do tides work in the north sea";

fn main() {
    divan::main();
}

fn model() -> String {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/bert-tiny");
    std::env::var("DOCENT_BENCH_MODEL").unwrap_or_else(|_| tiny.to_owned())
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

fn service() -> &'static Service {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let named = NamedModel { name: "model".to_owned(), model: model().parse().unwrap() };
        let open = OpenOptions { threads: Some(2), ..OpenOptions::default() };
        let models = ModelsConfig { models: vec![named], open, ..ModelsConfig::default() };
        let service = Service::new(&Config { models, ..Config::default() });
        runtime().block_on(service.load()).unwrap();
        service
    })
}

#[divan::bench]
fn library(bencher: Bencher<'_, '_>) {
    let options = OpenOptions { threads: Some(2), ..OpenOptions::default() };
    let embedder = Embedder::open_with(&model().parse().unwrap(), &options, &docent::hub::Silent).unwrap();
    let texts = vec![TEXT; CALLERS * CALLS];
    bencher.counter(ItemsCount::new(texts.len())).bench_local(|| embedder.embed(&texts).unwrap());
}

#[divan::bench]
fn callers(bencher: Bencher<'_, '_>) {
    let service = service();
    bencher.counter(ItemsCount::new(CALLERS * CALLS)).bench_local(|| {
        runtime().block_on(async {
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    tokio::spawn(async {
                        for _ in 0..CALLS {
                            let inputs = vec![Input::Text(TEXT.to_owned())];
                            let call = EmbedCall { model: None, inputs, options: EmbedOptions::default() };
                            service.embed(call).await.unwrap();
                        }
                    })
                })
                .collect();
            for caller in callers {
                caller.await.unwrap();
            }
        });
    });
}

#[divan::bench]
fn one_caller(bencher: Bencher<'_, '_>) {
    let service = service();
    bencher.bench_local(|| {
        let call =
            EmbedCall { model: None, inputs: vec![Input::Text(TEXT.to_owned())], options: EmbedOptions::default() };
        runtime().block_on(service.embed(call)).unwrap()
    });
}

#[divan::bench]
fn library_one_text(bencher: Bencher<'_, '_>) {
    let options = OpenOptions { threads: Some(2), ..OpenOptions::default() };
    let embedder = Embedder::open_with(&model().parse().unwrap(), &options, &docent::hub::Silent).unwrap();
    bencher.bench_local(|| embedder.embed(&[TEXT]).unwrap());
}
