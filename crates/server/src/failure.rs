//! Why a request is not answered, before a dialect gives it its words.

use axum::http::StatusCode;

/// A request, or an item of one, that cannot be answered.
///
/// Handlers return it; the dialect of the route gives it the status, the body and the names that its clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What is wrong, which decides the status.
    pub kind: FailureKind,
    /// One line for the caller: what is wrong, what was expected, what to do.
    pub message: String,
    /// The field of the request that is to blame, if it is one.
    pub field: Option<String>,
    /// Whether the metrics have it already.
    pub(crate) counted: bool,
}

/// What is wrong with a request, or with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The body is no JSON, or not of the shape that the route takes.
    Malformed,
    /// A value that cannot be used.
    Invalid,
    /// A list without anything in it.
    Empty,
    /// A text is longer than the model takes and must not be cut, or cannot be tokenized.
    Tokenizer,
    /// More items than the server takes in a request.
    TooManyItems,
    /// More tokens than the server takes in a request.
    TooManyTokens,
    /// More bytes than the server takes in a request.
    TooLarge,
    /// The model does something else: an embedder was asked to rerank, or the other way round.
    WrongModel,
    /// No model of this name is served.
    UnknownModel,
    /// No document, collection or index of this name.
    NotFound,
    /// No such route.
    UnknownRoute,
    /// The route takes another method.
    Method,
    /// No key, or none that is known.
    Unauthorized,
    /// The request comes from a page or by a name that is not allowed.
    Forbidden,
    /// The client took too long to send its request.
    Slow,
    /// The server has as much to do as it takes on.
    Overloaded {
        /// Seconds after which it is worth trying again.
        retry_after: u32,
    },
    /// The model cannot be loaded, or its weights are damaged.
    Backend,
    /// The models are not loaded yet, or the server is on its way down.
    Unready,
}

impl Failure {
    /// A failure without a field to blame.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), field: None, counted: false }
    }

    /// A value of the field that cannot be used.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Failure { kind: FailureKind::Invalid, message: message.into(), field: Some(field.to_owned()), counted: false }
    }

    /// The same with the field to blame.
    #[must_use]
    pub fn about(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }
}

impl FailureKind {
    /// The status that most dialects have for it.
    pub fn status(self) -> StatusCode {
        match self {
            FailureKind::Malformed
            | FailureKind::Invalid
            | FailureKind::Empty
            | FailureKind::Tokenizer
            | FailureKind::TooManyItems
            | FailureKind::TooManyTokens
            | FailureKind::WrongModel => StatusCode::BAD_REQUEST,
            FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FailureKind::UnknownModel | FailureKind::NotFound | FailureKind::UnknownRoute => StatusCode::NOT_FOUND,
            FailureKind::Method => StatusCode::METHOD_NOT_ALLOWED,
            FailureKind::Unauthorized => StatusCode::UNAUTHORIZED,
            FailureKind::Forbidden => StatusCode::FORBIDDEN,
            FailureKind::Slow => StatusCode::REQUEST_TIMEOUT,
            FailureKind::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            FailureKind::Backend => StatusCode::INTERNAL_SERVER_ERROR,
            FailureKind::Unready => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The name that it has in `te_request_failure`, as text-embeddings-inference names it.
    pub fn label(self) -> &'static str {
        match self {
            FailureKind::Tokenizer => "tokenization",
            FailureKind::TooManyItems | FailureKind::TooManyTokens => "batch_size",
            FailureKind::Overloaded { .. } => "overloaded",
            FailureKind::Backend | FailureKind::Unready => "inference",
            FailureKind::WrongModel => "model_type",
            FailureKind::Empty => "missing_values",
            _ => "validation",
        }
    }
}

impl From<docent::Error> for Failure {
    fn from(error: docent::Error) -> Self {
        use docent::Error;
        let (kind, field) = match &error {
            Error::Dim { .. } => (FailureKind::Invalid, Some("dimensions")),
            Error::PromptName { .. } => (FailureKind::Invalid, Some("prompt_name")),
            Error::TooLong { .. } | Error::Tokenize { .. } => (FailureKind::Tokenizer, Some("input")),
            Error::TokenId { .. } | Error::NoTokens { .. } => (FailureKind::Invalid, Some("input")),
            Error::QueryTooLong { .. } | Error::TokenizeQuery { .. } => (FailureKind::Tokenizer, Some("query")),
            Error::NoInstruction { .. } => (FailureKind::Invalid, Some("instruction")),
            Error::MaxLength { .. } => (FailureKind::Invalid, Some("max_length")),
            Error::NotAnEmbedder { .. } | Error::NotAReranker { .. } => (FailureKind::WrongModel, Some("model")),
            _ => (FailureKind::Backend, None),
        };
        Failure { kind, message: error.to_string(), field: field.map(str::to_owned), counted: false }
    }
}

impl From<docent_search::Error> for Failure {
    fn from(error: docent_search::Error) -> Self {
        use docent_search::Error;
        let error = match error {
            Error::Model(error) => return error.into(),
            error => error,
        };
        let (kind, field) = match &error {
            Error::Query { .. } => (FailureKind::Invalid, Some("query")),
            Error::Pattern { .. } => (FailureKind::Invalid, Some("pattern")),
            Error::Ambiguous { .. } => (FailureKind::Invalid, Some("file")),
            Error::DifferentModels { .. } | Error::NoVectors { .. } => (FailureKind::Invalid, Some("model")),
            Error::UnknownCollection { .. } => (FailureKind::NotFound, Some("collections")),
            Error::NotFound { .. } => (FailureKind::NotFound, Some("file")),
            Error::Busy { .. } | Error::Locked { .. } => (FailureKind::Overloaded { retry_after: 1 }, None),
            _ => (FailureKind::Backend, None),
        };
        Failure { kind, message: error.to_string(), field: field.map(str::to_owned), counted: false }
    }
}

/// The status alone; the failure itself travels with the response to the dialect, which writes the body.
impl axum::response::IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
