//! What the operations should compute, in double precision and in the plainest way, with how far a computation in `f32` may
//! be from it.
//!
//! The bounds follow from one fact, that every operation on `f32` rounds by at most half an `EPSILON` of its result (Higham,
//! *Accuracy and Stability of Numerical Algorithms*, chapter 3): a sum of `n` terms in any order is off by at most
//! `n` times that of the sum of their magnitudes. They allow twice as much.

use crate::{Activation, Epilogue};

/// The distance from 1 to the next `f32`.
pub(super) const EPSILON: f64 = f32::EPSILON as f64;

/// What becomes of numbers too small for `f32`, generously.
const UNDERFLOW: f64 = 1e-36;

/// A number, and how far from it a result may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounded {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Bounded {
    /// No rounding is allowed.
    pub(super) fn exact(value: f64) -> Self {
        Bounded { value, error: 0.0 }
    }
}

/// The sum of the terms, which have no error themselves.
pub(super) fn sum(terms: &[f64]) -> Bounded {
    let magnitude: f64 = terms.iter().map(|term| term.abs()).sum();
    Bounded { value: terms.iter().sum(), error: terms.len() as f64 * EPSILON * magnitude }
}

/// One output of a linear layer. `lossy`: the row is cut to codes of 8 bits before it is multiplied.
pub(super) fn product(x: &[f32], weights: &[f64], bias: f32, lossy: bool) -> Bounded {
    /// Steps of a block's largest value.
    const STEPS: f64 = 127.0;
    /// Half a step, and what rounding the scale and its reciprocal may add.
    const HALF_A_STEP: f64 = 0.505;
    let terms = || x.iter().zip(weights).map(|(&x, weight)| f64::from(x) * weight);
    let magnitude = terms().map(f64::abs).sum::<f64>() + f64::from(bias.abs());
    // A product and a sum for each term, the bias, and for codes the scales of both sides.
    let mut error = (x.len() as f64 + 8.0) * EPSILON * magnitude + UNDERFLOW * x.len() as f64;
    if lossy {
        for (x, weights) in x.chunks(32).zip(weights.chunks(32)) {
            let largest = x.iter().fold(0.0, |largest: f64, &x| largest.max(f64::from(x.abs())));
            error += HALF_A_STEP * largest / STEPS * weights.iter().map(|weight| weight.abs()).sum::<f64>();
        }
    }
    Bounded { value: terms().sum::<f64>() + f64::from(bias), error }
}

/// What an epilogue makes of an output. None of the activations has a slope above 1.13; the kernels' own error is below
/// 1e-6 and two roundings.
pub(super) fn finish(epilogue: Epilogue, before: f32, sum: Bounded) -> Bounded {
    let activated = |value: f64| Bounded { value, error: 1.13 * sum.error + 1e-6 + 2.0 * EPSILON * sum.value.abs() };
    match epilogue {
        Epilogue::Assign => sum,
        Epilogue::Add => {
            let value = f64::from(before) + sum.value;
            Bounded { value, error: sum.error + EPSILON * (value.abs() + sum.value.abs()) }
        }
        Epilogue::Multiply => {
            let (before, value) = (f64::from(before), f64::from(before) * sum.value);
            Bounded { value, error: before.abs() * sum.error + EPSILON * value.abs() + UNDERFLOW }
        }
        Epilogue::AddActivate(activation) => {
            finish(Epilogue::Activate(activation), before, finish(Epilogue::Add, before, sum))
        }
        Epilogue::Activate(Activation::Silu) => activated(sum.value / (1.0 + (-sum.value).exp())),
        Epilogue::Activate(Activation::Tanh) => activated(sum.value.tanh()),
        Epilogue::Activate(Activation::Relu) => Bounded { value: sum.value.max(0.0), error: sum.error },
        Epilogue::Activate(Activation::Gelu) => {
            activated(sum.value / 2.0 * (1.0 + erf(sum.value * std::f64::consts::FRAC_1_SQRT_2)))
        }
        Epilogue::Activate(Activation::GeluTanh) => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (sum.value + 0.044715 * sum.value.powi(3));
            activated(sum.value / 2.0 * (1.0 + inner.tanh()))
        }
    }
}

