//! Tensors by name and shape, made into what the executor computes with.

mod numbers;
mod tasks;
mod threads;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use docent_gguf::codec;
use docent_kernels::{BlockMatrix, EmbeddingTable, Heads, Linear, Norm, RawMatrix, WeightError, WeightType};

use crate::Error;
use crate::blocks::Adapted;
use crate::output::Output;
use crate::source::{Source, TensorView};
pub(crate) use threads::Threads;

pub(crate) const SUPPORTED: &str =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, Q8_K, IQ4_NL, IQ4_XS and MXFP4";

/// Finds the id of a token by its text.
pub(crate) type TokenId<'a> = dyn Fn(&str) -> Option<u32> + 'a;

/// Hands an architecture its weights, each checked against the shape that the settings ask for.
pub(crate) struct Weights<'a> {
    source: &'a Source,
    /// The id of a token by its text; `None` if only names and shapes are to be checked: then no values are read, and
    /// nothing is packed.
    token: Option<&'a TokenId<'a>>,
    threads: &'a Threads<'a>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Weights<'a> {
    /// `token` finds the id of a token by its text.
    pub(crate) fn new(source: &'a Source, token: &'a TokenId<'a>, threads: &'a Threads<'a>) -> Self {
        Weights { source, token: Some(token), threads, used: RefCell::default() }
    }

    /// The same, to check that all tensors are there and of the right shape. What is loaded of them is good for nothing.
    pub(crate) fn for_checking(source: &'a Source, threads: &'a Threads<'a>) -> Self {
        Weights { source, token: None, threads, used: RefCell::default() }
    }

    /// Whether the shapes of tensors are looked at, and not their values.
    pub(crate) fn checking(&self) -> bool {
        self.token.is_none()
    }

    /// The row of a token that the vocabulary must have by exactly this text.
    pub(crate) fn token(&self, text: &str) -> Option<usize> {
        (self.token?)(text).map(|id| id as usize)
    }

    /// Packs the parts of a linear layer; stands in for it when only checking.
    fn pack(&self, parts: &[(RawMatrix<'_>, Option<&[f32]>)]) -> Result<Linear, WeightError> {
        if self.checking() {
            let one = [0; 4];
            return Linear::pack(&[(RawMatrix::new(&one, WeightType::F32, 1, 1)?, None)], self.threads.free());
        }
        Linear::pack(parts, self.threads.free())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.source.tensor(name).is_some()
    }

    /// A linear layer: `{stem}.weight` and, if it is there, `{stem}.bias`.
    pub(crate) fn linear(&self, stem: &str, inputs: usize, outputs: usize) -> Result<Linear, Error> {
        self.stacked_linear(&[(stem, outputs)], inputs)
    }

    /// A linear layer with what each task of the model adds to it.
    pub(crate) fn adapted(&self, stem: &str, inputs: usize, outputs: usize) -> Result<Adapted, Error> {
        self.with_tasks(&[&[(stem, outputs)]], self.linear(stem, inputs, outputs)?, inputs)
    }

    /// Several linear layers of one input as one, their outputs one after the other.
    pub(crate) fn stacked_linear(&self, stems: &[(&str, usize)], inputs: usize) -> Result<Linear, Error> {
        let mut parts = Vec::new();
        for &(stem, outputs) in stems {
            let weight = self.require(&format!("{stem}.weight"), &[outputs as u64, inputs as u64])?;
            let ty = self.weight_type(&weight)?;
            let matrix = RawMatrix::new(weight.bytes, ty, outputs, inputs)
                .map_err(|source| self.unusable(&format!("{stem}.weight"), source))?;
            parts.push((matrix, self.vector_if_present(&format!("{stem}.bias"), outputs)?));
        }
        let left_in_place = |ty| matches!(ty, WeightType::Blocks(_));
        let all_blocks = parts.iter().all(|(matrix, _)| matrix.weight_type().is_blocks());
        if all_blocks && parts.iter().any(|(matrix, _)| left_in_place(matrix.weight_type())) {
            let mut blocks = Vec::new();
            for (&(stem, outputs), (_, bias)) in stems.iter().zip(parts) {
                blocks.push((self.block_matrix(&format!("{stem}.weight"), 0, outputs, inputs)?, bias));
            }
            return Linear::in_place(blocks).map_err(|source| self.unusable(stems[0].0, source));
        }
        let parts: Vec<_> = parts.iter().map(|(matrix, bias)| (*matrix, bias.as_deref())).collect();
        let names = || stems.iter().map(|(stem, _)| format!("{stem}.weight"));
        let packed =
            self.pack(&parts).map_err(|source| self.unusable(&names().collect::<Vec<_>>().join(", "), source))?;
        names().for_each(|name| self.source.release(&name));
        Ok(packed)
    }

    /// Rows of a matrix of blocks, from row `first` on, left in the file.
    fn block_matrix(&self, name: &str, first: usize, rows: usize, columns: usize) -> Result<BlockMatrix, Error> {
        let tensor = self.source.tensor(name).ok_or_else(|| self.missing(name, &[rows as u64, columns as u64]))?;
        let ty = self.weight_type(&tensor)?;
        let bytes = self.source.shared_bytes(name).ok_or_else(|| self.missing(name, &tensor.shape))?;
        let row_bytes = ty.row_bytes(columns).unwrap_or(0);
        let bytes = bytes.part(first * row_bytes..(first + rows) * row_bytes);
        BlockMatrix::new(bytes, ty, rows, columns).map_err(|source| self.unusable(name, source))
    }

    /// Some outputs of a linear layer of `total`: of one matrix that the model keeps several in.
    pub(crate) fn linear_part(
        &self,
        stem: &str,
        inputs: usize,
        total: usize,
        outputs: Range<usize>,
    ) -> Result<Linear, Error> {
        let name = format!("{stem}.weight");
        let weight = self.require(&name, &[total as u64, inputs as u64])?;
        let row_bytes = weight.bytes.len() / total.max(1);
        let bytes = &weight.bytes[outputs.start * row_bytes..outputs.end * row_bytes];
        let bias = self.vector_if_present(&format!("{stem}.bias"), total)?;
        let ty = self.weight_type(&weight)?;
        if let WeightType::Blocks(_) = ty {
            let bias = bias.map(|bias| bias[outputs.clone()].to_vec());
            let matrix = self.block_matrix(&name, outputs.start, outputs.len(), inputs)?;
            return Linear::in_place(vec![(matrix, bias)]).map_err(|source| self.unusable(&name, source));
        }
        let matrix = RawMatrix::new(bytes, ty, outputs.len(), inputs).map_err(|source| self.unusable(&name, source))?;
        self.pack(&[(matrix, bias.as_deref().map(|bias| &bias[outputs]))])
            .map_err(|source| self.unusable(&name, source))
    }

    /// The linear layers of several experts, which one tensor has: `(inputs, outputs)` of each.
    ///
    /// # Panics
    /// If the number of experts, of inputs or of outputs is zero.
    pub(crate) fn experts(
        &self,
        name: &str,
        layout: ExpertLayout,
        experts: usize,
        (inputs, outputs): (usize, usize),
    ) -> Result<Vec<Linear>, Error> {
        let [count, columns, rows] = [experts, inputs, outputs].map(|size| size as u64);
        let tensor = match layout {
            ExpertLayout::Stacked => self.require(name, &[count, rows, columns])?,
            ExpertLayout::Flat => self.require(name, &[count * rows, columns])?,
            ExpertLayout::Transposed => self.require(name, &[count * columns, rows])?,
        };
        let ty = self.weight_type(&tensor)?;
        let linear = |bytes: &[u8]| {
            let turned = matches!(layout, ExpertLayout::Transposed).then(|| transposed(bytes, inputs, outputs));
            let matrix = RawMatrix::new(turned.as_deref().unwrap_or(bytes), ty, outputs, inputs)?;
            Linear::pack(&[(matrix, None)], self.threads.free())
        };
        if let (WeightType::Blocks(_), ExpertLayout::Stacked | ExpertLayout::Flat) = (ty, layout) {
            let in_place = |expert: usize| {
                let matrix = self.block_matrix(name, expert * outputs, outputs, inputs)?;
                Linear::in_place(vec![(matrix, None)]).map_err(|source| self.unusable(name, source))
            };
            return (0..experts).map(in_place).collect();
        }
        let each = tensor.bytes.chunks_exact(tensor.bytes.len() / experts);
        each.map(linear).collect::<Result<_, _>>().map_err(|source| self.unusable(name, source))
    }

    /// Queries, keys and values of a layer as one projection, from one matrix (`attn_qkv`) or from three. Files that keep the
    /// weights in one may still keep the biases in three.
    pub(crate) fn query_key_value(&self, layer: usize, inputs: usize, heads: &Heads) -> Result<Adapted, Error> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let parts = [("attn_q", heads.queries()), ("attn_k", heads.keys()), ("attn_v", heads.values())]
            .map(|(part, columns)| (name(part), columns.len()));
        let parts = parts.each_ref().map(|(stem, outputs)| (stem.as_str(), *outputs));
        let fused = name("attn_qkv");
        let projection = match self.has(&format!("{fused}.weight")) {
            true => self.fused_projection(&fused, &parts, inputs, heads)?,
            false => self.stacked_linear(&parts, inputs)?,
        };
        // Adapters may have been made for the other form.
        self.with_tasks(&[&[(&fused, heads.columns())], &parts], projection, inputs)
    }

    /// The projection whose weights are in one matrix `fused`, and whose biases may be in `parts`.
    fn fused_projection(
        &self,
        fused: &str,
        parts: &[(&str, usize); 3],
        inputs: usize,
        heads: &Heads,
    ) -> Result<Linear, Error> {
        if self.has(&format!("{fused}.bias")) || !self.has(&format!("{}.bias", parts[0].0)) {
            return self.linear(fused, inputs, heads.columns());
        }
        let weight = self.require(&format!("{fused}.weight"), &[heads.columns() as u64, inputs as u64])?;
        let unusable = |source| self.unusable(&format!("{fused}.weight"), source);
        let matrix =
            RawMatrix::new(weight.bytes, self.weight_type(&weight)?, heads.columns(), inputs).map_err(unusable)?;
        let mut bias = Vec::new();
        for (stem, outputs) in parts {
            bias.extend(self.vector(&format!("{stem}.bias"), *outputs)?);
        }
        self.pack(&[(matrix, Some(&bias))]).map_err(unusable)
    }

    /// Chosen rows of a matrix as a linear layer, in `f32`.
    pub(crate) fn rows_as_linear(&self, name: &str, columns: usize, rows: &[usize]) -> Result<Linear, Error> {
        let total = self.rows(name, columns)?;
        let tensor = self.require(name, &[total as u64, columns as u64])?;
        let row_bytes = tensor.bytes.len() / total;
        let mut values = vec![0.0; rows.len() * columns];
        for (values, &row) in values.chunks_exact_mut(columns).zip(rows) {
            let bytes = tensor.bytes.get(row * row_bytes..(row + 1) * row_bytes);
            let bytes = bytes.ok_or_else(|| self.misshapen(&tensor, &[row as u64 + 1, columns as u64]))?;
            codec::dequantize(tensor.ty, bytes, values).map_err(|_| self.unsupported(&tensor))?;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        RawMatrix::new(&bytes, WeightType::F32, rows.len(), columns)
            .and_then(|matrix| self.pack(&[(matrix, None)]))
            .map_err(|source| self.unusable(name, source))
    }

    /// A LayerNorm: `{stem}.weight` and, if it is there, `{stem}.bias`.
    pub(crate) fn norm(&self, stem: &str, columns: usize, epsilon: f32) -> Result<Norm, Error> {
        let weight = self.vector(&format!("{stem}.weight"), columns)?;
        let bias = self.vector_if_present(&format!("{stem}.bias"), columns)?;
        Norm::new(weight, bias, epsilon).map_err(|source| self.unusable(stem, source))
    }

    /// A norm that only divides, which no tensor says anything of.
    pub(crate) fn plain_norm(&self, columns: usize, epsilon: f32) -> Result<Norm, Error> {
        Norm::new(vec![1.0; columns], None, epsilon).map_err(|source| self.unusable("norm", source))
    }

    /// The same, or `None` if the model has no such norm.
    pub(crate) fn norm_if_present(&self, stem: &str, columns: usize, epsilon: f32) -> Result<Option<Norm>, Error> {
        if self.has(&format!("{stem}.weight")) { self.norm(stem, columns, epsilon).map(Some) } else { Ok(None) }
    }

    /// A table of embeddings, left in the file.
    pub(crate) fn embedding(&self, name: &str, rows: usize, columns: usize) -> Result<EmbeddingTable, Error> {
        self.embedding_after(name, 0, rows, columns)
    }

    /// A table of embeddings that begins after the first `skipped` rows of what the file has, left there.
    pub(crate) fn embedding_after(
        &self,
        name: &str,
        skipped: usize,
        rows: usize,
        columns: usize,
    ) -> Result<EmbeddingTable, Error> {
        let total = skipped.saturating_add(rows);
        let tensor = self.require(name, &[total as u64, columns as u64])?;
        let ty = self.weight_type(&tensor)?;
        let start = tensor.bytes.len() / total.max(1) * skipped;
        let bytes = self.source.shared_bytes(name).ok_or_else(|| self.missing(name, &tensor.shape))?;
        let end = bytes.len();
        EmbeddingTable::new(bytes.part(start..end), ty, rows, columns).map_err(|source| self.unusable(name, source))
    }

    /// A table of embeddings of any number of rows, or `None` if the model has no such tensor.
    pub(crate) fn embedding_if_present(&self, name: &str, columns: usize) -> Result<Option<EmbeddingTable>, Error> {
        if !self.has(name) {
            return Ok(None);
        }
        let rows = self.rows(name, columns)?;
        self.embedding(name, rows, columns).map(Some)
    }

    /// The matrix of a language model's output, or the embeddings of the tokens if it has none of its own; left in the file.
    pub(crate) fn output(&self, vocabulary: usize, hidden: usize) -> Result<Output, Error> {
        let own = "output.weight";
        let name = if self.has(own) { own } else { "token_embd.weight" };
        let tensor = self.require(name, &[vocabulary as u64, hidden as u64])?;
        Ok(Output {
            path: self.source.path().to_owned(),
            name: name.to_owned(),
            bytes: self.source.shared_bytes(name).ok_or_else(|| self.missing(name, &tensor.shape))?,
            ty: self.weight_type(&tensor)?,
            bias: self.vector_if_present("output.bias", vocabulary)?,
            vocabulary,
            hidden,
        })
    }

    /// Lets the weight and the bias of `stem` lie, if they are there: known, and of no use in this model.
    pub(crate) fn pass_over(&self, stem: &str) {
        self.used.borrow_mut().extend(["weight", "bias"].map(|part| format!("{stem}.{part}")));
    }

    /// The number of rows of a matrix that must be there.
    pub(crate) fn rows(&self, name: &str, columns: usize) -> Result<usize, Error> {
        let tensor = self.source.tensor(name).ok_or_else(|| self.missing(name, &[0, columns as u64]))?;
        match *trimmed(&tensor.shape) {
            // A table of one row may have lost its outer dimension.
            [found] if found == columns as u64 => Ok(1),
            [rows, found] if rows > 0 && found == columns as u64 => Ok(rows as usize),
            _ => Err(self.misshapen(&tensor, &[0, columns as u64])),
        }
    }

    /// The values of a vector that must be there.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        let tensor = self.require(name, &[length as u64])?;
        if self.checking() {
            return Ok(vec![1.0; length]);
        }
        self.weight_type(&tensor)?;
        let mut values = vec![0.0; length];
        codec::dequantize(tensor.ty, tensor.bytes, &mut values).map_err(|_| self.unsupported(&tensor))?;
        if tensor.plus_one {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(column) => Err(self.unusable(name, WeightError::NotFinite { row: 0, column })),
            None => Ok(values),
        }
    }

    /// The values of a vector, or `None` if the model has no such tensor.
    pub(crate) fn vector_if_present(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, Error> {
        if self.has(name) { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    /// The names of the tasks that there are adapters for.
    pub(crate) fn tasks(&self) -> Vec<String> {
        self.source.tasks().into_iter().map(|task| task.name.clone()).collect()
    }

    /// The names of tensors that nobody asked for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let known = self.source.names().into_iter().filter(|&name| !used.contains(name)).map(str::to_owned);
        known.chain(self.source.unknown().iter().cloned()).collect()
    }

    fn require(&self, name: &str, shape: &[u64]) -> Result<TensorView<'a>, Error> {
        let tensor = self.source.tensor(name).ok_or_else(|| self.missing(name, shape))?;
        self.used.borrow_mut().insert(name.to_owned());
        if trimmed(&tensor.shape) != trimmed(shape) {
            return Err(self.misshapen(&tensor, shape));
        }
        Ok(tensor)
    }

    fn weight_type(&self, tensor: &TensorView<'_>) -> Result<WeightType, Error> {
        WeightType::of(tensor.ty).ok_or_else(|| self.unsupported(tensor))
    }

    fn unsupported(&self, tensor: &TensorView<'_>) -> Error {
        self.of_other_type(tensor, SUPPORTED)
    }

    fn of_other_type(&self, tensor: &TensorView<'_>, supported: &'static str) -> Error {
        let (path, name) = (self.source.path().to_owned(), tensor.name.to_owned());
        Error::TensorType { path, name, found: tensor.ty, supported }
    }

    fn missing(&self, name: &str, shape: &[u64]) -> Error {
        Error::MissingTensor { path: self.source.path().to_owned(), name: name.to_owned(), expected: shape.to_vec() }
    }

    fn misshapen(&self, tensor: &TensorView<'_>, expected: &[u64]) -> Error {
        let (path, name) = (self.source.path().to_owned(), tensor.name.to_owned());
        Error::Shape { path, name, expected: expected.to_vec(), found: tensor.shape.clone() }
    }

    fn unusable(&self, name: &str, source: WeightError) -> Error {
        Error::Weight { path: self.source.path().to_owned(), name: name.to_owned(), source }
    }
}

/// How the matrices of several experts lie in one tensor.
#[derive(Clone, Copy)]
pub(crate) enum ExpertLayout {
    /// A dimension for the experts, one for the outputs, one for the inputs: GGUF.
    Stacked,
    /// The outputs of all experts one after the other.
    Flat,
    /// The same with each matrix turned, its inputs one after the other.
    Transposed,
}

/// A matrix of `rows` rows turned into one of `columns` rows, whatever the size of its elements.
fn transposed(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let size = bytes.len() / (rows * columns);
    let mut out = vec![0; bytes.len()];
    for (index, element) in bytes.chunks_exact(size).enumerate() {
        let (row, column) = (index / columns, index % columns);
        out[(column * rows + row) * size..][..size].copy_from_slice(element);
    }
    out
}

/// A shape without leading ones: writers differ in whether they keep the outer dimension of a single row.
fn trimmed(shape: &[u64]) -> &[u64] {
    let ones = shape.iter().take(shape.len().saturating_sub(1)).take_while(|&&dim| dim == 1).count();
    &shape[ones..]
}
