//! The factors of what the tasks of a model add to its weights.

use std::sync::Arc;

use docent_gguf::codec;
use docent_kernels::{EmbeddingTable, Linear, RawMatrix, SharedBytes, WeightError, WeightType};

use super::Weights;
use crate::Error;
use crate::blocks::{Adapted, AdaptedEmbeddings, LowRank};
use crate::source::{LOW_RANK, TensorView};

/// The largest rank accepted; published adapters have 4 to 64.
const MOST_RANK: u64 = 4096;

/// The two factors for a weight, as tensors: `A` of shape (rank, inputs) and `B` of shape (outputs, rank).
struct Factors<'a> {
    a: TensorView<'a>,
    b: TensorView<'a>,
}

impl<'a> Weights<'a> {
    /// A layer with what each task adds to it. `forms` are the ways in which factors may be given: for layers of these names and numbers of
    /// outputs, which make it up when they are stacked.
    pub(super) fn with_tasks(&self, forms: &[&[(&str, usize)]], base: Linear, inputs: usize) -> Result<Adapted, Error> {
        let of_task = |task: usize| {
            for parts in forms {
                if let Some(low_rank) = self.low_rank(task, parts, inputs)? {
                    return Ok(Some(low_rank));
                }
            }
            Ok(None)
        };
        Ok(Adapted::new(base, (0..self.source.tasks().len()).map(of_task).collect::<Result<_, Error>>()?))
    }

    /// What a task adds to such a layer, in one of the forms: the `A` of the parts one above the other, each `B` in the rows of its part
    /// and the columns of its `A`.
    fn low_rank(&self, task: usize, parts: &[(&str, usize)], inputs: usize) -> Result<Option<LowRank>, Error> {
        let (mut found, mut down, mut ups) = (None, Vec::new(), Vec::new());
        let (mut outputs, mut ranks) = (0, 0);
        for &(stem, outputs_of_part) in parts {
            if let Some(Factors { a, b }) = self.factors(task, &format!("{stem}.weight"))? {
                let rank = self.rank(task, &a, 0)?;
                self.check_factor(task, &a, &[rank, inputs as u64])?;
                self.check_factor(task, &b, &[outputs_of_part as u64, rank])?;
                if !self.checking() {
                    down.extend(self.values(task, &a)?);
                    let scaled = scaled(self.values(task, &b)?, self.scale(task, rank));
                    ups.push((outputs, ranks, rank as usize, scaled));
                }
                ranks += rank as usize;
                found.get_or_insert((a, b));
            }
            outputs += outputs_of_part;
        }
        let Some((a, b)) = found.filter(|_| !self.checking()) else { return Ok(None) };
        let mut up = vec![0.0; outputs * ranks];
        for (first_row, first_column, rank, values) in ups {
            for (row, values) in values.chunks_exact(rank).enumerate() {
                up[(first_row + row) * ranks + first_column..][..rank].copy_from_slice(values);
            }
        }
        Ok(Some(LowRank { down: self.thin(task, &a, &down, ranks)?, up: self.thin(task, &b, &up, outputs)? }))
    }

    /// What each task adds to the embeddings of tokens and of segments.
    pub(crate) fn adapted_embeddings(&self, vocabulary: usize, hidden: usize) -> Result<Vec<AdaptedEmbeddings>, Error> {
        let of_task = |task: usize| {
            let tokens = self.adapted_tokens(task, vocabulary as u64, hidden)?;
            Ok(AdaptedEmbeddings { tokens, segments: self.adapted_segments(task, hidden)? })
        };
        (0..self.source.tasks().len()).map(of_task).collect()
    }

    /// `A` has a row for each token here, and is looked up: left in the file.
    fn adapted_tokens(
        &self,
        task: usize,
        vocabulary: u64,
        hidden: usize,
    ) -> Result<Option<(EmbeddingTable, Linear)>, Error> {
        let name = "token_embd.weight";
        let Some(Factors { a, b }) = self.factors(task, name)? else { return Ok(None) };
        let turned = self.source.turns_token_factor();
        let rank = self.rank(task, &a, 1)?;
        self.check_factor(task, &a, &[vocabulary, rank])?;
        let columns = hidden as u64;
        self.check_factor(task, &b, &if turned { [rank, columns] } else { [columns, rank] })?;
        if self.checking() {
            return Ok(None);
        }
        let ty = WeightType::of(a.ty).ok_or_else(|| self.unsupported(&a))?;
        let bytes = self.source.shared_task_bytes(task, &format!("{name}{}", LOW_RANK[0]));
        let bytes = bytes.ok_or_else(|| self.missing(a.name, &a.shape))?;
        let table = EmbeddingTable::new(bytes, ty, vocabulary as usize, rank as usize)
            .map_err(|source| self.bad_factor(task, &a, source))?;
        let mut values = scaled(self.values(task, &b)?, self.scale(task, rank));
        if turned {
            let rank = rank as usize;
            values = (0..hidden)
                .flat_map(|row| (0..rank).map(move |k| (k, row)))
                .map(|(k, row)| values[k * hidden + row])
                .collect();
        }
        Ok(Some((table, self.thin(task, &b, &values, hidden)?)))
    }

