//! Several models: names, memory, loading.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::Request;
use docent::convert::{OutputType, convert};
use docent::gguf::{DataSink, Gguf, OwnedValue, TensorInfo, WriteError, Writer};
use docent::{EmbedOptions, ModelRef};
use docent_server::{EmbedCall, FailureKind, ModelInfo, NamedModel, Service, Task};
use support::app::send;
use support::{block_on, config, fixture, service, texts};

async fn embed(service: &Service, model: Option<&str>) -> Result<String, FailureKind> {
    let model = model.map(str::to_owned);
    let call = EmbedCall { model, inputs: texts(&["a text"]), options: EmbedOptions::default() };
    service.embed(call).await.map(|embedded| embedded.model.name.clone()).map_err(|failure| failure.kind)
}

fn loaded(models: &[ModelInfo]) -> Vec<&str> {
    models.iter().filter(|model| model.loaded).map(|model| model.name.as_str()).collect()
}

#[test]
fn the_first_of_a_kind_answers_where_no_name_is_given() {
    block_on(async {
        let service = service(&config()).await;
        assert_eq!(embed(&service, None).await.unwrap(), "tiny");
        assert_eq!(embed(&service, Some("TINY:latest")).await.unwrap(), "tiny");
        assert_eq!(embed(&service, Some("other")).await, Err(FailureKind::UnknownModel));
        let tasks: Vec<_> =
            service.models().list().iter().map(|model| model.facts.as_ref().map(|facts| facts.task)).collect();
        assert_eq!(tasks, [Some(Task::Embed), Some(Task::Rerank)]);
    });
}

#[test]
fn a_path_is_never_a_name() {
    block_on(async {
        let mut config = config();
        config.models.on_demand = true;
        let service = service(&config).await;
        for name in
            [fixture("bert-tiny").to_str().unwrap(), "../bert-tiny", "hf:a/b", "https://localhost/model.gguf", ""]
        {
            assert_eq!(embed(&service, Some(name)).await, Err(FailureKind::UnknownModel), "{name}");
        }
    });
}

#[test]
fn what_was_not_used_for_the_longest_time_makes_room() {
    block_on(async {
        let mut config = config();
        let again = NamedModel { name: "again".to_owned(), ..config.models.models[0].clone() };
        config.models.models = vec![config.models.models[0].clone(), again];
        let one = std::fs::read_dir(fixture("bert-tiny")).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        config.models.memory = Some(one.sum::<u64>() * 3 / 2);
        let service = service(&config).await;
        assert!(service.models().is_ready());
        assert_eq!(loaded(&service.models().list()), ["again"]);
        assert_eq!(embed(&service, Some("tiny")).await.unwrap(), "tiny");
        assert_eq!(loaded(&service.models().list()), ["tiny"]);
        assert_eq!(embed(&service, Some("tiny")).await.unwrap(), "tiny");
    });
}

#[test]
fn a_model_that_cannot_be_loaded_is_named() {
    block_on(async {
        let mut config = config();
        config.models.models[1].model = docent::ModelRef::Path(fixture("no-such-model"));
        let service = Service::new(&config);
        let failure = service.load().await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Backend);
        assert!(failure.message.contains("`judge`"), "{failure}");
        assert!(!service.models().is_ready());
        // The others are served all the same.
        assert_eq!(embed(&service, None).await.unwrap(), "tiny");
    });
}

/// Three embedders of which memory holds two, `second` and `third`, after they are loaded in the order of their names.
async fn two_of_three() -> Service {
    let mut config = config();
    let model = ModelRef::Path(fixture("bert-tiny"));
    config.models.models =
        ["first", "second", "third"].map(|name| NamedModel { name: name.to_owned(), model: model.clone() }).into();
    let one = docent::inspect(fixture("bert-tiny")).unwrap().file_bytes;
    config.models.memory = Some(one * 5 / 2);
    let service = service(&config).await;
    assert_eq!(loaded(&service.models().list()), ["second", "third"]);
    service
}

