//! The head of rerankers that are language models: the odds of an answer as the next token after the last.
//!
//! Files keep it in four forms:
//!
//! | form | score |
//! |---|---|
//! | a causal model alone, asked for words that its prompt has taught | rows of these words in the output matrix, or in the embeddings if tied |
//! | a causal model and the ids of one or two tokens (`LogitScore` of sentence-transformers) | the same with the rows of these tokens |
//! | with a classifier of two rows, as llama.cpp converts it | the same |
//! | a sequence classifier with one row, their difference | its output |

use std::path::Path;

use docent_kernels::Pooling;

use crate::Error;
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::sentence_transformers::AnswerTokens;
use crate::settings::{Settings, Translation, Unwritten};
use crate::weights::Weights;

/// The tokens that answer, for relevance and, if there are two, against it.
const TOKENS: &str = "classifier.answer_tokens";

/// The names of a classifier's two outputs.
const LABELS: &str = "classifier.output_labels";

/// The architectures that answer.
const DECODERS: [&str; 2] = ["qwen2", "qwen3"];

/// Notes the tokens of a directory, which `file` names. A GGUF file has their rows as a classifier.
pub(crate) fn translate(
    to: &mut Translation<'_>,
    file: &Path,
    architecture: &str,
    tokens: AnswerTokens,
) -> Result<(), Error> {
    if !DECODERS.contains(&architecture) {
        let expected = format!("no LogitScore for the architecture {architecture}");
        return Err(Error::config(file, "type", expected, "one"));
    }
    to.set_u32s(TOKENS, "LogitScore", std::iter::once(tokens.yes).chain(tokens.no).collect());
    to.leave_unwritten(TOKENS, Unwritten::Implied);
    Ok(())
}

/// The head of a decoder, if it has one; `words` are those that one without a classifier is asked for, if its files name no tokens.
pub(crate) fn scorer(
    settings: &Settings<'_>,
    weights: &Weights<'_>,
    vocabulary: usize,
    words: Option<[&str; 2]>,
) -> Result<Option<Scorer>, Error> {
    if weights.has("cls.output.weight") {
        return classifier(settings, weights, words.is_some());
    }
    let tokens = match settings.u32s(TOKENS)? {
        Some(tokens) => tokens.into_iter().map(|id| id as usize).collect(),
        None => {
            let ids = words.map(|words| words.map(|word| weights.token(word).filter(|&id| id < vocabulary)));
            let Some([Some(yes), Some(no)]) = ids else { return Ok(None) };
            vec![yes, no]
        }
    };
    let kind = match tokens[..] {
        [_] => ScoreKind::Logit,
        [_, _] => ScoreKind::YesNo { yes: 0, no: 1 },
        _ => return Err(settings.error(TOKENS, "one token or two", tokens.len())),
    };
    if let Some(id) = tokens.iter().find(|&&id| id >= vocabulary) {
        return Err(settings.error(TOKENS, format!("ids of {vocabulary} tokens"), id));
    }
    let matrix = if weights.has("output.weight") { "output.weight" } else { "token_embd.weight" };
    let linear = weights.rows_as_linear(matrix, settings.size("embedding_length")?, &tokens)?;
    Ok(Some(of_last(Head { steps: vec![Step::Linear(linear, None)] }, kind)))
}

/// A classifier of one row, or of two whose names, or an architecture that `asks` for yes and no, say which is which.
fn classifier(settings: &Settings<'_>, weights: &Weights<'_>, asks: bool) -> Result<Option<Scorer>, Error> {
    let hidden = settings.size("embedding_length")?;
    let outputs = weights.rows("cls.output.weight", hidden)?;
    let kind = match (outputs, settings.texts(LABELS)?) {
        (1, _) => ScoreKind::Logit,
        (2, None) if asks => ScoreKind::YesNo { yes: 0, no: 1 },
        (2, Some(labels)) => {
            let place = |answer: &str| labels.iter().position(|label| label.eq_ignore_ascii_case(answer));
            match (place("yes"), place("no")) {
                (Some(yes), Some(no)) if yes < 2 && no < 2 => ScoreKind::YesNo { yes, no },
                _ if asks => return Err(settings.error(LABELS, "yes and no", format!("{labels:?}"))),
                _ => return Ok(None),
            }
        }
        (found, _) if asks => return Err(settings.error(LABELS, "one output, or two for yes and no", found)),
        // What it tells apart is not relevance.
        _ => return Ok(None),
    };
    let linear = weights.linear("cls.output", hidden, outputs)?;
    Ok(Some(of_last(Head { steps: vec![Step::Linear(linear, None)] }, kind)))
}

fn of_last(head: Head, kind: ScoreKind) -> Scorer {
    Scorer { tokens: Head::default(), pooling: Pooling::Last, head, kind }
}