    /// The product itself: there are one or two segments.
    fn adapted_segments(&self, task: usize, hidden: usize) -> Result<Option<EmbeddingTable>, Error> {
        let name = "token_types.weight";
        let Some(Factors { a, b }) = self.factors(task, name)? else { return Ok(None) };
        let (rows, rank) = (self.rows(name, hidden)?, self.rank(task, &a, 0)?);
        self.check_factor(task, &a, &[rank, hidden as u64])?;
        self.check_factor(task, &b, &[rows as u64, rank])?;
        if self.checking() {
            return Ok(None);
        }
        let (a, b) = (self.values(task, &a)?, scaled(self.values(task, &b)?, self.scale(task, rank)));
        let sum = |row: usize, column: usize| -> f32 {
            let row = &b[row * rank as usize..][..rank as usize];
            row.iter().enumerate().map(|(k, b)| b * a[k * hidden + column]).sum()
        };
        let places = (0..rows).flat_map(|row| (0..hidden).map(move |column| (row, column)));
        let bytes: Vec<u8> = places.flat_map(|(row, column)| sum(row, column).to_le_bytes()).collect();
        let length = bytes.len();
        let table = EmbeddingTable::new(SharedBytes::new(Arc::new(bytes), 0..length), WeightType::F32, rows, hidden);
        table.map(Some).map_err(|source| Error::Weight {
            path: self.source.task_path(task).to_owned(),
            name: name.to_owned(),
            source,
        })
    }

    /// Both factors for a weight, or neither.
    fn factors(&self, task: usize, name: &str) -> Result<Option<Factors<'a>>, Error> {
        let [a, b] = LOW_RANK.map(|end| format!("{name}{end}"));
        let [found_a, found_b] = [&a, &b].map(|name| self.task_tensor(task, name));
        match (found_a, found_b) {
            (None, None) => Ok(None),
            (Some(a), Some(b)) => Ok(Some(Factors { a, b })),
            (found, _) => {
                let name = if found.is_some() { b } else { a };
                Err(Error::MissingTensor { path: self.source.task_path(task).to_owned(), name, expected: Vec::new() })
            }
        }
    }

    /// A factor, which counts as used; one of another number of tasks in its whole shape, which fits nowhere.
    fn task_tensor(&self, task: usize, name: &str) -> Option<TensorView<'a>> {
        let tensor = self.source.task_tensor(task, name).or_else(|| self.source.tensor(name))?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(tensor)
    }

    fn rank(&self, task: usize, a: &TensorView<'_>, dimension: usize) -> Result<u64, Error> {
        match a.shape[..] {
            [_, _] if (1..=MOST_RANK).contains(&a.shape[dimension]) => Ok(a.shape[dimension]),
            _ => Err(Error::config(
                self.source.task_path(task),
                a.name,
                format!("a matrix of a rank from 1 to {MOST_RANK}, for each of {} tasks", self.source.tasks().len()),
                format!("the shape {:?}", a.shape),
            )),
        }
    }

    fn check_factor(&self, task: usize, factor: &TensorView<'_>, expected: &[u64]) -> Result<(), Error> {
        if factor.shape == expected {
            return Ok(());
        }
        Err(Error::Shape {
            path: self.source.task_path(task).to_owned(),
            name: factor.name.to_owned(),
            expected: expected.to_vec(),
            found: factor.shape.clone(),
        })
    }

    /// What the product of the factors is multiplied with; without an alpha it is 1, as llama.cpp has it.
    fn scale(&self, task: usize, rank: u64) -> f32 {
        let alpha = self.source.tasks()[task].alpha;
        if alpha == 0.0 { 1.0 } else { alpha / rank as f32 }
    }

    fn values(&self, task: usize, factor: &TensorView<'_>) -> Result<Vec<f32>, Error> {
        WeightType::of(factor.ty).ok_or_else(|| self.unsupported(factor))?;
        let elements = factor.shape.iter().product::<u64>() as usize;
        let mut values = vec![0.0; elements];
        codec::dequantize(factor.ty, factor.bytes, &mut values).map_err(|_| self.unsupported(factor))?;
        let columns = factor.shape.last().map_or(1, |&columns| columns as usize);
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => {
                let source = WeightError::NotFinite { row: place / columns, column: place % columns };
                Err(self.bad_factor(task, factor, source))
            }
            None => Ok(values),
        }
    }

    /// A factor as a linear layer of `outputs` rows, in `f32`.
    fn thin(&self, task: usize, factor: &TensorView<'_>, values: &[f32], outputs: usize) -> Result<Linear, Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        RawMatrix::new(&bytes, WeightType::F32, outputs, values.len() / outputs)
            .and_then(|matrix| self.pack(&[(matrix, None)]))
            .map_err(|source| self.bad_factor(task, factor, source))
    }

    fn bad_factor(&self, task: usize, factor: &TensorView<'_>, source: WeightError) -> Error {
        Error::Weight { path: self.source.task_path(task).to_owned(), name: factor.name.to_owned(), source }
    }
}

fn scaled(mut values: Vec<f32>, factor: f32) -> Vec<f32> {
    values.iter_mut().for_each(|value| *value *= factor);
    values
}
