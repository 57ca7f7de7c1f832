//! Search through vectors: the rows whose product with a query is largest, found by looking at all of them.
//!
//! A million rows of 384 signed bytes are 384 MB, which two cores read in some tens of milliseconds: no index is needed that would
//! have to be built, would miss some, and would have to be asked for more than is wanted where only some rows may be found.

#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use crate::generic::dot::DotRows;
use crate::kernels::Kernels;
use crate::{Isa, ThreadPool};

/// Rows that a thread takes at a time.
const ROWS_PER_JOB: usize = 8192;

/// Products that are computed before they are compared with the best.
const ROWS_PER_STEP: usize = 256;

/// Vectors to search through, one after the other.
#[derive(Clone, Copy, Debug)]
pub enum VectorRows<'a> {
    /// Signed bytes, with a factor for each row, as [`quantize_vector`] makes them.
    Bytes {
        /// The bytes of all rows.
        codes: &'a [i8],
        /// A factor for each row.
        scales: &'a [f32],
    },
    /// Floats.
    Floats(&'a [f32]),
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its place among the rows.
    pub row: usize,
    /// Its product with the query; the cosine if both have unit length.
    pub product: f32,
}

impl VectorRows<'_> {
    /// How many rows there are, of `columns` values each.
    ///
    /// # Panics
    /// If the values do not make whole rows.
    fn count(&self, columns: usize) -> usize {
        let (values, rows) = match self {
            VectorRows::Bytes { codes, scales } => (codes.len(), Some(scales.len())),
            VectorRows::Floats(values) => (values.len(), None),
        };
        let count = values.checked_div(columns).unwrap_or(0);
        assert_eq!(values, count * columns, "values of rows of {columns}");
        assert!(rows.is_none_or(|rows| rows == count), "a factor for each row");
        count
    }

    /// The products of some rows with the query.
    ///
    /// # Safety
    /// The kernels must be for this host; the rows from `first` on must be there, as many as `out` has places.
    unsafe fn products(&self, kernels: &Kernels, query: &[f32], first: usize, out: &mut [f32]) {
        let (columns, count) = (query.len(), out.len());
        let (vector, out_ptr) = (query.as_ptr(), out.as_mut_ptr());
        match self {
            VectorRows::Bytes { codes, scales } => {
                let rows = codes[first * columns..].as_ptr();
                // SAFETY: passed on from the caller.
                unsafe { (kernels.dot_i8)(&DotRows { vector, rows, columns, count, out: out_ptr }) };
                out.iter_mut().zip(&scales[first..]).for_each(|(product, scale)| *product *= scale);
            }
            VectorRows::Floats(values) => {
                let rows = values[first * columns..].as_ptr();
                // SAFETY: passed on from the caller.
                unsafe { (kernels.dot_f32)(&DotRows { vector, rows, columns, count, out: out_ptr }) };
            }
        }
    }
}

/// The `count` rows whose products with `query` are largest, among those that `wanted` says yes to: largest first, of equal ones the
/// earlier first. Rows whose product is NaN are never found.
///
/// A product has the same bits whatever the other rows are and on any number of threads.
///
/// # Panics
/// If the rows are not of the query's length, or their factors not as many as they.
pub fn nearest(
    isa: Isa,
    threads: &ThreadPool,
    rows: VectorRows<'_>,
    query: &[f32],
    count: usize,
    wanted: impl Fn(usize) -> bool + Sync,
) -> Vec<Neighbour> {
    let total = rows.count(query.len());
    let count = count.min(total);
    if count == 0 {
        return Vec::new();
    }
    let kernels = isa.kernels();
    let found = Mutex::new(Vec::new());
    threads.run(total.div_ceil(ROWS_PER_JOB), |job, _| {
        let mut best = BinaryHeap::with_capacity(count.min(ROWS_PER_JOB) + 1);
        let mut products = [0.0; ROWS_PER_STEP];
        let end = total.min((job + 1) * ROWS_PER_JOB);
        for first in (job * ROWS_PER_JOB..end).step_by(ROWS_PER_STEP) {
            let products = &mut products[..ROWS_PER_STEP.min(end - first)];
            // SAFETY: `kernels` has checked the instruction set; the rows are below `total`.
            unsafe { rows.products(kernels, query, first, products) };
            for (row, &product) in (first..).zip(&*products) {
                take(&mut best, count, Neighbour { row, product }, &wanted);
            }
        }
        found.lock().unwrap_or_else(PoisonError::into_inner).extend(best.into_iter().map(|worst| worst.0));
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by(order);
    found.truncate(count);
    found
}

/// Best first.
fn order(a: &Neighbour, b: &Neighbour) -> Ordering {
    b.product.total_cmp(&a.product).then(a.row.cmp(&b.row))
}

/// The order of a heap whose first is the worst.
struct Worst(Neighbour);

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

/// Keeps a row if it is among the best `count`. Rows come in their order, so one that equals the worst is not better.
fn take(best: &mut BinaryHeap<Worst>, count: usize, row: Neighbour, wanted: &impl Fn(usize) -> bool) {
    let is_better = match best.peek() {
        Some(worst) if best.len() == count => row.product > worst.0.product,
        _ => !row.product.is_nan(),
    };
    if is_better && wanted(row.row) {
        if best.len() == count {
            best.pop();
        }
        best.push(Worst(row));
    }
}

/// Rounds a vector to signed bytes, and returns the factor that makes them what they were, within half of it: the largest magnitude / 127.
/// A vector that is not finite, or so small that its factor would not be a normal number, becomes zeros with the factor 0.
///
/// # Panics
/// If the lengths differ.
pub fn quantize_vector(values: &[f32], codes: &mut [i8]) -> f32 {
    assert_eq!(values.len(), codes.len(), "a byte for each value");
    let largest = values
        .iter()
        .fold(0.0f32, |largest, value| if *value > largest || *value < -largest { value.abs() } else { largest });
    let scale = largest / 127.0;
    if !scale.is_normal() || values.iter().any(|value| value.is_nan()) {
        codes.fill(0);
        return 0.0;
    }
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (value / scale).round_ties_even() as i8;
    }
    scale
}