/// The error function by the series in which every term has the same sign (Abramowitz and Stegun 7.1.6).
fn erf(x: f64) -> f64 {
    // From here on it is 1 to the last digit.
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// A row of a `LayerNorm`.
pub(super) fn layer_norm(x: &[f32], gain: &[f32], shift: &[f32], epsilon: f32) -> Vec<Bounded> {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let magnitude = x.iter().map(|&x| f64::from(x.abs())).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
    let one = |((&x, &gain), &shift): ((&f32, &f32), &f32)| {
        let (gain, shift) = (f64::from(gain), f64::from(shift));
        let centred = f64::from(x) - mean;
        // The mean is off by the roundings of its sum; the deviation is so in relation to itself, and in
        // the variance a shift of the mean counts squared.
        let error = (n + 4.0) * EPSILON * magnitude + (n + 12.0) * EPSILON * centred.abs();
        Bounded {
            value: centred * inverse * gain + shift,
            error: error * inverse * gain.abs() + 2.0 * EPSILON * shift.abs() + UNDERFLOW,
        }
    };
    x.iter().zip(gain).zip(shift).map(one).collect()
}

/// A row of an `RMSNorm`.
pub(super) fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32) -> Vec<Bounded> {
    let n = x.len() as f64;
    let mean_square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / (mean_square + f64::from(epsilon)).sqrt();
    let one = |(&x, &gain): (&f32, &f32)| {
        let value = f64::from(x) * inverse * f64::from(gain);
        Bounded { value, error: (n + 8.0) * EPSILON * value.abs() + UNDERFLOW }
    };
    x.iter().zip(gain).map(one).collect()
}

/// One of a pair that is turned: the first, or the second.
pub(super) fn turn(x: f32, y: f32, angle: f64, which: usize) -> Bounded {
    let (x, y) = (f64::from(x), f64::from(y));
    let value = if which == 0 { x * angle.cos() - y * angle.sin() } else { y * angle.cos() + x * angle.sin() };
    // Cosine, sine, two products and a sum.
    Bounded { value, error: 3.0 * EPSILON * (x.abs() + y.abs()) + UNDERFLOW }
}

/// What one query of a head gathers from the values, where each key's score loses something. `coded`: queries, keys, values and weights
/// are rounded to codes.
pub(super) fn attention(
    query: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    (scale, coded): (f32, bool),
    losses: &[f64],
) -> Vec<Bounded> {
    let steps = if coded { CodeSteps::new(query, keys, values) } else { CodeSteps::default() };
    let products = |key: &[f32]| -> Vec<f64> {
        query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k) * f64::from(scale)).collect()
    };
    let scores: Vec<Bounded> = keys
        .iter()
        .zip(losses)
        .map(|(key, loss)| {
            let sum = sum(&products(key));
            let error = sum.error
                + 4.0 * EPSILON * (sum.value.abs() + loss.abs())
                + steps.of_a_score(query, key) * f64::from(scale);
            Bounded { value: sum.value - loss, error }
        })
        .collect();
    let largest = scores.iter().map(|score| score.value).fold(f64::NEG_INFINITY, f64::max);
    let off = scores.iter().map(|score| score.error + EPSILON * score.value.abs()).fold(0.0, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score.value - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    // The difference of two scores is an exponent; the exponential, the sum that divides and the sum over the values round on
    // their own.
    let relative = (2.0 * off).exp_m1() + (2.0 * keys.len() as f64 + 16.0) * EPSILON + steps.exponential;
    (0..values.first().map_or(0, |value| value.len()))
        .map(|column| {
            let terms = values.iter().zip(&weights).map(|(value, weight)| weight / total * f64::from(value[column]));
            let (value, magnitude) = terms.fold((0.0, 0.0), |(sum, all), term| (sum + term, all + term.abs()));
            let all: f64 = values.iter().map(|value| f64::from(value[column].abs()) + steps.value).sum();
            let error = steps.value + all * steps.weight_of(total) / total;
            // Once for the weight itself and once for the sum of weights.
            Bounded { value, error: 2.0 * relative * magnitude + error + UNDERFLOW }
        })
        .collect()
}

/// The same where each key's distance has an embedding as a key and one as a query.
pub(super) fn relative_attention(
    query: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    method: (f32, bool),
    [as_keys, as_queries]: [&[&[f32]]; 2],
) -> Vec<Bounded> {
    // `q . k + q . K + Q . k` as one product.
    let query = [query, query, &vec![1.0; query.len()]].concat();
    let embeddings = as_keys.iter().zip(as_queries);
    let keys: Vec<Vec<f32>> = keys
        .iter()
        .zip(embeddings)
        .map(|(key, (as_key, as_query))| {
            let third: Vec<f32> = as_query.iter().zip(*key).map(|(q, k)| q * k).collect();
            [*key, *as_key, &third].concat()
        })
        .collect();
    let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
    attention(&query, &keys, values, method, &vec![0.0; keys.len()])
}

