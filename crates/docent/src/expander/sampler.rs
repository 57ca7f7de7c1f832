//! Choosing the next token.
//!
//! The steps and their order are llama.cpp's, with which the models that expand queries are used: the presence penalty, the `top_k` most
//! likely tokens, of these the most likely that have `top_p` of the probability together (nucleus sampling, Holtzman et al.,
//! arXiv:1904.09751), and a draw from what is left at the temperature.

use std::collections::VecDeque;

use super::ExpandOptions;

/// Tokens that the presence penalty looks back at.
const PENALTY_TOKENS: usize = 64;

/// Draws tokens; the same seed and the same logits give the same tokens.
pub(super) struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    presence_penalty: f32,
    recent: VecDeque<u32>,
    random: u64,
    candidates: Vec<Candidate>,
}

/// A token that may be next, and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
}

/// A logit is not a finite number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotFinite;

impl Sampler {
    pub(super) fn new(options: &ExpandOptions) -> Self {
        Sampler {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            presence_penalty: options.presence_penalty,
            recent: VecDeque::with_capacity(PENALTY_TOKENS),
            random: options.seed,
            candidates: Vec::new(),
        }
    }

    /// The next token, one of `allowed`; `None` if there are none of these. The logits are those of all tokens.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        allowed: impl Iterator<Item = u32>,
    ) -> Result<Option<u32>, NotFinite> {
        self.candidates.clear();
        let known = |id: u32| logits.get(id as usize).map(|&logit| Candidate { id, logit });
        self.candidates.extend(allowed.filter_map(known));
        if self.candidates.iter().any(|candidate| !candidate.logit.is_finite()) {
            return Err(NotFinite);
        }
        for candidate in &mut self.candidates {
            if self.recent.contains(&candidate.id) {
                candidate.logit -= self.presence_penalty;
            }
        }
        let chosen = if self.temperature > 0.0 { self.draw() } else { self.candidates.iter().copied().min_by(before) };
        if let Some(chosen) = chosen {
            if self.recent.len() == PENALTY_TOKENS {
                self.recent.pop_front();
            }
            self.recent.push_back(chosen.id);
        }
        Ok(chosen.map(|chosen| chosen.id))
    }

    fn draw(&mut self) -> Option<Candidate> {
        let candidates = &mut self.candidates;
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, before);
            candidates.truncate(self.top_k);
        }
        candidates.sort_unstable_by(before);
        let largest = candidates.first()?.logit;
        let weight = |candidate: &Candidate, temperature: f32| {
            (f64::from(candidate.logit - largest) / f64::from(temperature)).exp()
        };
        let total: f64 = candidates.iter().map(|candidate| weight(candidate, 1.0)).sum();
        let mut together = 0.0;
        let enough = candidates.iter().position(|candidate| {
            together += weight(candidate, 1.0);
            together >= f64::from(self.top_p) * total
        });
        candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
        let total: f64 = candidates.iter().map(|candidate| weight(candidate, self.temperature)).sum();
        let mut left = unit(next(&mut self.random)) * total;
        let drawn = candidates.iter().find(|candidate| {
            left -= weight(candidate, self.temperature);
            left < 0.0
        });
        // Rounding may leave a little over.
        drawn.or(candidates.last()).copied()
    }
}

/// The more likely first, of equals the lower id.
fn before(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014). Ours, because an expansion is to stay what it was: libraries of random numbers
/// reserve the right to other streams.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number from 0 to 1, without 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_the_reference() {
        // The first of the published C code (prng.di.unimi.it/splitmix64.c) from the seed 1234567.
        let mut state = 1_234_567;
        let found: Vec<u64> = (0..3).map(|_| next(&mut state)).collect();
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    /// The probability of each token, as the steps are described: over all tokens, in plain sums.
    fn expected(options: &ExpandOptions, logits: &[f32], allowed: &[u32], recent: &[u32]) -> Vec<f64> {
        let mut tokens: Vec<(u32, f64)> = allowed
            .iter()
            .map(|&id| {
                let penalty = if recent.contains(&id) { options.presence_penalty } else { 0.0 };
                (id, f64::from(logits[id as usize] - penalty))
            })
            .collect();
        tokens.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        if options.top_k > 0 {
            tokens.truncate(options.top_k);
        }
        let total: f64 = tokens.iter().map(|(_, logit)| logit.exp()).sum();
        let mut kept = Vec::new();
        let mut sum = 0.0;
        for (id, logit) in tokens {
            if sum < f64::from(options.top_p) {
                sum += logit.exp() / total;
                kept.push((id, (logit / f64::from(options.temperature)).exp()));
            }
        }
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut probabilities = vec![0.0; logits.len()];
        for (id, weight) in kept {
            probabilities[id as usize] = weight / total;
        }
        probabilities
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let mut state = 7;
        let logits: Vec<f32> = (0..60).map(|_| (unit(next(&mut state)) * 6.0 - 3.0) as f32).collect();
        let allowed: Vec<u32> = (0..60).filter(|id| id % 7 != 3).collect();
        for (temperature, top_k, top_p, presence_penalty) in
            [(0.7, 20, 0.8, 0.5), (1.0, 0, 1.0, 0.0), (1.5, 5, 1.0, 2.0), (0.3, 0, 0.6, 0.5), (0.7, 1, 0.8, 0.0)]
        {
            let options = ExpandOptions { temperature, top_k, top_p, presence_penalty, ..ExpandOptions::default() };
            // Two tokens that are likely have been written already.
            let recent: Vec<u32> = {
                let mut by_logit = allowed.clone();
                by_logit.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
                vec![by_logit[0], by_logit[2]]
            };
            let expected = expected(&options, &logits, &allowed, &recent);
            const DRAWS: usize = 40_000;
            let mut counts = vec![0u32; logits.len()];
            let mut sampler = Sampler::new(&options);
            for _ in 0..DRAWS {
                sampler.recent = recent.iter().copied().collect();
                counts[sampler.choose(&logits, allowed.iter().copied()).unwrap().unwrap() as usize] += 1;
            }
            for (id, (&count, &probability)) in counts.iter().zip(&expected).enumerate() {
                let found = f64::from(count) / DRAWS as f64;
                // Five standard deviations, and none at all where there is nothing to draw.
                let bound = 5.0 * (probability * (1.0 - probability) / DRAWS as f64).sqrt();
                assert!((found - probability).abs() <= bound, "{options:?}: {id}: {found} {probability}");
            }
        }
    }

    #[test]
    fn without_temperature_the_most_likely_is_taken_and_the_first_of_equals() {
        let options = ExpandOptions { temperature: 0.0, ..ExpandOptions::default() };
        let mut sampler = Sampler::new(&options);
        let logits = [0.0, 3.0, 3.2, 3.0, 9.0];
        let mut chosen = || sampler.choose(&logits, 0..4).unwrap().unwrap();
        // Each costs half a logit once it has been written.
        assert_eq!([chosen(), chosen(), chosen(), chosen()], [2, 1, 3, 2]);
        assert_eq!(sampler.choose(&logits, 0..0), Ok(None));
        assert_eq!(sampler.choose(&[f32::NAN, 1.0], 0..2), Err(NotFinite));
        assert_eq!(sampler.choose(&[f32::NAN, 1.0], 1..9), Ok(Some(1)));
    }
}