#[test]
fn to_describe_a_model_neither_loads_nor_uses_it() {
    block_on(async {
        let service = two_of_three().await;
        let app = docent_server::router(service.clone());
        let show = Request::post("/api/show").body(Body::from(r#"{"model": "first"}"#)).unwrap();
        let shown = send(app.clone(), show).await.json();
        assert_eq!(shown["model_info"]["bert.embedding_length"], 96);
        // Without a name these two are about the first.
        for path in ["/info", "/props", "/api/tags", "/api/ps", "/v1/models", "/v1/models/first"] {
            let answer = send(app.clone(), Request::get(path).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 200, "{path}");
        }
        assert_eq!(loaded(&service.models().list()), ["second", "third"]);
        // The second was not used for longer, described or not.
        let show = Request::post("/api/show").body(Body::from(r#"{"model": "second"}"#)).unwrap();
        assert_eq!(send(app, show).await.status, 200);
        assert_eq!(embed(&service, Some("first")).await.unwrap(), "first");
        assert_eq!(loaded(&service.models().list()), ["first", "third"]);
    });
}

#[test]
fn a_model_is_listed_by_every_name_that_it_answers_to() {
    block_on(async {
        let mut config = config();
        config.models.models[0].name = "user/repo/tiny.gguf".to_owned();
        let app = docent_server::router(service(&config).await);
        let named = async |name: &str| {
            let request = Request::get(format!("/v1/models/{name}")).body(Body::empty()).unwrap();
            let answer = send(app.clone(), request).await;
            (answer.status.as_u16(), answer.json()["id"].as_str().map(str::to_owned))
        };
        let judge = (200, Some("judge".to_owned()));
        assert_eq!(named("judge").await, judge);
        assert_eq!(named("Judge:latest").await, judge);
        let tiny = (200, Some("user/repo/tiny.gguf".to_owned()));
        for name in ["user/repo/tiny.gguf", "user%2Frepo%2Ftiny.gguf", "USER/repo/tiny.gguf:latest"] {
            assert_eq!(named(name).await, tiny, "{name}");
        }
        assert_eq!(named("user/repo").await.0, 404);
    });
}

/// The fixture as a GGUF file in two parts; gives the first.
fn split_model(folder: &Path) -> PathBuf {
    let whole = folder.join("whole.gguf");
    convert(&fixture("bert-tiny"), &whole, OutputType::F32, &mut |_| ()).unwrap();
    let whole = Gguf::open(whole).unwrap();
    let names: Vec<String> = whole.tensors().map(|tensor| tensor.name().to_owned()).collect();
    let part = |number: u16, names: &[String]| {
        let mut writer = Writer::new();
        if number == 1 {
            for (key, value) in whole.metadata().iter() {
                writer.metadata(key, value).unwrap();
            }
            writer.metadata("split.tensors.count", OwnedValue::I32(whole.tensors().len() as i32)).unwrap();
        }
        writer.metadata("split.no", OwnedValue::U16(number - 1)).unwrap();
        writer.metadata("split.count", OwnedValue::U16(2)).unwrap();
        for name in names {
            let tensor = whole.tensor(name).unwrap();
            writer.tensor(name.as_str(), tensor.dims(), tensor.tensor_type()).unwrap();
        }
        let path = folder.join(format!("tiny-{number:05}-of-00002.gguf"));
        let data = |info: &TensorInfo, sink: &mut DataSink<'_>| -> Result<(), WriteError> {
            sink.write(whole.tensor(info.name()).unwrap().bytes())
        };
        writer.save(&path, data).unwrap();
        path
    };
    // Most of it in the second.
    let first = part(1, &names[..1]);
    part(2, &names[1..]);
    first
}

#[test]
fn a_split_model_takes_the_memory_of_all_its_parts() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let first = split_model(folder.path());
        let bytes = |path: &Path| std::fs::metadata(path).unwrap().len();
        let both = bytes(&first) + bytes(&folder.path().join("tiny-00002-of-00002.gguf"));
        let mut config = config();
        let named = |name: &str| NamedModel { name: name.to_owned(), model: ModelRef::Path(first.clone()) };
        config.models.models = vec![named("one"), named("two")];
        // Enough for two first parts and the weights of one.
        config.models.memory = Some(both * 3 / 2);
        let service = service(&config).await;
        assert_eq!(loaded(&service.models().list()), ["two"]);
        let facts = service.models().list()[1].facts.clone().unwrap();
        assert!(facts.bytes >= both, "{} of {both} bytes", facts.bytes);
    });
}
