//! Products of many rows with one vector, as a search through vectors needs them.

use super::Simd;
use super::simd::LANES;

/// Rows that are multiplied side by side, to hide the latency of a product.
const ROWS: usize = 4;

/// A number of rows and the vector that each is multiplied with.
pub(crate) struct DotRows<T> {
    /// `columns` values.
    pub(crate) vector: *const f32,
    /// `count` rows of `columns` values, one after the other.
    pub(crate) rows: *const T,
    pub(crate) columns: usize,
    pub(crate) count: usize,
    /// Room for `count` products.
    pub(crate) out: *mut f32,
}

/// What a row is made of.
pub(crate) trait Component: Copy {
    /// Sixteen of them as `f32`.
    ///
    /// # Safety
    /// The instruction set must be present; sixteen values must be readable.
    unsafe fn load<S: Simd>(from: *const Self) -> S::F32;
    fn widen(self) -> f32;
}

impl Component for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const f32) -> S::F32 {
        // SAFETY: passed on from the caller.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Component for i8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const i8) -> S::F32 {
        // SAFETY: passed on from the caller.
        unsafe { S::load_i8_as_f32(from) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }
}

/// Computes all products. The order in which a row's terms are added depends on the number of columns alone.
///
/// # Safety
/// The instruction set must be present; memory must be as [`DotRows`] says.
#[inline(always)]
pub(crate) unsafe fn dot_rows<S: Simd, T: Component>(args: &DotRows<T>) {
    let whole = args.count / ROWS * ROWS;
    // SAFETY: rows below `count`.
    unsafe {
        for row in (0..whole).step_by(ROWS) {
            some_rows::<S, T, ROWS>(args, row);
        }
        for row in whole..args.count {
            some_rows::<S, T, 1>(args, row);
        }
    }
}

/// # Safety
/// As for [`dot_rows`]; `N` rows from `first` on must be there.
#[inline(always)]
unsafe fn some_rows<S: Simd, T: Component, const N: usize>(args: &DotRows<T>, first: usize) {
    let columns = args.columns;
    let whole = columns / LANES * LANES;
    // SAFETY: all offsets are below `columns`, in rows that are there.
    unsafe {
        let rows = args.rows.add(first * columns);
        let mut sums = [S::splat(0.0); N];
        for i in (0..whole).step_by(LANES) {
            let x = S::load(args.vector.add(i));
            for n in 0..N {
                sums[n] = S::mul_add(T::load::<S>(rows.add(n * columns + i)), x, sums[n]);
            }
        }
        for n in 0..N {
            let mut sum = S::sum(sums[n]);
            for i in whole..columns {
                sum += (*rows.add(n * columns + i)).widen() * *args.vector.add(i);
            }
            *args.out.add(first + n) = sum;
        }
    }
}
