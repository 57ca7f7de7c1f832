//! Many calls at a time, on one thread that runs the models.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::time::Duration;

use docent::{EmbedOptions, Embedder, Pooling, RerankOptions, Reranker};
use docent_server::{EmbedCall, FailureKind, Input, Limits, RerankCall, Service};
use support::{block_on, config, fixture, service, texts};

fn embed_call(inputs: Vec<Input>) -> EmbedCall {
    EmbedCall { model: None, inputs, options: EmbedOptions::default() }
}

fn rerank_call(query: &str, documents: &[String]) -> RerankCall {
    let (query, documents) = (query.to_owned(), documents.to_vec());
    RerankCall { model: None, query, documents, options: RerankOptions::default() }
}

/// Texts of 1 to `words` words.
fn some_texts(count: usize, words: usize) -> Vec<String> {
    (0..count).map(|i| format!("text {i} {}", "and so on ".repeat(i * 7 % words))).collect()
}

async fn failure(service: &Service, call: EmbedCall) -> FailureKind {
    service.embed(call).await.err().unwrap().kind
}

#[test]
fn calls_that_share_steps_get_the_bits_they_would_get_alone() {
    block_on(async {
        let mut config = config();
        config.limits.step_tokens = 96;
        let service = service(&config).await;
        let embedder = Embedder::open(fixture("bert-tiny").to_str().unwrap()).unwrap();
        let reranker = Reranker::open(fixture("encoders/modern-bert-rerank").to_str().unwrap()).unwrap();
        let calls: Vec<_> = (1..40)
            .map(|count| {
                let service = service.clone();
                tokio::spawn(async move {
                    let words = some_texts(count, 30);
                    let embedded = service.embed(embed_call(texts(&words))).await.unwrap();
                    let ranked = service.rerank(rerank_call("and", &words)).await.unwrap();
                    (words, embedded, ranked)
                })
            })
            .collect();
        for call in calls {
            let (words, embedded, ranked) = call.await.unwrap();
            assert_eq!(embedded.all().unwrap(), embedder.embed(&words).unwrap());
            assert_eq!(ranked.ranking().unwrap(), reranker.rerank("and", &words).unwrap());
        }
    });
}

#[test]
fn texts_and_ids_keep_their_places_and_one_bad_item_harms_no_other() {
    block_on(async {
        let service = service(&config()).await;
        let mixed = vec![
            Input::Ids(vec![9_999_999]),
            Input::Text("one".to_owned()),
            Input::Ids(vec![]),
            Input::Ids(vec![1, 2, 3]),
            Input::Text("two".to_owned()),
            Input::Ids(vec![u32::MAX]),
        ];
        let items = service.embed(embed_call(mixed)).await.unwrap().items;
        let failed: Vec<_> = items.iter().map(|item| item.as_ref().err().map(|failure| failure.kind)).collect();
        let bad = Some(FailureKind::Invalid);
        assert_eq!(failed, [bad, None, bad, None, None, bad]);
        let messages: Vec<_> = items.iter().filter_map(|item| Some(item.as_ref().err()?.message.clone())).collect();
        assert!(messages[0].contains("text 0 has the token id 9999999"), "{messages:?}");
        assert!(messages[1].contains("text 2 has no tokens"), "{messages:?}");
        let alone = service.embed(embed_call(texts(&["two"]))).await.unwrap().all().unwrap();
        assert_eq!(items[4].as_ref().unwrap(), &alone[0]);
    });
}

