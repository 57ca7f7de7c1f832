//! Attention over a packed batch: which queries make a job of their own.

use crate::generic::attention::{AttentionJob, QUERY_ROWS, block_keys, scratch_len};
use crate::generic::coded_attention;
use crate::generic::relative_attention::{self, DistanceEmbeddings};
use crate::weights::PANEL;
use crate::{Distances, Executor, Heads, Mask, Matrix, Rows, Sequences};

use super::Shared;

/// Queries of some tokens of each sequence, for [`Executor::attention_of`].
#[derive(Clone, Copy)]
pub struct Queries<'a> {
    /// One row for each token that `rows` names, sequence by sequence, its queries in the columns [`Heads::queries`]; what is
    /// in further columns is not read.
    pub matrix: &'a Matrix,
    /// The tokens.
    pub rows: Rows,
}

/// Queries of neighbouring tokens of one sequence: with each head of keys and values, a job.
#[derive(Clone, Copy)]
pub(super) struct QueryBlock {
    sequence: usize,
    /// The first token's place in the sequence.
    token: usize,
    /// The first token's row in the matrix of queries.
    row: usize,
    tokens: usize,
    /// Keys that the queries see, all together.
    cost: usize,
}

/// Queries of a head of keys and values from which packing the keys and values costs little beside computing with them.
const LEAST_QUERIES: usize = 48;

/// Tokens of a job at most; it bounds what is kept of each from one block of keys to the next. Whole tiles.
const MOST_TOKENS: usize = 768;

/// Jobs for each thread, so that uneven ones balance.
const JOBS_PER_THREAD: usize = 4;

impl Executor {
    /// Attention of every token to those of its own sequence that `mask` lets it see: `out = softmax(scale Q K^T) V` for
    /// each head, with `-slope * |i - j|` added to the scores of heads that have a slope, and biases where there are any.
    ///
    /// `qkv` has the columns that [`Heads`] says, `out` those of the queries: `heads.count * heads.dim`. The cost is that of the
    /// sequences one by one, and in each of the pairs that the mask lets through: half as much with [`Mask::Causal`], and in
    /// proportion to the length with a window. No token sees another sequence or one that the mask hides, not even a NaN
    /// in it. The memory it takes beside is bounded, for each thread, whatever the length.
    ///
    /// # Panics
    /// If the shapes do not agree, or the heads: `kv_count` must divide `count`, and there must be a slope for each or none; or if there are
    /// biases for another number of heads or for shorter sequences.
    pub fn attention(&mut self, qkv: &Matrix, sequences: &Sequences, heads: &Heads, mask: Mask, out: &mut Matrix) {
        self.attention_of(Queries { matrix: qkv, rows: Rows::All }, qkv, sequences, heads, mask, out);
    }

    /// The same for some tokens of each sequence only, with queries that have a matrix of their own; the columns of the queries
    /// in `qkv` are not read, and it may do without: a matrix that has no more than the columns [`Heads::keys_and_values`] is one
    /// of keys and values. Row `i` of `out` has the bits that [`attention`](Self::attention) gives to the token of row `i`.
    ///
    /// # Panics
    /// As [`attention`](Self::attention), or if a sequence is empty and should have a row.
    pub fn attention_of(
        &mut self,
        queries: Queries<'_>,
        qkv: &Matrix,
        sequences: &Sequences,
        heads: &Heads,
        mask: Mask,
        out: &mut Matrix,
    ) {
        self.attend(queries, qkv, sequences, heads, (mask, None), out);
    }

