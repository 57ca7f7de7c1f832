//! What becomes a model: folders, repositories, names of the catalogue, addresses. The hub is a server on this machine.

#![allow(clippy::unwrap_used)] // clippy sees tests in functions marked as such, not in their helpers

mod hub_server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use docent::ModelRef;
use docent::hub::{Error, Hub, Progress, Quant, Silent};
use hub_server::place::{Place, assert_content, content, message};
use hub_server::{COMMIT, Reply, Repos, Server, file_reply, sha256};

fn folder_repos() -> Repos {
    Repos::default()
        .with("u/r", "config.json", "{}")
        .with("u/r", "tokenizer.json", "{\"t\": 1}")
        .with("u/r", "modules.json", r#"[{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]"#)
        .with("u/r", "1_Pooling/config.json", "{\"pooling_mode_cls_token\": true}")
        .with("u/r", "model.safetensors", "weights")
        .with("u/r", "pytorch_model.bin", "other weights")
}

#[test]
fn a_safetensors_folder_comes_whole_with_the_weights_last() {
    let (place, server) = (Place::new(), Server::hub(folder_repos()));
    let (hub, model) = (place.hub(&server.url), "hf:u/r".parse::<ModelRef>().unwrap());
    let folder = hub.fetch(&model, None, &Silent).unwrap();
    assert_eq!(
        std::fs::read_to_string(folder.join("1_Pooling/config.json")).unwrap(),
        "{\"pooling_mode_cls_token\": true}"
    );
    assert!(!folder.join("pytorch_model.bin").exists());
    assert!(server.gets().last().unwrap().path.ends_with("/model.safetensors"));
    assert!(server.gets().iter().all(|r| r.path.starts_with(&format!("/u/r/resolve/{COMMIT}/"))), "one commit");
    let before = server.connections();
    assert_eq!(hub.fetch(&model, Some(Quant::Original), &Silent).unwrap(), folder);
    assert_eq!(hub.cached(&model, None), Some(folder.clone()));
    assert_eq!(server.connections(), before);

    // A small file that changed is noticed as well as the weights.
    let config = std::fs::canonicalize(folder.join("tokenizer.json")).unwrap();
    std::fs::write(config, "{\"t\": 2}").unwrap();
    assert_eq!(hub.cached(&model, None), None);
    hub.fetch(&model, None, &Silent).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("tokenizer.json")).unwrap(), "{\"t\": 1}");
}

#[test]
fn a_folder_without_its_pooling_is_completed_or_used_offline() {
    let (place, server) = (Place::new(), Server::hub(folder_repos()));
    let (hub, model) = (place.hub(&server.url), "hf:u/r".parse::<ModelRef>().unwrap());
    let folder = place.repo().join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(place.repo().join("refs")).unwrap();
    std::fs::write(place.repo().join("refs/main"), COMMIT).unwrap();
    for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{\"t\": 1}"), ("model.safetensors", "weights")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    assert_eq!(hub.cached(&model, None), None, "somebody who only needs the encoder has fetched it");
    assert_eq!(hub.clone().offline(true).fetch(&model, None, &Silent).unwrap(), folder);
    assert_eq!(server.connections(), 0);
    assert_eq!(hub.fetch(&model, None, &Silent).unwrap(), folder);
    assert!(folder.join("1_Pooling/config.json").exists());
    assert_eq!(hub.cached(&model, None), Some(folder));
}

#[test]
fn a_repository_is_searched_for_the_wanted_format() {
    let repos = Repos::default()
        .with("u/r", "m-F16.gguf", "GGUF 16")
        .with("u/r", "m-Q8_0-00001-of-00002.gguf", "GGUF 8a")
        .with("u/r", "m-Q8_0-00002-of-00002.gguf", "GGUF 8b");
    let (place, server) = (Place::new(), Server::hub(repos));
    let (hub, model) = (place.hub(&server.url), "hf:u/r".parse::<ModelRef>().unwrap());
    let f16 = hub.fetch(&model, Some(Quant::F16), &Silent).unwrap();
    assert_eq!(std::fs::read_to_string(&f16).unwrap(), "GGUF 16");
    assert_eq!(hub.fetch(&model, None, &Silent).unwrap(), f16, "what is here is good enough when nothing is asked for");
    let q8 = hub.fetch(&model, Some(Quant::Q8_0), &Silent).unwrap();
    assert!(q8.ends_with("m-Q8_0-00001-of-00002.gguf") && q8.with_file_name("m-Q8_0-00002-of-00002.gguf").exists());
    assert_eq!(hub.fetch(&model, None, &Silent).unwrap(), q8);
    let error = hub.fetch(&model, Some(Quant::Q4_K_M), &Silent).unwrap_err();
    assert!(message(&error).contains("F16, Q8_0"), "{error}");
    let error = hub.fetch(&model, Some(Quant::Original), &Silent).unwrap_err();
    assert!(matches!(error, Error::NoModelFile { .. }), "{error:?}");
}

