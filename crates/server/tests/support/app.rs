//! A server without a network: requests go to the router.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::fixture;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use docent::ModelRef;
use docent_search::Context;
use docent_server::{Config, ModelsConfig, NamedModel, SearchModels, Searcher, Service, router, router_with_search};
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, text()))
    }
}

/// The configuration of a server with the small embedder and the small reranker of the fixtures.
pub fn config() -> Config {
    let named = |folder: &str| {
        let name = folder.rsplit('/').next().unwrap().to_owned();
        NamedModel { name, model: ModelRef::Path(fixture(folder)) }
    };
    let models = vec![named("bert-tiny"), named("encoders/modern-bert-rerank")];
    Config { models: ModelsConfig { models, ..ModelsConfig::default() }, ..Config::default() }
}

/// The models of [`config`], loaded once for all tests of a file.
pub fn service() -> &'static Service {
    static SERVICE: LazyLock<Service> = LazyLock::new(|| {
        let service = Service::new(&config());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let loading = service.clone();
        std::thread::spawn(move || runtime.block_on(loading.load()).unwrap()).join().unwrap();
        service
    });
    &SERVICE
}

pub fn app() -> Router {
    router(service().clone())
}

/// The same with the routes over an index of two notes.
pub fn search_app() -> Router {
    static SEARCHER: LazyLock<Searcher> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test.file_name().unwrap());
        let _ = std::fs::remove_dir_all(&folder);
        let index = super::index(&folder);
        let context =
            Context { collection: Some("notes".to_owned()), prefix: String::new(), text: "of the sea".to_owned() };
        index.set_context(&context).unwrap();
        Searcher::new(index, service().clone(), SearchModels::default())
    });
    router_with_search(service().clone(), SEARCHER.clone())
}

pub async fn send(app: Router, request: Request<Body>) -> Answer {
    let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().into();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub async fn post(path: &str, body: impl Into<Body>) -> Answer {
    send(app(), Request::post(path).body(body.into()).unwrap()).await
}

pub async fn get(path: &str) -> Answer {
    send(app(), Request::get(path).body(Body::empty()).unwrap()).await
}
