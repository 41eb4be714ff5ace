//! The estimators: each is the mean over the rounds of one term a round.
//!
//! With `w` the weight, `y` the reward, `q` the model's word on the chosen arm, `r = y - q`, and `d` its word on
//! the target:
//!
//! | | term |
//! |---|---|
//! | IPS | `w y` |
//! | clipped IPS | `min(w, c) y` |
//! | SNIPS | `w y / mean(w)` |
//! | DM | `d` |
//! | DR | `d + w r` |
//! | clipped DR | `d + min(w, c) r` |
//! | SNDR | `d + w / mean(w) r` |
//! | SWITCH | `d + [w <= tau] w r` |
//! | `DRos` | `d + l w / (w^2 + l) r`: `l = 0` is DM, infinite is DR |
//! | tuned `DRos` | `DRos` with the `l` whose error on these rounds looks the least: squared bias plus variance |
//! | sub-Gaussian DR | `d + w / (1 - l + l w) r` |
//!
//! DR is the one to decide by: unbiased whatever the model says, and quiet where the model is good. DM and the
//! shrunk ones are biased exactly where a policy claims a gain the model cannot see; tuned, the shrinkage sees most of
//! that bias and gives way, so it has about DR's error where it must and half of it where the model is right (Su et al.
//! 2020; `benches/gate.rs` prints it). IPS alone is hopeless on rewards that are not centred.

use super::Round;

/// How the value of a target policy is estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimator {
    /// Inverse propensity scoring.
    Ips,
    /// With weights cut at this one.
    ClippedIps(f64),
    /// With weights divided by their mean.
    Snips,
    /// The direct method: the model's word alone.
    Direct,
    /// Doubly robust.
    Dr,
    /// Doubly robust with weights cut at this one.
    ClippedDr(f64),
    /// Doubly robust with weights divided by their mean.
    SelfNormalisedDr,
    /// Doubly robust where the weight is at most this, the model's word elsewhere.
    Switch(f64),
    /// Doubly robust with optimistic shrinkage of the weights by this lambda.
    Shrunk(f64),
    /// The same with the lambda whose estimated mean squared error is the least.
    Tuned,
    /// Doubly robust with sub-Gaussian weights of this lambda, 0 to 1.
    SubGaussian(f64),
}

impl Estimator {
    /// The field's name for it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Ips => "IPS".to_owned(),
            Self::ClippedIps(cut) => format!("IPS clipped at {cut}"),
            Self::Snips => "SNIPS".to_owned(),
            Self::Direct => "DM".to_owned(),
            Self::Dr => "DR".to_owned(),
            Self::ClippedDr(cut) => format!("DR clipped at {cut}"),
            Self::SelfNormalisedDr => "SNDR".to_owned(),
            Self::Switch(tau) => format!("SWITCH({tau})"),
            Self::Shrunk(lambda) => format!("DRos({lambda})"),
            Self::Tuned => "DRos(tuned)".to_owned(),
            Self::SubGaussian(lambda) => format!("sub-Gaussian DR({lambda})"),
        }
    }

    /// The term of every round; their mean is the estimate. Self-normalised terms of rounds whose weights are
    /// all 0 are not numbers: the log says nothing of such a target.
    #[must_use]
    pub fn terms(&self, rounds: &[Round]) -> Vec<f64> {
        if *self == Self::Tuned {
            return Self::Shrunk(least_error(rounds)).terms(rounds);
        }
        let norm = match self {
            Self::Snips | Self::SelfNormalisedDr => mean(rounds.iter().map(|round| round.weight)),
            _ => 1.0,
        };
        rounds.iter().map(|round| self.term(round, norm)).collect()
    }

    /// The estimate: the mean of the terms. `None` for no rounds, or where the terms are not numbers.
    #[must_use]
    pub fn estimate(&self, rounds: &[Round]) -> Option<f64> {
        let value = mean(self.terms(rounds).into_iter());
        value.is_finite().then_some(value)
    }

    fn term(&self, round: &Round, norm: f64) -> f64 {
        let Round { weight: w, reward: y, predicted, direct, .. } = *round;
        let robust = |weight: f64| direct + weight * (y - predicted);
        match *self {
            Self::Ips => w * y,
            Self::ClippedIps(cut) => w.min(cut) * y,
            Self::Snips => w * y / norm,
            Self::Direct => direct,
            Self::Dr | Self::Tuned => robust(w),
            Self::ClippedDr(cut) => robust(w.min(cut)),
            Self::SelfNormalisedDr => robust(w / norm),
            Self::Switch(tau) => robust(if w <= tau { w } else { 0.0 }),
            Self::Shrunk(lambda) if lambda == f64::INFINITY => robust(w),
            Self::Shrunk(lambda) if w == 0.0 || lambda == 0.0 => robust(0.0),
            Self::Shrunk(lambda) => robust(lambda * w / (w * w + lambda)),
            Self::SubGaussian(lambda) => robust(w / (1.0 - lambda + lambda * w)),
        }
    }
}

