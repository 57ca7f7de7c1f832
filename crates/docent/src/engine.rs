//! From token ids to pooled rows: how the sequences of a call are divided among the threads.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use docent_kernels::{Executor, Isa, Pooling, ThreadPool};
use docent_models::{Batch, BatchError, Model, Prefix};

use crate::Error;

/// Tokens that one thread runs through the model at a time: enough to use each weight often once it is in the cache,
/// few enough that the hidden states stay there too.
const GROUP_TOKENS: usize = 256;

/// Tokens that all threads together run through the model at a time, when they share the work inside each operation.
const SPREAD_TOKENS: usize = 1024;

/// Groups a thread runs before a call lets others have the threads.
const GROUPS_PER_TURN: usize = 16;

/// Tokens from which it pays to compute a common start once: fewer cost less than what it takes to keep them.
const LEAST_PREFIX: usize = 16;

/// Tokens of a common start that are kept at most: more than any prompt, and little memory, though documents may begin alike for
/// many thousand tokens.
const MOST_PREFIX: usize = 1024;

/// Memory that an executor may keep between calls.
const KEEP_BYTES: usize = 64 << 20;

/// Runs batches of any size through a model in bounded memory.
///
/// Many short texts are dealt out to the threads, which then never wait for each other; a single long one is worked on
/// by all threads, operation by operation. The vectors are the same bits either way.
pub(crate) struct Engine {
    model: Model,
    threads: Arc<ThreadPool>,
    isa: Isa,
    /// Idle executors that work on one thread, and on the pool.
    inline: Mutex<Vec<Executor>>,
    spread: Mutex<Vec<Executor>>,
}

impl Engine {
    pub(crate) fn new(model: Model, threads: Arc<ThreadPool>) -> Self {
        Engine { model, threads, isa: Isa::best(), inline: Mutex::default(), spread: Mutex::default() }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// The tokens a text, or a query with a document, may have: what the caller asked for, or else `usual`; at least `least`, which
    /// leaves room beside the special tokens.
    pub(crate) fn max_length(&self, asked: Option<usize>, usual: usize, least: usize) -> Result<usize, Error> {
        let max_length = asked.unwrap_or(usual);
        let description = self.model.description();
        let most = description.positions;
        if max_length < least || max_length > most {
            return Err(Error::MaxLength { max_length, model: description.name.clone(), least, most });
        }
        Ok(max_length)
    }

    /// Calls `one` for each of `count` texts, which have so many bytes together, several to a job: on the calling thread if there is little to
    /// do, and otherwise on all, which others get in between.
    pub(crate) fn tokenize<T: Send + Sync>(
        &self,
        count: usize,
        texts_per_job: usize,
        bytes: usize,
        one: impl Fn(usize) -> T + Sync,
    ) -> Vec<T> {
        // Below so many bytes all of them are tokenized before another thread has woken up, or has come to the end of what it does.
        const WORTH_SHARING: usize = 8 << 10;
        const TEXTS_PER_TURN: usize = 256;
        if count < 2 || bytes < WORTH_SHARING {
            return (0..count).map(one).collect();
        }
        let cells: Vec<OnceLock<T>> = (0..count).map(|_| OnceLock::new()).collect();
        for (turn, cells) in cells.chunks(TEXTS_PER_TURN).enumerate() {
            let first = turn * TEXTS_PER_TURN;
            self.threads.run(cells.len().div_ceil(texts_per_job), |job, _| {
                let start = job * texts_per_job;
                for (cell, index) in cells[start..].iter().take(texts_per_job).zip(first + start..) {
                    cell.get_or_init(|| one(index));
                }
            });
        }
        let cells = cells.into_iter().enumerate();
        cells.map(|(index, cell)| cell.into_inner().unwrap_or_else(|| one(index))).collect()
    }

    /// The embedding of each sequence for a task of the model, or for none: one row, or one a token without pooling.
    pub(crate) fn embed(
        &self,
        sequences: &[&[u32]],
        pooling: Pooling,
        task: Option<usize>,
    ) -> Result<Vec<Vec<f32>>, BatchError> {
        let lengths: Vec<usize> = sequences.iter().map(|ids| ids.len()).collect();
        self.run(&lengths, |executor, group| {
            let batch = Batch::new(group.iter().map(|&index| sequences[index])).for_task(task);
            let pooled = self.model.pooled(executor, &batch, pooling)?;
            let row_range = |sequence: usize| match pooling {
                Pooling::None => batch.sequences().range(sequence),
                _ => sequence..sequence + 1,
            };
            let vectors = (0..group.len())
                .map(|sequence| row_range(sequence).flat_map(|row| pooled.row(row)).copied().collect())
                .collect();
            executor.recycle(pooled);
            Ok(vectors)
        })
    }

    /// The embedding of a text without tokens, of models that have one; of others an empty vector.
    pub(crate) fn embed_nothing(&self) -> Vec<f32> {
        let mut values = Vec::new();
        self.with_executor(&self.inline, Executor::inline, |executor| {
            if let Some(pooled) = self.model.pooled_nothing(executor) {
                values = pooled.row(0).to_vec();
                executor.recycle(pooled);
            }
        });
        values
    }

    /// The outputs of the model's scoring head for each pair.
    ///
    /// What all of them begin with (the instruction and the query of a prompt) is computed once where tokens do not see what
    /// comes after them. The scores have the same bits as without.
    pub(crate) fn score(&self, pairs: &[&PairIds]) -> Result<Vec<Vec<f32>>, BatchError> {
        let mut prefix = None;
        let shared = shared_start(pairs);
        if pairs.len() > 1 && shared >= LEAST_PREFIX {
            let on_pool = |isa| Executor::on_pool(isa, Arc::clone(&self.threads));
            let mut made = Ok(None);
            self.with_executor(&self.spread, on_pool, |executor| {
                made = self.model.prefix(executor, &pairs[0].ids[..shared]);
            });
            prefix = made?;
        }
        let start = prefix.as_ref().map_or(0, Prefix::tokens);
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.ids.len() - start).collect();
        self.run(&lengths, |executor, group| {
            let of_group = || group.iter().map(|&index| pairs[index]);
            let segments = of_group().flat_map(|pair| &pair.segments[start..]).copied().collect();
            let batch = Batch::after(start, of_group().map(|pair| &pair.ids[start..])).with_segments(segments);
            let outputs = self.model.scores(executor, &batch, prefix.as_ref())?;
            let rows = (0..group.len()).map(|row| outputs.row(row).to_vec()).collect();
            executor.recycle(outputs);
            Ok(rows)
        })
    }

