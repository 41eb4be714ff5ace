//! May the candidate replace what serves?
//!
//! A confidence interval that is looked at again and again will, in the end, promote a policy that is no better.
//! The e-process of [`crate::policy::evidence`] does not: the gate may be asked after every event. It bets on the
//! loss form of the lift, `(1 - w)(1 - y)`, the sharpest where rewards are near 1, with weights bounded
//! beforehand by the floor under the logged probabilities, never by the sample's maximum.
//!
//! Before it bets it asks whether the log can answer at all: does the log try what the candidate wants, do the
//! weights keep the floor's promise, do two estimators that share no assumption agree, and does no segment of the
//! traffic pay for the others' gain.

use std::collections::BTreeMap;

use super::Round;
use super::bounds::{normal_interval, standard_error};
use super::estimate::{Estimator, effective_sample_size, largest_weight, mean};
use crate::policy::evidence::Lift;

/// What the gate asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Probability of promoting one that is no better; divide by the number of candidates.
    pub alpha: f64,
    /// The least probability with which the log tries an arm; 1 over it bounds the weights.
    pub floor: f64,
    /// The least share of the target's probability that must lie on arms tried so often.
    pub support: f64,
    /// The least effective sample size.
    pub effective: f64,
    /// The worst upper bound of the lift that a segment may have.
    pub segment: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { alpha: 0.05, floor: 0.01, support: 0.99, effective: 300.0, segment: -0.02 }
    }
}

/// What the gate says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The candidate is better.
    Promote {
        /// After how many events that was certain.
        after: u64,
    },
    /// What serves is kept, for these reasons; more of the same traffic will not change them.
    Keep(Vec<Refusal>),
    /// Not certain yet; about so many more events are needed, if the lift is what it looks like.
    More {
        /// How many; `None` = the events so far point nowhere.
        events: Option<u64>,
    },
}

/// Why a candidate is not promoted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The target wants what the log does not try.
    #[error("the log tries only {:.1} % of what the candidate would do at least {:.1} % of the time; {:.0} % is needed", .share * 100.0, .floor * 100.0, .needed * 100.0)]
    Support {
        /// The covered share.
        share: f64,
        /// The floor.
        floor: f64,
        /// The share that is needed.
        needed: f64,
    },
    /// The weights say that the log is of another policy than the floor promises.
    #[error("a weight of {weight:.1} is above {limit:.1}, the largest that the floor allows")]
    Weight {
        /// The weight found.
        weight: f64,
        /// The largest allowed.
        limit: f64,
    },
    /// DR and SNIPS disagree.
    #[error(
        "DR says {dr:.4} and SNIPS {snips:.4}: more than two standard errors ({error:.4}) apart, so one of them is wrong"
    )]
    Disagreement {
        /// The doubly robust estimate.
        dr: f64,
        /// The self-normalised one.
        snips: f64,
        /// The standard error of their difference.
        error: f64,
    },
    /// A segment of the traffic gets worse.
    #[error("{segment} gets worse: at best {upper:+.4}, allowed {allowed:+.4}")]
    Segment {
        /// Which.
        segment: String,
        /// The upper bound of its lift.
        upper: f64,
        /// The lowest allowed.
        allowed: f64,
    },
}

impl Gate {
    /// Judges a candidate by the rounds in the order they happened, rewards in `0..=1`. `covered` is the share of
    /// the target's probability on arms that the log tries; `segments` names the segment of every round.
    #[must_use]
    pub fn judge(&self, rounds: &[Round], covered: f64, segments: &[&str]) -> Verdict {
        let mut refusals = Vec::new();
        if covered < self.support {
            refusals.push(Refusal::Support { share: covered, floor: self.floor, needed: self.support });
        }
        let limit = 1.0 / self.floor;
        let weight = largest_weight(rounds);
        if weight > limit * (1.0 + 1e-9) {
            refusals.push(Refusal::Weight { weight, limit });
        }
        refusals.extend(disagreement(rounds));
        refusals.extend(self.worst_segments(rounds, segments));
        if !refusals.is_empty() {
            return Verdict::Keep(refusals);
        }
        let enough = effective_sample_size(rounds) >= self.effective;
        let mut lift = Lift::of_losses(limit);
        for (n, round) in rounds.iter().enumerate() {
            lift.add(Lift::loss_difference(round.weight, round.reward));
            if enough && lift.proves(self.alpha) {
                return Verdict::Promote { after: n as u64 + 1 };
            }
        }
        Verdict::More { events: lift.events_to(self.alpha).filter(|&events| events > 0) }
    }

    fn worst_segments(&self, rounds: &[Round], segments: &[&str]) -> Vec<Refusal> {
        let mut lifts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (round, segment) in rounds.iter().zip(segments) {
            lifts.entry(segment).or_default().push(lift(round));
        }
        lifts
            .into_iter()
            .filter_map(|(segment, lifts)| {
                let upper = normal_interval(&lifts, 0.1)?.upper;
                let segment = segment.to_owned();
                (upper < self.segment).then_some(Refusal::Segment { segment, upper, allowed: self.segment })
            })
            .collect()
    }
}

/// The candidate's gain on this event over what was chosen: its doubly robust term less the reward. The mean of
/// these is the paired difference of the two policies.
#[must_use]
pub fn lift(round: &Round) -> f64 {
    round.direct + round.weight * (round.reward - round.predicted) - round.reward
}

