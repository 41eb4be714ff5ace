//! What a report says of a candidate: numbers, and how far off they may be.
//!
//! Everything here is made from weighed rounds alone. [`mod@super::evaluate`] brings it together, [`super::words`] says
//! it to people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Round;
use super::bounds::{Interval, bootstrap, maurer_pontil_lower, normal_interval};
use super::estimate::{Estimator, effective_sample_size, mean};
use super::gate::lift;
use super::log::LeftOut;
use crate::base::Seed;
use crate::policy::evidence::MeanInterval;

/// A number and how far off it may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The number.
    pub mean: f64,
    /// Its normal interval; `None` for fewer than two rounds.
    pub interval: Option<Interval>,
}

impl Figure {
    /// The mean of these, with its normal interval of this error probability; `None` for none.
    #[must_use]
    pub fn of(terms: &[f64], delta: f64) -> Option<Self> {
        let mean = mean(terms.iter().copied());
        mean.is_finite().then(|| Self { mean, interval: normal_interval(terms, delta) })
    }
}

/// One estimator's word.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimated {
    /// The estimator.
    pub estimator: String,
    /// What it says; `None` = the log says nothing of such a target.
    pub value: Option<Figure>,
}

/// The gain over what served, in the ways to bound it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// The paired doubly robust difference, with its normal interval.
    pub normal: Figure,
    /// The percentile bootstrap's interval. `None` beyond [`RESAMPLED`] rounds, where it is the normal one's.
    pub bootstrap: Option<Interval>,
    /// The empirical Bernstein interval: holds for every number of rounds.
    pub bernstein: Option<Interval>,
    /// The betting confidence sequence: holds at all times at once. `None` beyond [`BETTING`] rounds.
    pub betting: Option<Interval>,
}

/// A part of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// `tenant`, `intent` or `channel`.
    pub by: &'static str,
    /// Its name.
    pub name: String,
    /// Rounds in it.
    pub rounds: usize,
    /// What served was worth there.
    pub served: f64,
    /// The candidate's gain there, without an interval where the rounds are worth fewer than [`TOLD`]; in a channel, on
    /// that channel's own scale.
    pub gain: Figure,
}

/// A policy under one weight of cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Quality given up for the dearest candidate's cost; `None` = the callers' own.
    pub cost_weight: Option<f64>,
    /// Quality, doubly robust.
    pub quality: Figure,
    /// US dollars a request, doubly robust; `None` = prices or costs are unknown.
    pub cost: Option<Figure>,
    /// The share of what it wants that the log tries.
    pub support: f64,
}

/// A candidate, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// Its name.
    pub policy: String,
    /// Every estimator's word.
    pub estimates: Vec<Estimated>,
    /// The gain over what served; `None` = the log says nothing of it, as its rounds are worth fewer than [`TOLD`].
    pub gain: Option<Gain>,
    /// What it would have cost, US dollars a request; `None` = prices or costs are unknown, or the log says too little.
    pub cost: Option<Figure>,
    /// How many rounds of weight 1 its rounds are worth.
    pub effective_sample_size: f64,
    /// Its largest weight.
    pub largest_weight: f64,
    /// The share of what it wants that the log tries.
    pub support: f64,
    /// Its gain by tenant, intent and channel.
    pub segments: Vec<Segment>,
    /// Its frontier of cost and quality.
    pub grid: Vec<Point>,
    /// `promote`, `keep` or `more`.
    pub verdict: &'static str,
    /// Why, in sentences.
    pub why: Vec<String>,
    /// About how many more events it takes to be certain, where more would help.
    pub more: Option<u64>,
    /// `(events, natural logarithm of the evidence)`.
    pub evidence: Vec<(u64, f64)>,
}

/// How much of a model's answers was judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgedShare {
    /// The model.
    pub model: String,
    /// Its whole answers.
    pub answers: u64,
    /// The share of them that was judged.
    pub judged: f64,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Decisions that were judged and can be weighed.
    pub rounds: usize,
    /// What counted as worth.
    pub reward: String,
    /// The floor under the logged probabilities that was promised.
    pub floor: f64,
    /// What served was worth.
    pub served: Option<Figure>,
    /// What it cost, US dollars a request.
    pub served_cost: Option<Figure>,
    /// Deployments in the log whose prices are not known.
    pub unpriced: Vec<String>,
    /// What was left out.
    pub left_out: LeftOut,
    /// How much of each model's answers was judged: far apart, the judges choose, and all of this leans their way.
    pub judged: Vec<JudgedShare>,
    /// The evidence that the gate asked for, natural logarithm.
    pub threshold: f64,
    /// Every candidate.
    pub candidates: Vec<Judgement>,
}

/// The estimators of the report.
pub const ESTIMATORS: [Estimator; 7] = [
    Estimator::Ips,
    Estimator::Snips,
    Estimator::Direct,
    Estimator::Dr,
    Estimator::SelfNormalisedDr,
    Estimator::Switch(10.0),
    Estimator::Tuned,
];