#[test]
fn the_adapters_beside_a_gguf_file_come_with_it() {
    let jina = "GGUF general.architecture jina-bert-v3";
    let repos = Repos::default()
        .with("u/r", "q/m-Q8_0.gguf", jina)
        .with("u/r", "q/lora-a-m-F16.gguf", "GGUF a")
        .with("u/r", "q/lora-b-m-F16.gguf", "GGUF b")
        .with("u/r", "q/lora-a-other.gguf", "GGUF")
        .with("u/r", "lora-c-m-F16.gguf", "GGUF")
        .with("u/r", "bert.gguf", "GGUF general.architecture bert");
    for name in ["hf:u/r/q/m-Q8_0.gguf", "hf:u/r"] {
        let (place, server) = (Place::new(), Server::hub(repos.clone()));
        let (hub, model) = (place.hub(&server.url), name.parse::<ModelRef>().unwrap());
        let path = hub.fetch(&model, Some(Quant::Q8_0), &Silent).unwrap();
        let beside = |name: &str| path.with_file_name(name).exists();
        assert!(path.ends_with("q/m-Q8_0.gguf") && beside("lora-a-m-F16.gguf") && beside("lora-b-m-F16.gguf"));
        assert!(!beside("lora-a-other.gguf") && !beside("../lora-c-m-F16.gguf"));
        let before = server.connections();
        assert_eq!(hub.fetch(&model, Some(Quant::Q8_0), &Silent).unwrap(), path);
        assert_eq!(server.connections(), before, "asked once");
    }
    // Of a model without tasks nothing is asked.
    let (place, server) = (Place::new(), Server::hub(repos));
    place.hub(&server.url).fetch(&"hf:u/r/bert.gguf".parse().unwrap(), None, &Silent).unwrap();
    assert!(server.requests().iter().all(|request| request.path.ends_with("/bert.gguf")));
}

#[test]
fn a_model_whose_adapters_cannot_be_fetched_is_used() {
    let jina = "GGUF general.architecture jina-bert-v3";
    let repos = Repos::default().with("u/r", "m.gguf", jina);
    let (place, server) = (
        Place::new(),
        Server::start(move |request| match request.path.contains("/api/") {
            true => Reply::status(403),
            false => repos.answer(request),
        }),
    );
    let (hub, model) = (place.hub(&server.url), "hf:u/r/m.gguf".parse::<ModelRef>().unwrap());
    let notes = Notes::default();
    assert!(hub.fetch(&model, None, &notes).unwrap().exists());
    assert!(notes.0.lock().unwrap()[0].starts_with("the adapters of the model's tasks are missing: "));
}

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn start(&self, _file: &str, _total: Option<u64>, _resumed_from: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// "Converts" by writing down what it was given.
fn with_converter(hub: Hub) -> Hub {
    hub.converter(Arc::new(|conversion| {
        let weights = std::fs::read_to_string(conversion.folder.join("model.safetensors"))?;
        if weights.contains("strange") {
            return Err("unknown architecture \"strange\"".into());
        }
        Ok(std::fs::write(conversion.out, format!("GGUF {} of {} {weights}", conversion.quant, conversion.name))?)
    }))
}

#[test]
fn a_folder_is_converted_when_a_format_is_asked_for() {
    let (place, server) = (Place::new(), Server::hub(folder_repos()));
    let (hub, model) = (with_converter(place.hub(&server.url)), "hf:u/r".parse::<ModelRef>().unwrap());
    let path = hub.fetch(&model, Some(Quant::F16), &Silent).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "GGUF F16 of r weights");
    assert!(path.starts_with(place.dir.path().join("docent/models")));
    let before = server.connections();
    assert_eq!(hub.fetch(&model, Some(Quant::F16), &Silent).unwrap(), path);
    assert_eq!(hub.cached(&model, Some(Quant::F16)), Some(path));
    // The folder is here, so another format needs no network either.
    hub.clone().offline(true).fetch(&model, Some(Quant::Q8_0), &Silent).unwrap();
    assert_eq!(server.connections(), before);
    let error = hub.fetch(&model, Some(Quant::Q4_0), &Silent).unwrap_err();
    assert!(matches!(error, Error::NoSuchQuant { .. }), "{error:?}");
}