    /// Attention of some tokens of each sequence to all tokens of it, with scores that also tell how far these are from each other (He et al.,
    /// arXiv:2006.03654): `scale (q_i . k_j + q_i . K[i - j] + Q[i - j] . k_j)` with the embeddings of [`Distances`] as keys `K` and as
    /// queries `Q`. Matrices are as for [`attention_of`](Self::attention_of), with queries in `qkv` too where they have no matrix of their own.
    ///
    /// # Panics
    /// As [`attention_of`](Self::attention_of), or if the heads are others than those of the distances or share keys, or a sequence has more
    /// tokens than [`Distances::positions`].
    pub fn relative_attention_of(
        &mut self,
        queries: Queries<'_>,
        qkv: &Matrix,
        sequences: &Sequences,
        heads: &Heads,
        distances: &Distances,
        out: &mut Matrix,
    ) {
        assert!(distances.fit(heads), "embeddings of distances for {} heads of {}", heads.count, heads.dim);
        let (longest, most) = (sequences.longest(), distances.positions());
        assert!(longest <= most, "a sequence of {longest} tokens with distances among {most}");
        self.attend(queries, qkv, sequences, heads, (Mask::Full, Some(distances)), out);
    }

    fn attend(
        &mut self,
        queries: Queries<'_>,
        qkv: &Matrix,
        sequences: &Sequences,
        heads: &Heads,
        (mask, distances): (Mask, Option<&Distances>),
        out: &mut Matrix,
    ) {
        let Queries { matrix: query_matrix, rows } = queries;
        let group = heads.count.checked_div(heads.kv_count).unwrap_or(0);
        assert_eq!(group * heads.kv_count, heads.count, "heads of queries on {} of keys and values", heads.kv_count);
        assert!(heads.slopes.is_empty() || heads.slopes.len() == heads.count, "slopes of {} heads", heads.count);
        if let Some(biases) = &heads.biases {
            assert_eq!(biases.heads(), heads.count, "heads of biases");
            let (longest, most) = (sequences.longest(), biases.positions());
            assert!(longest <= most, "a sequence of {longest} tokens with biases for {most}");
        }
        let (columns, width) = (heads.columns(), heads.queries().end);
        let without_queries = qkv.columns() == heads.keys_and_values().len() && width > 0;
        let columns = if without_queries { heads.keys_and_values().len() } else { columns };
        assert_eq!((qkv.rows(), qkv.columns()), (sequences.tokens(), columns), "shape of a query-key-value matrix");
        assert_eq!(query_matrix.rows(), rows.count(sequences), "rows of queries");
        assert!(query_matrix.columns() >= width, "{} columns of queries, {width} expected", query_matrix.columns());
        assert_eq!((out.rows(), out.columns()), (query_matrix.rows(), width), "shape of an attention output");
        // Rows without columns take no memory, so nothing but this bounds their number.
        assert!(width > 0 || sequences.tokens() == 0, "heads without columns");

        assert!(distances.is_none() || heads.biases.is_none(), "biases beside embeddings of distances");

        let threads = self.thread_count();
        let mut blocks = std::mem::take(&mut self.query_blocks);
        divide(sequences, rows, heads, mask, threads, &mut blocks);
        let most = blocks.iter().map(|block| block.tokens).max().unwrap_or(0);
        let plain = mask == Mask::Full && heads.slopes.is_empty() && heads.biases.is_none();
        let coded = plain && heads.coded && self.kernels.fast_pairs;
        let longest = sequences.longest();
        let scratch_per_thread = match distances {
            Some(distances) => relative_attention::scratch_len(longest, heads.dim, distances.rows()),
            None if coded => {
                let of_codes = coded_attention::scratch_len(longest, heads.dim);
                scratch_len(longest, heads.dim, most * group).max(of_codes)
            }
            None => scratch_len(longest, heads.dim, most * group),
        };
        let scratch = scratch_per_thread.checked_mul(threads).expect("the scratch fits the address space");
        self.scratch.grow(scratch);
        let scratch = Shared(self.scratch.as_mut_slice().as_mut_ptr());
        let (data, out_stride) = (Shared(out.as_mut_ptr()), out.stride());
        let (query_data, query_stride) = (Shared(query_matrix.as_ptr().cast_mut()), query_matrix.stride());
        let qkv_data = Shared(qkv.as_ptr().cast_mut());
        let kernels = self.kernels;
        let block_keys = match distances {
            Some(_) => longest.next_multiple_of(PANEL),
            None => block_keys(heads.dim),
        };
        let skipped = if without_queries { width } else { 0 };
        let (keys, values) = (heads.keys().start - skipped, heads.values().start - skipped);
        self.for_jobs(blocks.len() * heads.kv_count, |job, thread| {
            let (block, head) = (blocks[job / heads.kv_count], job % heads.kv_count);
            let sequence = sequences.range(block.sequence);
            let first_head = head * group;
            // SAFETY: rows and columns are those of one sequence and of heads in matrices of the shapes asserted above; no other
            // job has the same rows of `out` and the same heads, and none running now the same thread's scratch.
            unsafe {
                let of_sequence = qkv_data.get().add(sequence.start * qkv.stride() + head * heads.dim);
                let job = AttentionJob {
                    query: query_data.get().add(block.row * query_stride + first_head * heads.dim),
                    query_stride,
                    tokens: block.token..block.token + block.tokens,
                    heads: group,
                    key: of_sequence.add(keys),
                    value: of_sequence.add(values),
                    stride: qkv.stride(),
                    length: sequence.len(),
                    head_dim: heads.dim,
                    block_keys,
                    scale: heads.scale,
                    mask,
                    slopes: if heads.slopes.is_empty() {
                        std::ptr::null()
                    } else {
                        heads.slopes[first_head..].as_ptr()
                    },
                    biases: heads.biases.as_ref().map_or(std::ptr::null(), |biases| biases.at_zero(first_head)),
                    bias_stride: heads.biases.as_ref().map_or(0, |biases| biases.head_len()),
                    out: data.get().add(block.row * out_stride + first_head * heads.dim),
                    out_stride,
                    scratch: scratch.get().add(thread * scratch_per_thread),
                };
                if let Some(distances) = distances {
                    let [keys, queries] = distances.of_head(head);
                    let (row_of, zero) = distances.row_of();
                    let row_of = row_of.as_ptr().add(zero);
                    let embeddings = DistanceEmbeddings { keys: keys.as_ptr(), queries: queries.as_ptr(), row_of };
                    (kernels.relative_attention)(&job, &embeddings);
                    return;
                }
                // By the length alone, so that a token's result is the same in every batch.
                if coded && coded_attention::KEYS.contains(&job.length) {
                    (kernels.coded_attention)(&job);
                } else if plain && job.length <= block_keys {
                    (kernels.attention)(&job);
                } else {
                    (kernels.masked_attention)(&job);
                }
            }
        });
        self.query_blocks = blocks;
    }
}

