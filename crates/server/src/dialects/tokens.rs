//! Texts to tokens and back, for the routes that show them.

use docent::Prompt;
use docent::tokenizer::{Tokenizer, TruncationSide};

use super::prompts::prompt;
use crate::blocking::off_the_reactor;
use crate::failure::{Failure, FailureKind};
use crate::models::Loaded;
use crate::service::Service;

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) id: u32,
    /// Whether the tokenizer put it there, and it stands for nothing in the text.
    pub(super) added: bool,
    /// Whether it is a special token.
    pub(super) special: bool,
    /// The piece of the text that it stands for; of a special one its name.
    pub(super) text: String,
    /// Start and end, in characters of the text.
    pub(super) characters: (usize, usize),
    /// Start and end, in bytes of the text.
    pub(super) bytes: (usize, usize),
}

/// What texts are made of. `prompt_name` names a prompt that is put in front of each.
///
/// # Errors
/// If the model cannot be had, has no such prompt, or there are more texts or tokens than a request may have.
pub(super) async fn tokenize(
    service: &Service,
    model: Option<&str>,
    mut texts: Vec<String>,
    prompt_name: Option<&str>,
) -> Result<Vec<Vec<Token>>, Failure> {
    service.limits().check_items(texts.len(), "inputs")?;
    let loaded = service.models().any(model).await?;
    if let Some(name) = prompt_name {
        let prompt = prompt(service, model, "prompt_name", name).await?;
        put_in_front(&loaded, &prompt, &mut texts);
    }
    let most = service.limits().request_tokens;
    off_the_reactor(move || {
        let tokenizer = loaded.tokenizer();
        let mut left = most;
        let tokens = |text: &String| {
            let tokens = of_text(tokenizer, text, left, most)?;
            left -= tokens.len();
            Ok::<_, Failure>(tokens)
        };
        texts.iter().map(tokens).collect()
    })
    .await
}

/// The texts of lists of token ids.
///
/// # Errors
/// If the model cannot be had, has no such token, or there are more lists or tokens than a request may have.
pub(super) async fn decode(
    service: &Service,
    model: Option<&str>,
    lists: Vec<Vec<u32>>,
    skip_special_tokens: bool,
) -> Result<Vec<String>, Failure> {
    service.limits().check_items(lists.len(), "ids")?;
    service.limits().check_tokens(lists.iter().map(Vec::len).sum())?;
    let loaded = service.models().any(model).await?;
    off_the_reactor(move || {
        let tokenizer = loaded.tokenizer();
        let decode = |ids: &Vec<u32>| {
            let text =
                if skip_special_tokens { tokenizer.decode(ids) } else { tokenizer.decode_with_special_tokens(ids) };
            text.map_err(|error| Failure::invalid("ids", error.to_string()))
        };
        lists.iter().map(decode).collect()
    })
    .await
}

fn put_in_front(loaded: &Loaded, prompt: &Prompt, texts: &mut [String]) {
    let Loaded::Embedder(served) = loaded else { return };
    if let Some(prompt) = served.model.settings().prompt(prompt) {
        for text in texts {
            text.insert_str(0, prompt);
        }
    }
}

/// The tokens of a text, if they are no more than `left` of the `most` of a request.
fn of_text(tokenizer: &Tokenizer, text: &str, left: usize, most: usize) -> Result<Vec<Token>, Failure> {
    let too_many = || {
        let message = format!("the request has more than the {most} tokens of a request; divide it");
        Failure::new(FailureKind::TooManyTokens, message)
    };
    if left < tokenizer.special_token_count() {
        return Err(too_many());
    }
    let encoding = tokenizer
        .encode_truncated(text, left, TruncationSide::Right)
        .map_err(|error| Failure::new(FailureKind::Tokenizer, format!("the text cannot be tokenized: {error}")))?;
    if encoding.dropped > 0 {
        return Err(too_many());
    }
    let (mut starts, mut ends) = (Characters::new(text), Characters::new(text));
    let tokens = encoding.ids.into_iter().zip(encoding.offsets).map(|(id, bytes)| {
        let special = tokenizer.is_special(id);
        let added = special && bytes == (0, 0);
        let piece = if special { tokenizer.token(id) } else { text.get(bytes.0..bytes.1).map(str::to_owned) };
        let characters = if added { (0, 0) } else { (starts.before(bytes.0), ends.before(bytes.1)) };
        Token { id, added, special, text: piece.unwrap_or_default(), characters, bytes }
    });
    Ok(tokens.collect())
}

/// Counts the characters of a text before places that never go back, in one walk.
struct Characters<'a> {
    text: &'a str,
    bytes: usize,
    characters: usize,
}

impl<'a> Characters<'a> {
    fn new(text: &'a str) -> Self {
        Characters { text, bytes: 0, characters: 0 }
    }

    fn before(&mut self, byte: usize) -> usize {
        if let Some(passed) = self.text.get(self.bytes..byte) {
            self.characters += passed.chars().count();
            self.bytes = byte;
        }
        self.characters
    }
}