fn entry_repos(repo: &str, weights: &str) -> Repos {
    Repos::default().with(repo, "config.json", "{}").with(repo, "vocab.txt", "v").with(
        repo,
        "model.safetensors",
        weights,
    )
}

#[test]
fn a_model_of_the_catalogue_comes_as_gguf_or_is_converted() {
    let place = Place::new();
    let repos = entry_repos("thenlper/gte-small", "weights").with(
        "CompendiumLabs/bge-small-en-v1.5-gguf",
        "bge-small-en-v1.5-q8_0.gguf",
        "GGUF b",
    );
    let server = Server::hub(repos);
    let hub = with_converter(place.hub(&server.url));
    let fetch = |name: &str, quant| hub.fetch(&name.parse().unwrap(), quant, &Silent);
    assert_eq!(std::fs::read_to_string(fetch("BGE-small-en-v1.5", None).unwrap()).unwrap(), "GGUF b");
    let path = fetch("thenlper/gte-small", None).unwrap();
    assert_eq!(path, place.dir.path().join("docent/models/gte-small/gte-small-Q8_0.gguf"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "GGUF Q8_0 of gte-small weights");
    assert!(fetch("gte-small", Some(Quant::Original)).unwrap().is_dir());
    let before = server.connections();
    assert_eq!(fetch("gte-small", None).unwrap(), path);
    assert_eq!(server.connections(), before);
    let error = fetch("gte-small", Some(Quant::Q2_K)).unwrap_err();
    assert!(message(&error).contains("Q8_0, F16, BF16, F32, original"), "{error}");
    let error = fetch("bge-small-en-v1.5", Some(Quant::F32)).unwrap_err();
    assert!(
        message(&error).contains("hf:CompendiumLabs/bge-small-en-v1.5-gguf")
            && message(&error).contains("hf:BAAI/bge-small-en-v1.5"),
        "{error}"
    );
}

#[test]
fn a_model_that_cannot_be_converted_is_kept_as_it_is_unless_a_format_was_asked_for() {
    let (place, server) = (Place::new(), Server::hub(entry_repos("thenlper/gte-small", "strange weights")));
    let hub = with_converter(place.hub(&server.url));
    let model = "gte-small".parse::<ModelRef>().unwrap();
    assert!(hub.fetch(&model, None, &Silent).unwrap().is_dir());
    let error = hub.fetch(&model, Some(Quant::F16), &Silent).unwrap_err();
    assert!(matches!(error, Error::Convert { .. }), "{error:?}");
    assert!(message(&error).contains("strange"));
    let leftovers = std::fs::read_dir(place.dir.path().join("docent/models/gte-small")).unwrap();
    assert_eq!(leftovers.flatten().map(|e| e.file_name()).collect::<Vec<_>>(), [".lock"]);
}

#[test]
fn a_file_by_address() {
    let place = Place::new();
    let server = Server::start(|request| match request.path.as_str() {
        "/a/m.gguf?sig=1" => file_reply("m.gguf", &content(), request),
        "/page.gguf" => Reply { status: 200, body: b"<html>".to_vec(), ..Reply::default() },
        _ => Reply::status(404),
    });
    let hub = place.hub(&server.url);
    let fetch = |text: String| hub.fetch(&text.parse().unwrap(), None, &Silent);
    let good = format!("{}/a/m.gguf?sig=1", server.url);
    let path = fetch(good.clone()).unwrap();
    assert_content(&path);
    assert!(path.ends_with("m.gguf") && path.starts_with(place.dir.path().join("docent/urls")));
    let before = server.connections();
    assert_eq!(fetch(good.clone()).unwrap(), path);
    assert_eq!(hub.cached(&good.parse().unwrap(), None), Some(path));
    assert_eq!(server.connections(), before);

    fetch(format!("{good}#sha256={}", sha256(&content()))).unwrap();
    let error = fetch(format!("{good}#sha256={}", "0".repeat(64))).unwrap_err();
    assert!(matches!(error, Error::WrongHash { .. }), "{error:?}");
    let error = fetch(format!("{}/page.gguf", server.url)).unwrap_err();
    assert!(message(&error).contains("\"<htm\""), "{error}");
    assert!(fetch(format!("{}/page.gguf", server.url)).is_err(), "the page was not kept");
    assert!(matches!(fetch(format!("{}/none.gguf", server.url)), Err(Error::NotFound { .. })));
}

#[test]
fn an_address_whose_file_has_changed_is_not_continued() {
    let place = Place::new();
    let (version, requests) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(0)));
    let (server_version, server_requests) = (version.clone(), requests.clone());
    let server = Server::start(move |request| {
        let version = server_version.load(Ordering::SeqCst);
        let mut body = content();
        body[4] = u8::try_from(version).unwrap();
        let tag = format!("\"v{version}\"");
        let same = request.headers.get("if-range") == Some(&tag);
        let reply = match request.range().filter(|_| same) {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                Reply { status: 206, body: body[from..].to_vec(), ..Reply::default() }.header("content-range", range)
            }
            None => Reply { status: 200, body, ..Reply::default() },
        };
        let reply = reply.header("etag", tag);
        let broken = request.method == "GET" && server_requests.fetch_add(1, Ordering::SeqCst) < 2;
        if broken { reply.cut(1000) } else { reply }
    });
    let hub = place.hub(&server.url).retries(0, Duration::ZERO);
    let model: ModelRef = format!("{}/m.gguf", server.url).parse().unwrap();
    assert!(matches!(hub.fetch(&model, None, &Silent), Err(Error::ShortBody { found: 1000, .. })));
    assert!(
        matches!(hub.fetch(&model, None, &Silent), Err(Error::ShortBody { found: 2000, .. })),
        "the same version goes on"
    );
    version.store(2, Ordering::SeqCst);
    let path = hub.fetch(&model, None, &Silent).unwrap();
    assert_eq!(std::fs::read(path).unwrap()[4], 2);
    assert_eq!(server.gets().last().unwrap().range(), None);
}

