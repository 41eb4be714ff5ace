//! May this stored answer serve this new prompt? Hierarchical grid-Bayes with a floor.
//!
//! Every entry has a curve of its own, `P(right | similarity s) = 1 / (1 + exp(-g (s - t)))`, with an unknown
//! threshold `t` and slope `g`. Both live on a grid of 33 x 7 cells. What was seen of one entry (pairs of a
//! similarity and whether the stored answer was right) gives a likelihood over the cells; what was seen of
//! all entries of the namespace gives the prior weights they start from. The estimate that is compared with
//! the floor is the posterior mean of the curve at `s`. Strength is shared through the prior alone, which is
//! learned by stochastic empirical Bayes: every label moves it a little towards its entry's posterior.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Cells along the threshold axis: 0.55 to 1.03 in steps of 0.015.
const THRESHOLDS: usize = 33;
/// Cells along the slope axis: 8 to 200 in equal ratios.
const SLOPES: usize = 7;
/// Cells in all.
pub const CELLS: usize = THRESHOLDS * SLOPES;
/// Below this cosine nothing is served and nothing is learned: the curves say nothing there.
pub const LEAST_SIMILARITY: f64 = 0.6;
/// Pairs kept for one entry; the oldest go first.
const PAIRS: usize = 64;

/// The exponents `g (s - t)` of all cells, threshold-major, clipped where a double can no longer tell.
fn exponents(similarity: f64) -> impl Iterator<Item = f64> {
    static GRID: LazyLock<[f64; SLOPES]> =
        LazyLock::new(|| std::array::from_fn(|k| 8.0 * 25_f64.powf(k as f64 / (SLOPES - 1) as f64)));
    let slopes: &[f64; SLOPES] = &GRID;
    (0..THRESHOLDS).flat_map(move |i| {
        let distance = similarity - (0.55 + 0.015 * i as f64);
        slopes.iter().map(move |slope| (slope * distance).clamp(-40.0, 40.0))
    })
}

/// `ln(1 / (1 + exp(-z)))`.
fn log_sigmoid(z: f64) -> f64 {
    -(-z).exp().ln_1p()
}

/// One verdict about one entry: at this similarity its answer was right, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Cosine of the entry's prompt and the prompt that was judged.
    pub similarity: f64,
    /// Whether the entry's answer would have been right.
    pub right: bool,
}

/// What is known of one entry: its verdicts, and the log-likelihood of every cell that they add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    pairs: Vec<Pair>,
    /// Empty as long as there are no pairs.
    log_likelihood: Vec<f64>,
}

impl Evidence {
    /// The verdicts, oldest first.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Learns of this entry alone. That is for verdicts that were asked for because they would tell much
    /// ([`Asking`](super::asking::Asking)): they are no fair sample of all entries, so the prior must not follow them.
    /// Verdicts below [`LEAST_SIMILARITY`] teach nothing.
    pub fn learn(&mut self, pair: Pair) {
        if pair.similarity < LEAST_SIMILARITY {
            return;
        }
        self.pairs.push(pair);
        if self.pairs.len() > PAIRS {
            self.pairs.remove(0);
            // Added up anew rather than subtracted, so that it is the same bits as after a restart.
            self.log_likelihood.clear();
            for at in 0..self.pairs.len() {
                self.add(self.pairs[at]);
            }
        } else {
            self.add(pair);
        }
    }

    fn add(&mut self, pair: Pair) {
        self.log_likelihood.resize(CELLS, 0.0);
        for (total, z) in self.log_likelihood.iter_mut().zip(exponents(pair.similarity)) {
            *total += log_sigmoid(if pair.right { z } else { -z });
        }
    }
}

/// What is known of all entries of a namespace together.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    weights: Vec<f64>,
    labels: u64,
}

impl Default for Prior {
    fn default() -> Self {
        Self { weights: vec![1.0 / CELLS as f64; CELLS], labels: 0 }
    }
}

impl Prior {
    /// A prior of given cell weights (made positive and summing to one), as trained elsewhere.
    /// `None` if there are not [`CELLS`] finite non-negative numbers with a positive sum.
    #[must_use]
    pub fn from_weights(weights: &[f64]) -> Option<Self> {
        let sum: f64 = weights.iter().sum();
        let valid = weights.len() == CELLS && weights.iter().all(|w| w.is_finite() && *w >= 0.0) && sum > 0.0;
        valid.then(|| Self { weights: weights.iter().map(|w| w / sum).collect(), labels: 0 })
    }

    /// The cell weights, threshold-major; they sum to 1.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// How many labels it has learned from.
    #[must_use]
    pub const fn labels(&self) -> u64 {
        self.labels
    }

    /// Posterior weights of the cells for one entry; they sum to 1.
    fn posterior(&self, evidence: &Evidence) -> Vec<f64> {
        if evidence.pairs.is_empty() {
            return self.weights.clone();
        }
        let greatest = evidence.log_likelihood.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let likelihoods = evidence.log_likelihood.iter().map(|l| (l - greatest).exp());
        let mut weights: Vec<f64> = self.weights.iter().zip(likelihoods).map(|(w, l)| w * l).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        weights
    }