/// Rounds of weight 1 below which the log says nothing of a target by itself: what there is, is the reward model's word,
/// and how far off that may be is not known.
pub const TOLD: f64 = 10.0;
/// Rounds beyond which the betting sequence, a thousand bets a round, is not worth its time.
pub const BETTING: usize = 20_000;
/// Rounds beyond which nothing is resampled: a mean of so many is normal.
pub const RESAMPLED: usize = 100_000;
/// Draws of all resamples together, and resamples at most.
const DRAWS: usize = 10_000_000;
const RESAMPLES: usize = 1_000;

/// The candidate's gain in each part of the traffic; `names` is the part of every round.
pub(super) fn segments(by: &'static str, names: &[String], rounds: &[Round], delta: f64) -> Vec<Segment> {
    let mut parts: BTreeMap<&str, Vec<&Round>> = BTreeMap::new();
    for (name, round) in names.iter().zip(rounds) {
        parts.entry(name).or_default().push(round);
    }
    let segment = |(name, rounds): (&str, Vec<&Round>)| {
        let lifts: Vec<f64> = rounds.iter().map(|round| lift(round)).collect();
        let gain = Figure::of(&lifts, delta)?;
        let told = effective_sample_size(rounds.iter().copied()) >= TOLD;
        Some(Segment {
            by,
            name: name.to_owned(),
            rounds: rounds.len(),
            served: mean(rounds.iter().map(|round| round.reward)),
            gain: Figure { interval: gain.interval.filter(|_| told), ..gain },
        })
    };
    parts.into_iter().filter_map(segment).collect()
}

/// What an estimator says, with its interval.
pub(super) fn estimated(estimator: &Estimator, rounds: &[Round], delta: f64) -> Estimated {
    let mut terms = estimator.terms(rounds);
    let value = Some(mean(terms.iter().copied())).filter(|value| value.is_finite()).map(|value| {
        let norm = mean(rounds.iter().map(|round| round.weight));
        // The spread of a ratio of two means is not that of its terms: the weights vary too, and take with them what
        // the ratio is.
        let ratio = match estimator {
            Estimator::Snips => value,
            Estimator::SelfNormalisedDr => value - mean(rounds.iter().map(|round| round.direct)),
            _ => 0.0,
        };
        for (term, round) in terms.iter_mut().zip(rounds).filter(|_| ratio != 0.0) {
            *term -= (round.weight / norm - 1.0) * ratio;
        }
        let told = effective_sample_size(rounds) >= TOLD;
        Figure { mean: value, interval: normal_interval(&terms, delta).filter(|_| told) }
    });
    Estimated { estimator: estimator.name(), value }
}

/// The gain over what served, bounded in every way; `None` for no rounds.
pub(super) fn gain(rounds: &[Round], delta: f64) -> Option<Gain> {
    if effective_sample_size(rounds) < TOLD {
        return None;
    }
    let lifts: Vec<f64> = rounds.iter().map(lift).collect();
    let normal = Figure::of(&lifts, delta)?;
    // An estimated gain lies within these of zero, whatever happens: known from the probabilities, not from the sample.
    let reach = 1.0 + rounds.iter().map(|round| round.heaviest).fold(0.0, f64::max);
    let against: Vec<f64> = lifts.iter().map(|lift| -lift).collect();
    let bernstein = maurer_pontil_lower(&lifts, 2.0 * reach, delta / 2.0)
        .zip(maurer_pontil_lower(&against, 2.0 * reach, delta / 2.0))
        .map(|(lower, upper)| possible(lower, -upper));
    let betting = (rounds.len() <= BETTING).then(|| {
        let mut sequence = MeanInterval::new(delta);
        lifts.iter().for_each(|lift| sequence.add((lift / reach + 1.0) / 2.0));
        let (lower, upper) = sequence.bounds();
        possible((2.0 * lower - 1.0) * reach, (2.0 * upper - 1.0) * reach)
    });
    let resamples = (DRAWS / lifts.len()).clamp(100, RESAMPLES);
    let resampled = (lifts.len() <= RESAMPLED).then(|| bootstrap(&lifts, delta, resamples, Seed(1))).flatten();
    Some(Gain { normal, bootstrap: resampled, bernstein, betting })
}

/// Rewards are 0 to 1, so no gain is beyond 1 either way.
fn possible(lower: f64, upper: f64) -> Interval {
    Interval { lower: lower.max(-1.0), upper: upper.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_says_nothing_of_has_no_gain() {
        let never = Round { weight: 0.0, reward: 1.0, predicted: 0.5, direct: 0.75, heaviest: 5.0, deepest: 1.0 };
        assert_eq!(gain(&[never; 50], 0.05), None);
        let value = estimated(&Estimator::Dr, &[never; 50], 0.05).value.expect("the model's word");
        assert_eq!((value.mean, value.interval), (0.75, None));
    }
}
