//! Time taken, again and again, and what the samples say.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Runs before the first that counts: caches, clocks and branch predictors settle.
    pub(super) warm_ups: usize,
    /// Runs that count, at least.
    pub(super) runs: usize,
    /// Time to go on for after that, so that the percentiles of a fast operation mean something.
    pub(super) time: Duration,
}

/// Enough samples for any percentile; no operation needs more.
const MOST_RUNS: usize = 2000;

/// The samples of one operation, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Timing {
    pub(super) runs: usize,
    pub(super) mean_ms: f64,
    pub(super) median_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) min_ms: f64,
    pub(super) max_ms: f64,
}

impl Effort {
    /// Runs `work` as often as the effort says.
    pub(super) fn measure<E>(self, mut work: impl FnMut() -> Result<(), E>) -> Result<Timing, E> {
        for _ in 0..self.warm_ups {
            work()?;
        }
        let mut samples = Vec::with_capacity(self.runs);
        let begin = Instant::now();
        while samples.len() < self.runs.max(1) || (begin.elapsed() < self.time && samples.len() < MOST_RUNS) {
            let start = Instant::now();
            work()?;
            samples.push(milliseconds(start.elapsed()));
        }
        Ok(Timing::of(samples))
    }
}

impl Timing {
    /// What `samples`, of which there is at least one, say.
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Timing {
            runs: samples.len(),
            mean_ms: samples.iter().sum::<f64>() / samples.len() as f64,
            median_ms: median(&samples),
            p95_ms: percentile(&samples, 0.95),
            p99_ms: percentile(&samples, 0.99),
            min_ms: samples[0],
            max_ms: samples[samples.len() - 1],
        }
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The middle of sorted samples; between the two middle ones of an even number.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
}

/// The smallest sample that at least that part of sorted samples does not exceed (the nearest rank).
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up_by_rank() {
        let timing = Timing::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((timing.runs, timing.median_ms, timing.mean_ms), (100, 50.5, 50.5));
        assert_eq!((timing.min_ms, timing.p95_ms, timing.p99_ms, timing.max_ms), (1.0, 95.0, 99.0, 100.0));
        let one = Timing::of(vec![7.0]);
        assert_eq!((one.median_ms, one.p95_ms, one.p99_ms), (7.0, 7.0, 7.0));
        let fifteen = Timing::of((1..=15).map(f64::from).collect());
        assert_eq!((fifteen.median_ms, fifteen.p95_ms, fifteen.p99_ms), (8.0, 15.0, 15.0));
    }

    #[test]
    fn warm_ups_do_not_count_and_errors_end_it() {
        let mut calls = 0;
        let effort = Effort { warm_ups: 3, runs: 5, time: Duration::ZERO };
        let timing = effort.measure(|| {
            calls += 1;
            Ok::<_, ()>(())
        });
        assert_eq!((timing.unwrap().runs, calls), (5, 8));
        assert_eq!(effort.measure(|| Err("no")), Err("no"));
    }
}