#[test]
fn a_short_request_is_answered_before_a_flood_that_came_first() {
    block_on(async {
        let mut config = config();
        config.limits.step_tokens = 128;
        let service = service(&config).await;
        let long: Vec<String> = some_texts(400, 60);
        let flood: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn({
                    let (service, call) = (service.clone(), embed_call(texts(&long)));
                    async move { service.embed(call).await.unwrap() }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let short = service.embed(embed_call(texts(&["short"]))).await.unwrap();
        assert!(flood.iter().all(|call| !call.is_finished()), "the flood was over before the short text");
        assert_eq!(short.items.len(), 1);
        for call in flood {
            assert_eq!(call.await.unwrap().items.len(), 400);
        }
    });
}

#[test]
fn what_is_too_much_is_refused_by_its_kind() {
    block_on(async {
        let mut config = config();
        let limits =
            Limits { items: 8, request_tokens: 200, queue_tokens: 300, answer_values: 10_000, ..Limits::default() };
        config.limits = limits;
        let service = service(&config).await;
        assert_eq!(failure(&service, embed_call(vec![])).await, FailureKind::Empty);
        assert_eq!(failure(&service, embed_call(texts(&["a"; 9]))).await, FailureKind::TooManyItems);
        let long = "word ".repeat(300);
        assert_eq!(failure(&service, embed_call(texts(&[&long[..]; 8]))).await, FailureKind::TooManyTokens);
        let options = EmbedOptions { pooling: Some(Pooling::None), ..EmbedOptions::default() };
        let wide = EmbedCall { options, ..embed_call(texts(&[&long[..]; 2])) };
        assert_eq!(failure(&service, wide).await, FailureKind::TooManyTokens);
        let options = EmbedOptions { dim: Some(1_000_000), ..EmbedOptions::default() };
        assert_eq!(failure(&service, EmbedCall { options, ..embed_call(texts(&["a"])) }).await, FailureKind::Invalid);
        let unknown = EmbedCall { model: Some("nobody".to_owned()), ..embed_call(texts(&["a"])) };
        assert_eq!(failure(&service, unknown).await, FailureKind::UnknownModel);
        let wrong = EmbedCall { model: Some("judge".to_owned()), ..embed_call(texts(&["a"])) };
        assert_eq!(failure(&service, wrong).await, FailureKind::WrongModel);
    });
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_back() {
    block_on(async {
        let mut config = config();
        config.limits.queue_tokens = 2000;
        let service = service(&config).await;
        let text = "word ".repeat(100);
        let calls: Vec<_> = (0..64)
            .map(|_| {
                tokio::spawn({
                    let (service, call) = (service.clone(), embed_call(texts(&[&text[..]; 16])));
                    async move { service.embed(call).await.map(|embedded| embedded.items.len()) }
                })
            })
            .collect();
        let (mut answered, mut refused) = (0, 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(items) => {
                    assert_eq!(items, 16);
                    answered += 1;
                }
                Err(failure) => {
                    assert!(matches!(failure.kind, FailureKind::Overloaded { retry_after } if retry_after > 0));
                    refused += 1;
                }
            }
        }
        assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
        assert!(service.metrics().text().contains(&format!("te_request_failure{{err=\"overloaded\"}} {refused}")));
        // Afterwards there is room again.
        assert!(service.embed(embed_call(texts(&["again"]))).await.is_ok());
    });
}

#[test]
fn the_work_of_a_caller_who_goes_away_is_dropped() {
    block_on(async {
        let mut config = config();
        config.limits.step_tokens = 64;
        let service = service(&config).await;
        let flood = tokio::spawn({
            let (service, call) = (service.clone(), embed_call(texts(&some_texts(2000, 50))));
            async move { service.embed(call).await.map(|embedded| embedded.items.len()) }
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        flood.abort();
        assert!(flood.await.unwrap_err().is_cancelled());
        service.embed(embed_call(texts(&["after"]))).await.unwrap();
        let metrics = service.metrics().text();
        assert!(metrics.contains("te_request_failure{err=\"dropped\"} 1"), "{metrics}");
        assert!(metrics.contains("te_queue_size 0"), "{metrics}");
        let items: f64 =
            metrics.lines().find_map(|line| line.strip_prefix("te_batch_next_size_sum ")).unwrap().parse().unwrap();
        assert!(items < 2000.0, "{items} items ran");
    });
}

#[test]
fn options_of_every_call_are_its_own() {
    block_on(async {
        let service = service(&config()).await;
        let embedder = Embedder::open(fixture("bert-tiny").to_str().unwrap()).unwrap();
        let options = [
            EmbedOptions { pooling: Some(Pooling::None), ..EmbedOptions::default() },
            EmbedOptions { dim: Some(8), ..EmbedOptions::default() },
            EmbedOptions { normalize: false, ..EmbedOptions::default() },
        ];
        let calls = options.map(|options| {
            let service = service.clone();
            let call = EmbedCall { options: options.clone(), ..embed_call(texts(&["a brown fox"])) };
            (options, tokio::spawn(async move { service.embed(call).await.unwrap().all().unwrap() }))
        });
        for (options, call) in calls {
            assert_eq!(call.await.unwrap(), embedder.embed_with(&["a brown fox"], &options).unwrap());
        }
    });
}
