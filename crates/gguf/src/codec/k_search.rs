//! The searches for scales that the K-quants' encoders make: several grids are tried for a run of numbers, and the one with the least
//! weighted squared error is kept.
//!
//! The methods are those of ggml's reference quantisers, and so is the order of every floating-point operation: the results are the same
//! to the last bit, and with them the files. That is why sums are written as loops in one direction.

/// The nearest integer, ties to even; the lower 23 bits of what it is beyond their range.
pub(super) fn nearest(value: f32) -> i32 {
    ((value + 12_582_912.0).to_bits() & 0x7f_ffff) as i32 - 0x40_0000
}

/// A grid of equally spaced numbers from `-minimum` up: code `q` stands for `scale q - minimum`.
pub(super) struct Grid {
    pub(super) scale: f32,
    /// Not negative.
    pub(super) minimum: f32,
}

/// How the search for a [`Grid`] goes: the step is the range over `most + first + 0.1 i`, for `i` from 0 to `last`.
#[derive(Clone, Copy)]
pub(super) struct Trials {
    /// The largest code.
    pub(super) most: u8,
    pub(super) first: f32,
    pub(super) last: u8,
}

/// Finds a grid for 32 numbers that reaches down to their least (or to zero if that is positive), and their codes on it.
///
/// Each trial rounds the numbers to codes and then solves for the scale and minimum that fit these codes best, every number weighing as
/// much as its size plus the root mean square of all.
pub(super) fn grid(values: &[f32; 32], trials: Trials, codes: &mut [u8; 32]) -> Grid {
    let mut squares = 0f32;
    for value in values {
        squares += value * value;
    }
    let mean = (squares / 32.0).sqrt();
    let weights = values.map(|value| mean + value.abs());

    let (mut least, mut largest) = (values[0], values[0]);
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * values[0];
    for (&x, &w) in values.iter().zip(&weights).skip(1) {
        if x < least {
            least = x;
        }
        if x > largest {
            largest = x;
        }
        sum_w += w;
        sum_x += w * x;
    }
    if least > 0.0 {
        least = 0.0;
    }
    if largest == least {
        *codes = [0; 32];
        return Grid { scale: 0.0, minimum: -least };
    }

    let most = f32::from(trials.most);
    let on_grid = |inverse: f32, least: f32| {
        values.map(|x| nearest(inverse * (x - least)).clamp(0, i32::from(trials.most)) as u8)
    };
    let error = |codes: &[u8; 32], scale: f32, minimum: f32| {
        let mut sum = 0f32;
        for ((&x, &w), &code) in values.iter().zip(&weights).zip(codes) {
            let difference = scale * f32::from(code) + minimum - x;
            sum += w * (difference * difference);
        }
        sum
    };
    let inverse = most / (largest - least);
    let (mut scale, mut minimum) = (1.0 / inverse, least);
    *codes = on_grid(inverse, least);
    let mut best = error(codes, scale, minimum);
    for trial in 0..=trials.last {
        // From the best minimum so far, not from the least number.
        let candidate = on_grid((trials.first + 0.1 * f32::from(trial) + most) / (largest - minimum), minimum);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0f32, 0f32, 0f32);
        for ((&x, &w), &code) in values.iter().zip(&weights).zip(&candidate) {
            let weighted = w * f32::from(code);
            sum_l += weighted;
            sum_l2 += weighted * f32::from(code);
            sum_xl += weighted * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_minimum > 0.0 {
                this_minimum = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let this_error = error(&candidate, this_scale, this_minimum);
            if this_error < best {
                (best, scale, minimum) = (this_error, this_scale, this_minimum);
                *codes = candidate;
            }
        }
    }
    Grid { scale, minimum: -minimum }
}

/// Numbers below this count as zero.
pub(super) const NOTHING: f32 = 1e-15;

/// Finds a scale for 16 numbers around zero, and their codes from 0 to 63, where 32 is zero.
///
/// Each of nineteen trials puts the number that is largest in size on a code near the lowest, and solves for the scale that fits best,
/// every number weighing as much as its square.
pub(super) fn scale_6_bit(values: &[f32; 16], codes: &mut [u8; 16]) -> f32 {
    let largest = values.iter().fold(0f32, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
    if largest.abs() < NOTHING {
        *codes = [0; 16];
        return 0.0;
    }
    let on_grid = |inverse: f32| values.map(|x| nearest(inverse * x).clamp(-32, 31) as i8);
    // The sums of products with the numbers, and with the codes themselves, whose ratio is the best scale.
    let sums = |codes: &[i8; 16]| {
        let (mut with_values, mut with_codes) = (0f32, 0f32);
        for (&x, &code) in values.iter().zip(codes) {
            let (w, code) = (x * x, f32::from(code));
            with_values += w * x * code;
            with_codes += w * code * code;
        }
        (with_values, with_codes)
    };
    let stored = |codes: [i8; 16]| codes.map(|code| (code + 32) as u8);

    let candidate = on_grid(-32.0 / largest);
    let (with_values, with_codes) = sums(&candidate);
    *codes = stored(candidate);
    let mut scale = if with_codes == 0.0 { 0.0 } else { with_values / with_codes };
    let mut best = scale * with_values;
    for trial in (-9..=9i8).filter(|&trial| trial != 0) {
        let candidate = on_grid(-(32.0 + 0.1 * f32::from(trial)) / largest);
        let (with_values, with_codes) = sums(&candidate);
        if with_codes > 0.0 && with_values * with_values > best * with_codes {
            *codes = stored(candidate);
            scale = with_values / with_codes;
            best = scale * with_values;
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_ties_to_even_and_never_panics() {
        assert_eq!([0.5, 1.5, -0.5, -2.5, 3.49, -7.51].map(nearest), [0, 2, 0, -2, 3, -8]);
        let _ = [f32::INFINITY, f32::NAN, f32::MIN, 1e10].map(nearest);
    }

    #[test]
    fn numbers_on_a_grid_are_found_exactly() {
        let values = std::array::from_fn(|i| (i % 16) as f32 * 0.25 - 1.0);
        let mut codes = [0; 32];
        let Grid { scale, minimum } = grid(&values, Trials { most: 15, first: -1.0, last: 20 }, &mut codes);
        assert!((scale - 0.25).abs() < 1e-6 && (minimum - 1.0).abs() < 1e-6, "{scale} {minimum}");
        assert_eq!(codes, std::array::from_fn(|i| (i % 16) as u8));
        let constant = grid(&[-3.0; 32], Trials { most: 15, first: -1.0, last: 20 }, &mut codes);
        assert_eq!((constant.scale, constant.minimum, codes), (0.0, 3.0, [0; 32]));
    }
}