/// What attention loses where it multiplies codes, at most: half a step of each, or all zero.
#[derive(Default)]
struct CodeSteps {
    query: f64,
    key: f64,
    value: f64,
    /// Of the sum of weights.
    weight: f64,
    /// The relative error of a rough exponential.
    exponential: f64,
}

impl CodeSteps {
    fn new(query: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Self {
        let largest = |rows: &[&[f32]]| {
            rows.iter().flat_map(|row| row.iter()).fold(0.0, |largest: f64, &x| largest.max(f64::from(x.abs())))
        };
        // As many as a sum of products leaves room for.
        let codes = ((2f64.powi(31) / query.len() as f64).sqrt() - 2.0).min(32_766.0);
        CodeSteps {
            query: 0.51 * largest(&[query]) / codes,
            key: 0.51 * largest(keys) / codes,
            value: 0.51 * largest(values) / 16_000.0,
            weight: 0.51,
            exponential: 1e-5,
        }
    }

    /// Of a product of a query and a key.
    fn of_a_score(&self, query: &[f32], key: &[f32]) -> f64 {
        let sum = |row: &[f32]| row.iter().map(|x| f64::from(x.abs())).sum::<f64>();
        sum(query) * self.key + sum(key) * self.query + query.len() as f64 * self.query * self.key
    }

    /// Of a weight, the largest of which is 1: the codes of all add up to 2^17 at most.
    fn weight_of(&self, total: f64) -> f64 {
        self.weight / (2f64.powi(17) / total).min(32_767.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, expected) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - expected).abs() < 1e-10 && (erf(-x) + expected).abs() < 1e-10, "{x}: {}", erf(x));
        }
        assert!((erf(5.999) - 1.0).abs() < 1e-15 && erf(7.0) == 1.0);

        let product = product(&[1.0, -2.0, 0.5], &[3.0, 1.0, 2.0], 0.25, false);
        assert_eq!(product.value, 2.25);
        assert!(product.error > 0.0 && product.error < 1e-4);
        assert_eq!(finish(Epilogue::Add, 1.0, product).value, 3.25);
        let negative = Bounded { value: -1.0, error: 0.0 };
        assert_eq!(finish(Epilogue::Activate(Activation::Relu), 0.0, negative).value, 0.0);
        assert!((finish(Epilogue::Activate(Activation::Gelu), 0.0, negative).value + 0.158_655_253_9).abs() < 1e-9);
        assert!((finish(Epilogue::Activate(Activation::GeluTanh), 0.0, negative).value + 0.158_808_009_4).abs() < 1e-9);

        let normed: Vec<f64> =
            layer_norm(&[1.0, 3.0], &[2.0, 2.0], &[0.0, 10.0], 0.0).iter().map(|bounded| bounded.value).collect();
        assert_eq!(normed, [-2.0, 12.0]);

        let turned = |which| turn(1.0, 2.0, std::f64::consts::FRAC_PI_2, which).value;
        assert!((turned(0) + 2.0).abs() < 1e-15 && (turned(1) - 1.0).abs() < 1e-15);

        // Equal scores: the mean of the values. One that is larger by ln 3: three quarters of it.
        let values = [&[1.0f32, 0.0][..], &[3.0, 8.0]];
        let of = |keys: &[&[f32]]| {
            attention(&[1.0], keys, &values, (1.0, false), &[0.0, 0.0]).iter().map(|b| b.value).collect::<Vec<_>>()
        };
        assert_eq!(of(&[&[5.0], &[5.0]]), [2.0, 4.0]);
        let gathered = of(&[&[0.0], &[3f32.ln()]]);
        assert!((gathered[0] - 2.5).abs() < 1e-6 && (gathered[1] - 6.0).abs() < 1e-6, "{gathered:?}");
    }

    #[test]
    fn cutting_to_codes_widens_the_bound_by_half_a_step() {
        let (x, weights) = ([1.0f32; 32], [1.0f64; 32]);
        let (whole, lossy) = (product(&x, &weights, 0.0, false), product(&x, &weights, 0.0, true));
        assert_eq!(whole.value, lossy.value);
        let wider = lossy.error - whole.error;
        assert!(wider > 32.0 * 0.5 / 127.0 && wider < 32.0 * 0.51 / 127.0, "{wider}");
    }
}
