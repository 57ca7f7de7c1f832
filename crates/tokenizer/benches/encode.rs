//! Speed of tokenizing, in bytes a second on one core, beside the reference implementation.
//!
//! `cargo bench -p docent-tokenizer`; a file named by `DOCENT_BENCH_TEXT` replaces the built-in prose.

use std::path::Path;
use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use docent_gguf::Gguf;
use docent_tokenizer::Tokenizer;

fn main() {
    divan::main();
}

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let vocabulary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ggml-vocab-bert-bge.gguf");
    Tokenizer::from_gguf(Gguf::open(vocabulary).expect("test data").metadata()).expect("test data")
});

/// The reference implementation over the same vocabulary.
static REFERENCE: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| {
    let vocabulary = (0..TOKENIZER.vocab_size() as u32).filter_map(|id| Some((TOKENIZER.token(id)?, id)));
    let model =
        tokenizers::models::wordpiece::WordPiece::builder().vocab(vocabulary.collect::<ahash::AHashMap<_, _>>());
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().expect("a vocabulary"));
    tokenizer.with_normalizer(Some(tokenizers::normalizers::BertNormalizer::default())).expect("no added tokens");
    tokenizer.with_pre_tokenizer(Some(tokenizers::pre_tokenizers::bert::BertPreTokenizer));
    tokenizer
});

const TEXTS: [&str; 3] = ["english", "german", "mixed"];

fn text(name: &str) -> String {
    if let Ok(path) = std::env::var("DOCENT_BENCH_TEXT") {
        return std::fs::read_to_string(path).expect("DOCENT_BENCH_TEXT names a text file");
    }
    let passage = match name {
        "english" => {
            "A library of scientific papers is searched in two ways. The older one counts words: a document that has the \
             rare terms of the question, and has them often, comes first. It is quick, it is easily explained, and it fails \
             as soon as author and reader call the same thing by different names. (In 1985, 40% of the relevant papers in \
             one collection shared no uncommon term with the query.) The newer way compares meanings, or what a neural \
             network made of them. "
        }
        "german" => {
            "Größere Bibliotheken führen längst elektronische Verzeichnisse, doch wer „Fußgängerüberweg“ sucht, möchte auch \
             über Zebrastreifen lesen. Ähnlichkeitssuche löst dieses Übersetzungsproblem, ohne daß jemand Wörterbücher \
             pflegen müßte; dafür benötigt sie Rechenleistung, die früher unerschwinglich gewesen wäre. "
        }
        _ => {
            "Поиск по смыслу сравнивает векторы. 语义搜索比较的是向量，而不是词语。 의미 검색은 벡터를 비교합니다. \
             La búsqueda semántica compara vectores 🚀. 意味検索はベクトルを比較します。 يقارن البحث الدلالي المتجهات. "
        }
    };
    passage.repeat((64 << 10) / passage.len())
}

#[divan::bench(args = TEXTS)]
fn ids(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    bencher.counter(BytesCount::of_str(&text)).bench(|| TOKENIZER.ids(black_box(&text)));
}

#[divan::bench(args = TEXTS)]
fn encode(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    bencher.counter(BytesCount::of_str(&text)).bench(|| TOKENIZER.encode(black_box(&text)));
}

#[divan::bench(args = TEXTS, max_time = 2)]
fn reference_encode_fast(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    bencher.counter(BytesCount::of_str(&text)).bench(|| REFERENCE.encode_fast(black_box(text.as_str()), false));
}

#[divan::bench(args = TEXTS, max_time = 2)]
fn reference_encode(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    bencher.counter(BytesCount::of_str(&text)).bench(|| REFERENCE.encode(black_box(text.as_str()), false));
}

#[divan::bench(max_time = 2)]
fn load_from_gguf() -> Tokenizer {
    let vocabulary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ggml-vocab-bert-bge.gguf");
    Tokenizer::from_gguf(Gguf::open(vocabulary).expect("test data").metadata()).expect("test data")
}
