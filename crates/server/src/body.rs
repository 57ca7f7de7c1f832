//! The bodies of requests, read within the server's limits.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use crate::failure::{Failure, FailureKind};
use crate::service::Service;

/// A JSON body of this shape, whatever content type it claims: curl claims a form's.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Service> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Failure> {
        let bytes = read(request.into_body(), service).await?;
        parse(&bytes).map(Json)
    }
}

async fn read(body: Body, service: &Service) -> Result<Vec<u8>, Failure> {
    let most = service.limits().body_bytes;
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(_) => {
            let message = format!("the body is larger than the {most} bytes of a request; divide the request");
            Err(Failure::new(FailureKind::TooLarge, message))
        }
    }
}

/// # Errors
/// If the bytes are no JSON, or not of this shape; the message says where.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "the request is not of the expected shape" } else { "the body is not JSON" };
        Failure::new(FailureKind::Malformed, format!("{what}: {error}"))
    })
}
