//! Texts that are tokenized and not yet embedded: what a scheduler needs, which weighs and mixes the texts of many callers.

use docent_tokenizer::TruncationSide;

use crate::{EmbedOptions, Embedder, Embedding, Error, Pooling, Prompt, Truncate};

/// A text as the model will read it, and how its vector is wanted. Made by [`Embedder::prepare`] for that embedder.
#[derive(Clone, Debug)]
pub struct PreparedText {
    ids: Vec<u32>,
    dropped: usize,
    pooling: Pooling,
    dim: usize,
    normalize: bool,
    task: Option<usize>,
}

impl PreparedText {
    /// Tokens that the model will read, special tokens and prompt included.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The tokens that the model will read.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Numbers that its embedding will have: those of one vector, or without pooling of a vector a token.
    pub fn values(&self) -> usize {
        if self.pooling == Pooling::None { self.ids.len() * self.dim } else { self.dim }
    }

    /// Tokens that truncation removed.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

/// Options, checked against a model.
struct Checked<'a> {
    pooling: Pooling,
    dim: usize,
    normalize: bool,
    max_length: usize,
    truncate: Truncate,
    prompt: Option<&'a str>,
    task: Option<usize>,
}

impl Embedder {
    /// Tokenizes the texts. With [`embed_prepared`](Self::embed_prepared) this is [`embed_with`](Self::embed_with) in two steps, between which
    /// the texts of several calls can be put together.
    ///
    /// # Errors
    /// If an option is out of range; for each text by itself, if it is too long and must not be cut.
    pub fn prepare<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        options: &EmbedOptions,
    ) -> Result<Vec<Result<PreparedText, Error>>, Error> {
        let checked = self.check(options)?;
        let one = |index: usize| self.prepare_one(index, texts[index].as_ref(), &checked);
        let prompt = checked.prompt.map_or(0, str::len);
        let bytes = texts.iter().map(|text| text.as_ref().len() + prompt).sum();
        // Short texts are tokenized in a few microseconds each: several to a job.
        Ok(self.engine().tokenize(texts.len(), 8, bytes, one))
    }

    /// Takes token ids as they are, special tokens included; no prompt is put in front. An id sequence that is too long is cut as a text
    /// is, and keeps the special token at the end that stays.
    ///
    /// # Errors
    /// If an option is out of range; for each sequence by itself, if it is empty, has an id that the model does not know, or is too long and
    /// must not be cut.
    pub fn prepare_ids<I: AsRef<[u32]>>(
        &self,
        sequences: &[I],
        options: &EmbedOptions,
    ) -> Result<Vec<Result<PreparedText, Error>>, Error> {
        let checked = self.check(options)?;
        let one = |(index, ids): (usize, &I)| self.prepare_sequence(index, ids.as_ref(), &checked);
        Ok(sequences.iter().enumerate().map(one).collect())
    }

    /// The embeddings of prepared texts, in their order. Each has the same bits as from [`embed_with`](Self::embed_with).
    ///
    /// # Errors
    /// If the texts were prepared by an embedder with another vocabulary; for each text by itself, if its vector is not finite.
    pub fn embed_prepared(&self, texts: &[&PreparedText]) -> Result<Vec<Result<Embedding, Error>>, Error> {
        let mut embeddings: Vec<Option<Result<Embedding, Error>>> = texts.iter().map(|_| None).collect();
        // Those of a pooling and a task go through the model together.
        let way = |text: &PreparedText| (text.pooling, text.task);
        let mut ways: Vec<Vec<usize>> = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            if text.ids.is_empty() && !self.settings().description.is_table() {
                embeddings[place] = Some(Err(Error::NoTokens { index: place }));
                continue;
            }
            if text.ids.is_empty() {
                let values = if text.pooling == Pooling::None { Vec::new() } else { self.engine().embed_nothing() };
                embeddings[place] = Some(self.finish(place, values, text));
                continue;
            }
            match ways.iter_mut().find(|places| way(texts[places[0]]) == way(text)) {
                Some(places) => places.push(place),
                None => ways.push(vec![place]),
            }
        }
        for places in ways {
            let (pooling, task) = way(texts[places[0]]);
            let ids: Vec<&[u32]> = places.iter().map(|&place| &texts[place].ids[..]).collect();
            for (values, place) in self.engine().embed(&ids, pooling, task)?.into_iter().zip(places) {
                embeddings[place] = Some(self.finish(place, values, texts[place]));
            }
        }
        Ok(embeddings.into_iter().flatten().collect())
    }

    fn check<'a>(&'a self, options: &'a EmbedOptions) -> Result<Checked<'a>, Error> {
        let settings = self.settings();
        let pooling = options.pooling.unwrap_or(settings.pooling);
        let whole = settings.dim(pooling);
        if let Prompt::Named(name) = &options.prompt
            && settings.prompt(&options.prompt).is_none()
        {
            let known = settings.description.prompts.named.keys().cloned().collect();
            let model = settings.description.name.clone();
            return Err(Error::PromptName { name: name.clone(), model, known });
        }
        let dim = options.dim.unwrap_or(whole);
        if dim == 0 || dim > whole {
            return Err(Error::Dim { dim, model: settings.description.name.clone(), most: whole });
        }
        let least = self.tokenizer().special_token_count() + 1;
        Ok(Checked {
            pooling,
            dim,
            normalize: options.normalize && pooling != Pooling::None,
            max_length: self.engine().max_length(options.max_length, settings.max_length, least)?,
            truncate: options.truncate,
            prompt: settings.prompt(&options.prompt),
            task: settings.task(&options.prompt),
        })
    }

    fn prepare_one(&self, index: usize, text: &str, checked: &Checked<'_>) -> Result<PreparedText, Error> {
        let with_prompt = checked.prompt.map(|prompt| format!("{prompt}{text}"));
        let text = with_prompt.as_deref().unwrap_or(text);
        let side = match checked.truncate {
            Truncate::Right | Truncate::Error => TruncationSide::Right,
            Truncate::Left => TruncationSide::Left,
        };
        let (ids, dropped) = self
            .tokenizer()
            .ids_truncated(text, checked.max_length, side)
            .map_err(|source| Error::Tokenize { index, source })?;
        self.prepared(index, ids, dropped, checked)
    }

    fn prepare_sequence(&self, index: usize, ids: &[u32], checked: &Checked<'_>) -> Result<PreparedText, Error> {
        let tokenizer = self.tokenizer();
        let vocabulary = tokenizer.vocab_size();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::TokenId { index, id, vocabulary, model: self.settings().description.name.clone() });
        }
        let dropped = ids.len().saturating_sub(checked.max_length);
        let mut ids = ids.to_vec();
        if dropped > 0 {
            // A special token of each end stays, as when a text is cut.
            let kept = |id: u32| usize::from(tokenizer.is_special(id) && checked.max_length > 1);
            match checked.truncate {
                Truncate::Left => {
                    let start = kept(ids[0]);
                    drop(ids.drain(start..start + dropped));
                }
                Truncate::Right | Truncate::Error => {
                    let end = ids.len() - kept(ids[ids.len() - 1]);
                    drop(ids.drain(end - dropped..end));
                }
            }
        }
        self.prepared(index, ids, dropped, checked)
    }

    /// Token ids as the model is to read them, of which `dropped` are cut off already.
    fn prepared(
        &self,
        index: usize,
        mut ids: Vec<u32>,
        dropped: usize,
        checked: &Checked<'_>,
    ) -> Result<PreparedText, Error> {
        let description = &self.settings().description;
        if let Some(skipped) = description.skipped_token {
            ids.retain(|&id| id != skipped);
        }
        if ids.is_empty() && !description.is_table() {
            return Err(Error::NoTokens { index });
        }
        if dropped > 0 && checked.truncate == Truncate::Error {
            let (tokens, max_length) = (ids.len() + dropped, checked.max_length);
            return Err(Error::TooLong { index, tokens, max_length });
        }
        let Checked { pooling, dim, normalize, task, .. } = *checked;
        Ok(PreparedText { ids, dropped, pooling, dim, normalize, task })
    }

    /// What becomes of the values that the model computed for a text.
    fn finish(&self, index: usize, mut values: Vec<f32>, text: &PreparedText) -> Result<Embedding, Error> {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::NotFinite { index, model: self.settings().description.name.clone() });
        }
        let whole = self.settings().dim(text.pooling);
        if text.dim < whole {
            values = values.chunks_exact(whole).flat_map(|row| &row[..text.dim]).copied().collect();
        }
        if text.normalize {
            scale_to_unit_length(&mut values);
        }
        Ok(Embedding::new(values, text.dim, text.ids.len(), text.dropped))
    }
}

/// Divides a vector by its Euclidean length; zeros stay zeros.
fn scale_to_unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_unit_length_and_zeros_stay() {
        let mut vector = [3.0, -4.0];
        scale_to_unit_length(&mut vector);
        assert_eq!(vector, [0.6, -0.8]);
        let mut zeros = [0.0; 3];
        scale_to_unit_length(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
        // Squares that leave the range of `f32`.
        let mut huge = [1e30, 1e30];
        scale_to_unit_length(&mut huge);
        assert!((huge[0] - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-7);
    }
}
