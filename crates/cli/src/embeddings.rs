//! Where embeddings come from: a model that this process has opened, or a server.

use docent::{EmbedOptions, Embedder, Embedding, Error, Pooling};
use docent_server::native::wire::{EmbedAnswer, EmbedRequest};

use crate::console::{Console, usage};
use crate::input::{Input, Text, Window};
use crate::model::ModelArgs;
use crate::server::{Server, ServerArgs};

/// Texts of a request to a server: enough to keep it busy, few enough for its limits.
const REQUEST_TEXTS: usize = 256;

/// Numbers in the vectors of an answer from a server, unless one text alone has more.
const ANSWER_VALUES: usize = 4 << 20;

/// Tokens of a request to a server, unless one text alone has more; well below what servers take.
const REQUEST_TOKENS: usize = 200_000;

/// Bytes of a request to a server, unless one text alone has more.
const REQUEST_BYTES: usize = 2 << 20;

/// A source of embeddings for certain options, and what its users have to know of it.
pub(crate) struct Embeddings {
    engine: Engine,
    options: EmbedOptions,
    /// The model's name.
    pub(crate) model: String,
    /// Tokens that a text is cut to.
    pub(crate) max_length: usize,
    /// The pooling in force.
    pub(crate) pooling: Pooling,
    /// Components of a vector.
    pub(crate) dim: usize,
    /// Whether the model has the prompt that was asked for.
    pub(crate) has_prompt: bool,
}

enum Engine {
    Model(Box<Embedder>),
    Server { server: Server, model: Option<String> },
}

impl Embeddings {
    /// Opens the model, or asks the server for it, and checks the options against it.
    pub(crate) fn open(
        model: &ModelArgs,
        server: &ServerArgs,
        options: EmbedOptions,
        console: &Console,
    ) -> anyhow::Result<Self> {
        match &server.server {
            Some(url) => Self::of_server(Server::at(url), model.given().map(str::to_owned), options),
            None => Self::of_model(model.open(console)?, options),
        }
    }

    fn of_model(embedder: Embedder, options: EmbedOptions) -> anyhow::Result<Self> {
        // Options that the model cannot follow are no fault of the first text.
        embedder.prepare::<&str>(&[], &options).map_err(option_error)?;
        let settings = embedder.settings();
        let pooling = options.pooling.unwrap_or(settings.pooling);
        Ok(Embeddings {
            model: settings.description.name.clone(),
            max_length: options.max_length.unwrap_or(settings.max_length),
            pooling,
            dim: options.dim.unwrap_or_else(|| settings.dim(pooling)),
            has_prompt: settings.prompt(&options.prompt).is_some(),
            engine: Engine::Model(Box::new(embedder)),
            options,
        })
    }

    fn of_server(server: Server, model: Option<String>, options: EmbedOptions) -> anyhow::Result<Self> {
        let EmbedAnswer { model: answer, .. } = server.embed(&request(&model, Vec::new(), 0, &options))?;
        let named = |name: &String| Pooling::ALL.into_iter().find(|pooling| pooling.name() == name);
        let pooling = answer.pooling.as_ref().and_then(named);
        Ok(Embeddings {
            model: answer.name,
            max_length: options.max_length.unwrap_or(answer.max_length),
            pooling: pooling.ok_or_else(|| anyhow::anyhow!("the server's answer names no pooling"))?,
            dim: options.dim.unwrap_or(answer.whole_dim),
            has_prompt: answer.has_prompt,
            engine: Engine::Server { server, model },
            options,
        })
    }

    /// The embeddings of a window of texts, before which there were `before` others.
    pub(crate) fn embed(&self, window: &Window, before: usize, input: &Input) -> anyhow::Result<Vec<Embedding>> {
        match &self.engine {
            Engine::Model(embedder) => embedder
                .embed_with(&window.texts, &self.options)
                .map_err(|error| with_place(error, window, before, input)),
            Engine::Server { server, model } => self.ask(server, model, window, before, input),
        }
    }

    fn ask(
        &self,
        server: &Server,
        model: &Option<String>,
        window: &Window,
        before: usize,
        input: &Input,
    ) -> anyhow::Result<Vec<Embedding>> {
        let mut embeddings = Vec::with_capacity(window.texts.len());
        let mut rest = &window.texts[..];
        while !rest.is_empty() {
            let (texts, after) = rest.split_at(self.request_length(rest));
            rest = after;
            let strings = texts.iter().map(|text| text.text.clone()).collect();
            let answer = server.embed(&request(model, strings, before + embeddings.len(), &self.options))?;
            anyhow::ensure!(answer.texts.len() == texts.len(), "the server answers for another number of texts");
            for (text, answer) in texts.iter().zip(answer.texts) {
                match answer.embedding()? {
                    Ok(embedding) => embeddings.push(embedding),
                    Err(message) => return Err(input.at(text, anyhow::anyhow!(message))),
                }
            }
        }
        Ok(embeddings)
    }

    /// How many of the texts go into the next request.
    fn request_length(&self, texts: &[Text]) -> usize {
        let rows = if self.pooling == Pooling::None { self.max_length } else { 1 };
        let by_values = ANSWER_VALUES / rows.saturating_mul(self.dim).max(1);
        request_length(texts, self.max_length).min(REQUEST_TEXTS).min(by_values.max(1))
    }
}

/// How many of the texts go into a request by their bytes, and by the tokens that these can be at most. At least one.
pub(crate) fn request_length(texts: &[Text], max_length: usize) -> usize {
    let (mut bytes, mut tokens) = (0, 0);
    let fits = |text: &&Text| {
        bytes += text.text.len();
        // No token is less than a byte; special tokens are a few.
        tokens += text.text.len().saturating_add(16).min(max_length);
        bytes <= REQUEST_BYTES && tokens <= REQUEST_TOKENS
    };
    texts.iter().take_while(fits).count().max(1)
}

fn request(model: &Option<String>, texts: Vec<String>, first: usize, options: &EmbedOptions) -> EmbedRequest {
    EmbedRequest { model: model.clone(), texts, first, options: options.into() }
}

/// What is wrong with the options, as the fault of the command line that it is.
fn option_error(error: Error) -> anyhow::Error {
    match error {
        Error::Dim { .. } | Error::MaxLength { .. } | Error::PromptName { .. } => usage(error.to_string()),
        error => error.into(),
    }
}

/// An error about a text of a window, with the text's place in the whole input.
fn with_place(error: Error, window: &Window, before: usize, input: &Input) -> anyhow::Error {
    match error.index() {
        Some(index) => {
            let error = error.at(before + index).into();
            match window.texts.get(index) {
                Some(text) => input.at(text, error),
                None => error,
            }
        }
        None => error.into(),
    }
}