/// The lambda of the least estimated mean squared error: the variance of the mean of the terms, and the square of what
/// shrinking the weights moves it by, which is the bias as far as these rounds show it.
fn least_error(rounds: &[Round]) -> f64 {
    let robust = Estimator::Dr.terms(rounds);
    let count = rounds.len() as f64;
    let error = |lambda: f64| {
        let terms = Estimator::Shrunk(lambda).terms(rounds);
        let value = mean(terms.iter().copied());
        let variance = mean(terms.iter().map(|term| (term - value).powi(2))) / count;
        mean(terms.iter().zip(&robust).map(|(shrunk, robust)| shrunk - robust)).powi(2) + variance
    };
    let errors = LAMBDAS.map(|lambda| (error(lambda), lambda));
    errors.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(f64::INFINITY, |(_, lambda)| lambda)
}

/// What is tried: from the model's word alone to doubly robust.
const LAMBDAS: [f64; 8] = [f64::INFINITY, 10_000.0, 1_000.0, 100.0, 30.0, 10.0, 3.0, 0.0];

/// How many rounds of weight 1 the weighed rounds are worth: `(sum w)^2 / sum w^2`; 0 where all weights are 0.
#[must_use]
pub fn effective_sample_size<'a>(rounds: impl IntoIterator<Item = &'a Round>) -> f64 {
    let (sum, squares) = rounds
        .into_iter()
        .fold((0.0, 0.0), |(sum, squares), round| (sum + round.weight, squares + round.weight * round.weight));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// The largest weight; 0 for no rounds.
#[must_use]
pub fn largest_weight(rounds: &[Round]) -> f64 {
    rounds.iter().map(|round| round.weight).fold(0.0, f64::max)
}

/// The mean; not a number for none.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two arms, three rounds, worked out by hand.
    fn by_hand() -> [Round; 3] {
        let round = |action, reward, logged, target| Round::new(action, reward, logged, target, &[0.5, 1.0]);
        [
            // w = 2, d = .5, r = .5
            round(0, 1.0, &[0.5, 0.5], &[1.0, 0.0]).expect("usable"),
            // w = 4, d = 1, r = -1
            round(1, 0.0, &[0.75, 0.25], &[0.0, 1.0]).expect("usable"),
            // w = 0, d = .5, r = -.5
            round(1, 0.5, &[0.2, 0.8], &[1.0, 0.0]).expect("usable"),
        ]
    }

    #[test]
    fn every_estimator_gives_what_the_hand_gives() {
        let expected = [
            (Estimator::Ips, (2.0 + 0.0 + 0.0) / 3.0),
            (Estimator::ClippedIps(1.5), 1.5 / 3.0),
            (Estimator::Snips, 2.0 / 6.0),
            (Estimator::Direct, 2.0 / 3.0),
            (Estimator::Dr, (1.5 - 3.0 + 0.5) / 3.0),
            (Estimator::ClippedDr(3.0), (1.5 - 2.0 + 0.5) / 3.0),
            (Estimator::SelfNormalisedDr, (1.0 - 1.0 + 0.5) / 3.0),
            (Estimator::Switch(2.0), (1.5 + 1.0 + 0.5) / 3.0),
            (Estimator::Shrunk(4.0), (0.5 + 8.0 / 8.0 * 0.5 + 1.0 - 16.0 / 20.0 + 0.5) / 3.0),
            (Estimator::SubGaussian(0.5), (0.5 + 2.0 / 1.5 * 0.5 + 1.0 - 4.0 / 2.5 + 0.5) / 3.0),
        ];
        for (estimator, value) in expected {
            let estimate = estimator.estimate(&by_hand()).expect("an estimate");
            assert!((estimate - value).abs() < 1e-15, "{}: {estimate} {value}", estimator.name());
        }
        assert_eq!(effective_sample_size(&by_hand()), 36.0 / 20.0);
        assert_eq!(largest_weight(&by_hand()), 4.0);
    }

    /// The root mean squared errors of tuned shrinkage and of DR, where an arm of weight 5 is drawn one time in five,
    /// rewards are 0 or 1, .6 on average, and this is the model's word.
    fn errors(says: f64) -> (f64, f64) {
        let round = |seed: crate::base::Seed| {
            let weight = if seed.uniform("arm") < 0.2 { 5.0 } else { 0.0 };
            let reward = f64::from(u8::from(seed.uniform("reward") < 0.6));
            Round { weight, reward, predicted: says, direct: says, heaviest: 5.0, deepest: 0.0 }
        };
        let logs: Vec<Vec<Round>> =
            (0..60).map(|log| (0..400).map(|n| round(crate::base::Seed(log << 32 | n))).collect()).collect();
        let error = |estimator: Estimator| {
            let off = |log: &Vec<Round>| (estimator.estimate(log).expect("an estimate") - 0.6).powi(2);
            mean(logs.iter().map(off)).sqrt()
        };
        (error(Estimator::Tuned), error(Estimator::Dr))
    }

    #[test]
    fn tuned_shrinkage_gains_where_the_model_is_right_and_loses_little_where_it_is_wrong() {
        let (tuned, robust) = errors(0.6);
        assert!(tuned < 0.85 * robust, "{tuned} beside {robust}");
        let (tuned, robust) = errors(0.2);
        assert!(tuned < 1.15 * robust, "{tuned} beside {robust}");
        assert_eq!(Estimator::Tuned.estimate(&[]), None);
    }

    #[test]
    fn a_log_that_says_nothing_gives_no_estimate() {
        assert_eq!(Estimator::Dr.estimate(&[]), None);
        let never = [Round { weight: 0.0, ..by_hand()[0] }];
        assert_eq!(Estimator::Snips.estimate(&never), None);
        assert_eq!(effective_sample_size(&never), 0.0);
    }

    proptest! {
        #[test]
        fn shrinkage_goes_from_the_models_word_to_doubly_robust(
            weights in proptest::collection::vec((0.0..50.0, 0.0..1.0, 0.0..1.0, 0.0..1.0), 1..40)
        ) {
            let rounds: Vec<Round> =
                weights
                    .iter()
                    .map(|&(weight, reward, predicted, direct)| Round { weight, reward, predicted, direct, heaviest: weight, deepest: 0.0 })
                    .collect();
            let value = |estimator: Estimator| estimator.estimate(&rounds).expect("an estimate");
            prop_assert_eq!(value(Estimator::Shrunk(0.0)), value(Estimator::Direct));
            prop_assert_eq!(value(Estimator::Shrunk(f64::INFINITY)), value(Estimator::Dr));
            prop_assert!((value(Estimator::Shrunk(1e12)) - value(Estimator::Dr)).abs() < 1e-6);
            prop_assert_eq!(value(Estimator::SubGaussian(0.0)), value(Estimator::Dr));
            prop_assert_eq!(value(Estimator::Switch(f64::INFINITY)), value(Estimator::Dr));
            let ess = effective_sample_size(&rounds);
            prop_assert!(ess <= rounds.len() as f64 + 1e-9);
        }
    }
}
