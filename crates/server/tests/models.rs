//! Several models: names, memory, loading.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use docent::EmbedOptions;
use docent_server::{EmbedCall, FailureKind, ModelInfo, NamedModel, Service, Task};
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
        let tasks: Vec<_> = service.models().list().iter().map(|model| model.task).collect();
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