/// DR and SNIPS estimate the same number; far apart, the propensities or the reward model are not what they
/// claim to be.
fn disagreement(rounds: &[Round]) -> Option<Refusal> {
    let dr = Estimator::Dr.estimate(rounds)?;
    let snips = Estimator::Snips.estimate(rounds)?;
    let norm = mean(rounds.iter().map(|round| round.weight));
    // The influence of a round on the difference; for SNIPS, that of a ratio of two means.
    let influence: Vec<f64> = rounds
        .iter()
        .map(|round| {
            let robust = round.direct + round.weight * (round.reward - round.predicted) - dr;
            robust - round.weight / norm * (round.reward - snips)
        })
        .collect();
    let error = standard_error(&influence)?;
    ((dr - snips).abs() > 2.0 * error).then_some(Refusal::Disagreement { dr, snips, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    const LOGGED: [f64; 3] = [0.3, 0.6, 0.1];
    const WORTH: [f64; 3] = [0.8, 0.75, 0.9];

    /// Rounds of a world where the arms are worth `WORTH` on average.
    fn rounds(stream: u64, count: u64, target: [f64; 3]) -> Vec<Round> {
        (0..count)
            .map(|n| {
                let seed = Seed(stream * 1_000_003 + n);
                let action = crate::policy::draw(&LOGGED, seed.uniform("arm"));
                let reward = f64::from(u8::from(seed.uniform("reward") < WORTH[action]));
                Round::new(action, reward, &LOGGED, &target, &[0.8; 3]).expect("usable")
            })
            .collect()
    }

    fn gate() -> Gate {
        Gate { floor: 0.1, ..Gate::default() }
    }

    #[test]
    fn one_that_is_better_is_promoted_and_one_that_is_as_good_hardly_ever() {
        let better = (0..20).filter(|&stream| {
            matches!(gate().judge(&rounds(stream, 6_000, [0.05, 0.05, 0.9]), 1.0, &[]), Verdict::Promote { .. })
        });
        assert!(better.count() >= 17);
        // A little worse than the logged policy: worth .775, that one .78.
        let as_good = (100..200)
            .filter(|&stream| {
                let judged = gate().judge(&rounds(stream, 2_000, [0.5, 0.5, 0.0]), 1.0, &[]);
                matches!(judged, Verdict::Promote { .. })
            })
            .count();
        assert!(as_good <= 5, "{as_good} of 100 promoted while watched all the time");
    }

    #[test]
    fn what_the_log_cannot_answer_is_kept_with_the_reason() {
        let rounds = rounds(1, 500, [0.0, 0.0, 1.0]);
        let Verdict::Keep(reasons) = gate().judge(&rounds, 0.4, &[]) else { panic!("kept") };
        insta::assert_snapshot!(reasons[0], @"the log tries only 40.0 % of what the candidate would do at least 10.0 % of the time; 99 % is needed");
        let strict = Gate { floor: 0.2, ..gate() };
        let Verdict::Keep(reasons) = strict.judge(&rounds, 1.0, &[]) else { panic!("kept") };
        insta::assert_snapshot!(reasons[0], @"a weight of 10.0 is above 5.0, the largest that the floor allows");
    }

    #[test]
    fn a_reward_model_that_cannot_hide_false_propensities_is_found_out() {
        let mut rounds = rounds(1, 4_000, [0.2, 0.2, 0.6]);
        // Logged with half the probability it was drawn with.
        rounds.iter_mut().for_each(|round| round.weight *= 2.0);
        rounds.iter_mut().for_each(|round| round.predicted = 0.3);
        rounds.iter_mut().for_each(|round| round.direct = 0.3);
        let verdict = Gate { floor: 0.01, ..gate() }.judge(&rounds, 1.0, &[]);
        let Verdict::Keep(reasons) = verdict else { panic!("kept: {verdict:?}") };
        assert!(matches!(reasons[0], Refusal::Disagreement { .. }), "{reasons:?}");
    }

    #[test]
    fn a_segment_that_gets_worse_holds_back_the_whole() {
        let good = rounds(1, 6_000, [0.05, 0.05, 0.9]);
        let bad: Vec<Round> = (0..2_000)
            .map(|n| {
                let seed = Seed(7_000_000 + n);
                let action = crate::policy::draw(&LOGGED, seed.uniform("arm"));
                let reward = f64::from(u8::from(seed.uniform("reward") < [0.9, 0.9, 0.3][action]));
                Round::new(action, reward, &LOGGED, &[0.05, 0.05, 0.9], &[0.9, 0.9, 0.3]).expect("usable")
            })
            .collect();
        let names: Vec<&str> = good.iter().map(|_| "code").chain(bad.iter().map(|_| "legal")).collect();
        let all: Vec<Round> = good.into_iter().chain(bad).collect();
        let Verdict::Keep(reasons) = gate().judge(&all, 1.0, &names) else { panic!("kept") };
        assert!(matches!(&reasons[..], [Refusal::Segment { segment, .. }] if segment == "legal"), "{reasons:?}");
    }

    #[test]
    fn too_few_events_are_told_how_many_more() {
        let verdict = gate().judge(&rounds(1, 600, [0.05, 0.05, 0.9]), 1.0, &[]);
        let Verdict::More { events: Some(events) } = verdict else { panic!("more: {verdict:?}") };
        assert!((50..20_000).contains(&events), "{events}");
    }
}