    /// Lets the model go on from a prompt: `next` gets the logits of each next token and says which it is, or that it was the last. All threads
    /// work on each token; between two, other callers get their turns.
    ///
    /// The model must have been made ready to write.
    pub(crate) fn write(
        &self,
        prompt: &[u32],
        mut next: impl FnMut(&[f32]) -> Result<Option<u32>, Error>,
    ) -> Result<(), Error> {
        let mut write = |executor: &mut Executor, prefix: &mut Prefix| {
            let mut ids = prompt;
            let mut last: [u32; 1];
            loop {
                let logits = self.model.next_logits(executor, ids, prefix)?;
                let chosen = next(logits.row(0));
                executor.recycle(logits);
                let Some(id) = chosen? else { return Ok(()) };
                last = [id];
                ids = &last;
            }
        };
        let mut result = Ok(());
        let on_pool = |isa| Executor::on_pool(isa, Arc::clone(&self.threads));
        self.with_executor(&self.spread, on_pool, |executor| {
            let mut prefix = Prefix::new();
            result = write(executor, &mut prefix);
            prefix.recycle(executor);
        });
        result
    }

    /// Runs groups of sequences of these lengths through `run_group`, which gives what becomes of each.
    fn run(
        &self,
        lengths: &[usize],
        run_group: impl Fn(&mut Executor, &[usize]) -> Result<Vec<Vec<f32>>, BatchError> + Sync,
    ) -> Result<Vec<Vec<f32>>, BatchError> {
        let rows: Vec<OnceLock<Vec<f32>>> = lengths.iter().map(|_| OnceLock::new()).collect();
        let failure = Mutex::new(None);
        let run_group = |executor: &mut Executor, group: &[usize]| match run_group(executor, group) {
            Ok(group_rows) => {
                for (&index, row) in group.iter().zip(group_rows) {
                    // Each sequence is in one group, so the cell is empty.
                    let _ = rows[index].set(row);
                }
            }
            Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
        };
        match plan(lengths, self.threads.threads()) {
            Plan::Divide(groups) => {
                // Between turns other callers get theirs.
                for turn in groups.chunks(GROUPS_PER_TURN * self.threads.threads()) {
                    self.threads.run(turn.len(), |group, _| {
                        self.with_executor(&self.inline, Executor::inline, |executor| {
                            run_group(executor, &turn[group]);
                        });
                    });
                }
            }
            Plan::Spread(groups) => {
                let on_pool = |isa| Executor::on_pool(isa, Arc::clone(&self.threads));
                self.with_executor(&self.spread, on_pool, |executor| {
                    groups.iter().for_each(|group| run_group(executor, group));
                });
            }
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(rows.into_iter().map(|row| row.into_inner().unwrap_or_default()).collect()),
        }
    }

    /// Lends an idle executor, or a new one.
    fn with_executor(
        &self,
        idle: &Mutex<Vec<Executor>>,
        make: impl FnOnce(Isa) -> Executor,
        work: impl FnOnce(&mut Executor),
    ) {
        let found = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut executor = found.unwrap_or_else(|| make(self.isa));
        work(&mut executor);
        executor.release(KEEP_BYTES);
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        // More than this only a crowd of callers has use for, and the memory would stay when they are gone.
        if idle.len() < self.threads.threads() {
            idle.push(executor);
        }
    }
}