/// Divides the queries into blocks, enough of them that with every head of keys and values they keep the threads busy, and
/// large enough that packing the keys for each does not cost much.
fn divide(sequences: &Sequences, rows: Rows, heads: &Heads, mask: Mask, threads: usize, blocks: &mut Vec<QueryBlock>) {
    blocks.clear();
    if heads.count == 0 {
        return;
    }
    let most = if threads == 1 {
        MOST_TOKENS
    } else {
        let even = (rows.count(sequences) * heads.kv_count).div_ceil(JOBS_PER_THREAD * threads);
        even.max(LEAST_QUERIES * heads.kv_count / heads.count).clamp(1, MOST_TOKENS)
    };
    let mut row = 0;
    for (sequence, tokens) in sequences.iter().enumerate() {
        let length = tokens.len();
        let wanted = rows.of(length);
        let parts = wanted.len().div_ceil(most).max(1);
        let block = wanted.len().div_ceil(parts).next_multiple_of(QUERY_ROWS).max(QUERY_ROWS);
        for token in wanted.clone().step_by(block) {
            let tokens = block.min(wanted.end - token);
            let seen = mask.visible(token + tokens - 1, length).end - mask.visible(token, length).start;
            blocks.push(QueryBlock { sequence, token, row, tokens, cost: tokens * seen });
            row += tokens;
        }
    }
    if threads > 1 {
        // The longest first: what is left at the end is short.
        blocks.sort_unstable_by_key(|block| (std::cmp::Reverse(block.cost), block.row));
    }
}