#[test]
fn a_model_that_qmd_has_fetched_is_used_where_it_is() {
    let (place, server) = (Place::new(), Server::hub(Repos::default()));
    let models = tempfile::tempdir().unwrap();
    let put = |name: &str, from: &str| {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoders/").to_owned() + from;
        std::fs::copy(fixture, models.path().join(name)).unwrap();
    };
    put("hf_ggml-org_embeddinggemma-300M-Q8_0.gguf", "modern-bert/model.gguf");
    put("hf_someone_Other-GGUF_x.gguf", "modern-bert/model.gguf");
    put("hf_ggml-org_qwen3-reranker-0.6b-q8_0.gguf", "modern-bert/config.json"); // a download that went wrong
    let hub = place.hub(&server.url).qmd_models_folder(models.path());
    let cached = |name: &str| hub.cached(&name.parse().unwrap(), None);
    let gemma = models.path().join("hf_ggml-org_embeddinggemma-300M-Q8_0.gguf");
    assert_eq!(cached("embeddinggemma-300m"), Some(gemma.clone()));
    assert_eq!(hub.fetch(&"embeddinggemma-300m".parse().unwrap(), None, &Silent).unwrap(), gemma);
    assert_eq!(cached("hf:someone/Other-GGUF/x.gguf"), Some(models.path().join("hf_someone_Other-GGUF_x.gguf")));
    assert_eq!(cached("hf:someone/Other-GGUF@v2/x.gguf"), None, "which revision qmd has, nobody knows");
    assert_eq!(cached("Qwen3-Reranker-0.6B"), None, "no model");
    let names: Vec<Option<String>> = hub.qmd_models().into_iter().map(|model| model.name).collect();
    assert_eq!(names, [Some("embeddinggemma-300m".to_owned()), None]);
    assert_eq!(server.connections(), 0);
}