/// A query and a document as the model reads them.
#[derive(Clone, Debug)]
pub(crate) struct PairIds {
    pub(crate) ids: Vec<u32>,
    /// 1 for the tokens of the document, in models that tell it from the query so.
    pub(crate) segments: Vec<u32>,
}

/// Tokens that all pairs begin with, as far as they are kept; each has one more.
fn shared_start(pairs: &[&PairIds]) -> usize {
    let Some((first, others)) = pairs.split_first() else { return 0 };
    let whole = first.ids.len().saturating_sub(1).min(MOST_PREFIX);
    others.iter().fold(whole, |shared, pair| {
        let same = first.ids.iter().zip(&pair.ids).take_while(|(a, b)| a == b).count();
        shared.min(same).min(pair.ids.len().saturating_sub(1))
    })
}

/// How the sequences of a call are run.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Each group on one thread, as threads become free.
    Divide(Vec<Vec<usize>>),
    /// One group after the other, each on all threads.
    Spread(Vec<Vec<usize>>),
}

/// Divides the sequences among the threads if that keeps all of them busy to the end, and spreads the work inside each
/// operation over the threads if it would not.
fn plan(lengths: &[usize], threads: usize) -> Plan {
    let total = lengths.iter().sum::<usize>();
    let groups = total.div_ceil(GROUP_TOKENS).next_multiple_of(threads).max(1);
    let divided = deal(lengths, groups);
    let load = |group: &Vec<usize>| group.iter().map(|&index| lengths[index]).sum::<usize>();
    // Threads take the groups in order, the largest first: the last to finish decides.
    let mut busy = vec![0; threads];
    for group in &divided {
        if let Some(earliest) = busy.iter_mut().min() {
            *earliest += load(group);
        }
    }
    let latest = busy.into_iter().max().unwrap_or(0);
    // Inside operations a sixth or so of the time goes to phases that do not divide evenly.
    if latest * threads <= total + total / 6 {
        return Plan::Divide(divided);
    }
    let mut spread: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for (index, &length) in lengths.iter().enumerate() {
        match spread.last_mut() {
            Some(group) if length <= room => group.push(index),
            _ => {
                spread.push(vec![index]);
                room = SPREAD_TOKENS.max(length);
            }
        }
        room -= length;
    }
    Plan::Spread(spread)
}

/// Deals the sequences out to `count` groups, the longest first, each to the group with the fewest tokens; the fullest
/// group comes first, empty ones are left out.
fn deal(lengths: &[usize], count: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); count];
    // (tokens, group), least first.
    let mut loads: std::collections::BinaryHeap<_> = (0..count).map(|group| std::cmp::Reverse((0, group))).collect();
    for index in order {
        if let Some(mut least) = loads.peek_mut() {
            least.0.0 += lengths[index];
            groups[least.0.1].push(index);
        }
    }
    let mut loaded: Vec<(usize, Vec<usize>)> =
        loads.into_iter().map(|std::cmp::Reverse((load, group))| (load, std::mem::take(&mut groups[group]))).collect();
    loaded.retain(|(_, group)| !group.is_empty());
    loaded.sort_by_key(|(load, group)| (std::cmp::Reverse(*load), group[0]));
    loaded.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(plan: &Plan) -> &[Vec<usize>] {
        match plan {
            Plan::Divide(groups) | Plan::Spread(groups) => groups,
        }
    }

    #[test]
    fn every_sequence_is_in_one_group() {
        for threads in [1, 2, 5] {
            for lengths in [vec![], vec![7], vec![512, 3], vec![10; 20], (1..200).collect::<Vec<usize>>()] {
                let plan = plan(&lengths, threads);
                let mut seen: Vec<usize> = groups(&plan).concat();
                seen.sort_unstable();
                assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>(), "{lengths:?} on {threads}");
                assert!(groups(&plan).iter().all(|group| !group.is_empty()));
            }
        }
    }

    #[test]
    fn one_text_is_spread_and_many_are_divided() {
        assert_eq!(plan(&[512], 2), Plan::Spread(vec![vec![0]]));
        assert_eq!(plan(&[512, 3], 2), Plan::Spread(vec![vec![0, 1]]));
        assert!(matches!(plan(&[10; 20], 2), Plan::Divide(groups) if groups.len() == 2));
        assert!(matches!(plan(&[100; 64], 2), Plan::Divide(groups) if groups.len() == 26));
        assert!(matches!(plan(&[512], 1), Plan::Divide(_)));
    }

    #[test]
    fn spread_groups_are_bounded() {
        let lengths: Vec<usize> = [vec![4000], vec![5; 40]].concat();
        let plan = plan(&lengths, 8);
        assert!(matches!(plan, Plan::Spread(_)));
        for group in groups(&plan) {
            let tokens = group.iter().map(|&index| lengths[index]).sum::<usize>();
            assert!(group.len() == 1 || tokens <= SPREAD_TOKENS);
        }
    }
}