    /// The estimated probability that this entry's answer is right for a prompt this similar.
    #[must_use]
    pub fn right(&self, evidence: &Evidence, similarity: f64) -> f64 {
        self.posterior(evidence).iter().zip(exponents(similarity)).map(|(weight, z)| weight / (1.0 + (-z).exp())).sum()
    }

    /// Of candidates, nearest first, the one that is likeliest right, and its estimate. A candidate is a name for it,
    /// what is known of it, its similarity, and whether it was judged to be something else than what was there when it
    /// came. Where few misses are judged, the nearest entry is often a prompt of which nothing is known and that says
    /// what a farther, known one says; so farther ones count too, but none behind one that is something else. Those
    /// below [`LEAST_SIMILARITY`] are none.
    pub fn likeliest<'a, T>(
        &self,
        candidates: impl IntoIterator<Item = (T, &'a Evidence, f64, bool)>,
    ) -> Option<(T, f64)> {
        let mut best: Option<(T, f64)> = None;
        for (name, evidence, similarity, distinct) in candidates {
            if similarity < LEAST_SIMILARITY {
                break;
            }
            let right = self.right(evidence, similarity);
            if best.as_ref().is_none_or(|(_, before)| right > *before) {
                best = Some((name, right));
            }
            if distinct {
                break;
            }
        }
        best
    }

    /// Learns from a verdict about an entry, of it and of all. Verdicts below [`LEAST_SIMILARITY`] teach nothing.
    pub fn learn(&mut self, evidence: &mut Evidence, pair: Pair) {
        if pair.similarity < LEAST_SIMILARITY {
            return;
        }
        evidence.learn(pair);
        let posterior = self.posterior(evidence);
        self.labels += 1;
        let rate = (1.0 / (self.labels as f64 + 20.0)).max(0.002);
        for (weight, seen) in self.weights.iter_mut().zip(posterior) {
            // The uniform part keeps every cell alive, so that no evidence is ever shut out.
            *weight = (1.0 - rate) * *weight + rate * (0.98 * seen + 0.02 / CELLS as f64);
        }
    }
}

/// When an answer may be served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Least estimated probability of being right.
    pub floor: f64,
    /// Greatest share of wrong answers among all requests; bites only where it is under `1 - floor`.
    pub delta: f64,
}

impl Rule {
    /// The rule for a caller who bears this share of wrong hits: the floor alone decides.
    #[must_use]
    pub const fn for_wrong_share(share: f64) -> Self {
        Self { floor: 1.0 - share, delta: share }
    }

    /// Whether to serve at this estimate; `uniform` is the request's draw in `[0, 1)`.
    #[must_use]
    pub fn serves(&self, similarity: f64, right: f64, uniform: f64) -> bool {
        similarity >= LEAST_SIMILARITY && right >= self.floor && uniform > 1.0 - self.delta / (1.0 - right).max(1e-12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_answers_raise_the_estimate_and_wrong_ones_lower_it() {
        let mut prior = Prior::default();
        let mut good = Evidence::default();
        let mut bad = Evidence::default();
        let before = prior.right(&good, 0.9);
        for _ in 0..5 {
            prior.learn(&mut good, Pair { similarity: 0.88, right: true });
            prior.learn(&mut bad, Pair { similarity: 0.92, right: false });
        }
        assert!(prior.right(&good, 0.9) > before);
        assert!(prior.right(&bad, 0.9) < before);
    }

    #[test]
    fn the_estimate_grows_with_similarity() {
        let mut prior = Prior::default();
        let mut evidence = Evidence::default();
        for (similarity, right) in [(0.7, false), (0.85, false), (0.95, true)] {
            prior.learn(&mut evidence, Pair { similarity, right });
        }
        let estimates: Vec<f64> = (60..=100).map(|s| prior.right(&evidence, f64::from(s) / 100.0)).collect();
        assert!(estimates.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn the_prior_stays_a_distribution_and_never_shuts_a_cell() {
        let mut prior = Prior::default();
        let mut evidence = Evidence::default();
        for i in 0..500 {
            prior.learn(&mut evidence, Pair { similarity: 0.6 + 0.0008 * f64::from(i), right: i % 3 != 0 });
        }
        assert!((prior.weights().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(prior.weights().iter().all(|w| *w > 0.0));
        assert_eq!(evidence.pairs().len(), PAIRS);
    }

    #[test]
    fn with_one_number_set_serving_is_deterministic() {
        let rule = Rule::for_wrong_share(0.05);
        for uniform in [0.0, 0.5, 0.999_999] {
            assert!(rule.serves(0.9, 0.951, uniform));
            assert!(!rule.serves(0.9, 0.949, uniform));
            assert!(!rule.serves(0.59, 1.0, uniform));
        }
    }
}
