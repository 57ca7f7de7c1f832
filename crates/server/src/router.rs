//! The routes of a server.

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware;
use utoipa_axum::router::OpenApiRouter;

use crate::failure::{Failure, FailureKind};
use crate::search::Searcher;
use crate::service::Service;
use crate::{dialects, mcp, native};

/// Everything that the server answers, by any of its dialects.
///
/// What others will mount beside the dialects is merged into `routes` here, and so comes into the documentation, and under the layer
/// that words failures.
pub fn router(service: Service) -> Router {
    finished(everywhere(false), service)
}

/// The same with the routes that find and read the documents of an index, [`/mcp`](crate::mcp), `/query` and `/search`: only for clients that may
/// read all of them.
pub fn router_with_search(service: Service, searcher: Searcher) -> Router {
    let routes = everywhere(true).merge(dialects::search_routes(searcher.clone())).merge(mcp::routes(searcher));
    finished(routes, service)
}

fn everywhere(with_search: bool) -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(dialects::document(with_search)).merge(dialects::routes()).merge(native::routes())
}

fn finished(routes: OpenApiRouter<Service>, service: Service) -> Router {
    let (routes, document) = routes.split_for_parts();
    routes
        .merge(dialects::documentation(&document))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(service.clone(), dialects::speak))
        .with_state(service)
}

async fn unknown_route(method: Method, uri: Uri) -> Failure {
    let message = format!("there is no {method} {}; /docs lists what there is", uri.path());
    Failure::new(FailureKind::UnknownRoute, message)
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let message = format!("{} does not take {method}; /docs lists what it takes", uri.path());
    Failure::new(FailureKind::Method, message)
}
