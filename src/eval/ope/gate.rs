//! May the candidate replace what serves?
//!
//! A confidence interval that is looked at again and again will, in the end, promote a policy that is no better.
//! The e-process of [`crate::policy::evidence`] does not: the gate may be asked after every event. Two of them bet
//! here and share the money, so their mean is again one: the first on the loss form of the lift, `(1 - w)(1 - y)`,
//! the sharpest where rewards are near 1; the second on its doubly robust form, `d + w (y - q) - y` with the reward
//! model frozen beforehand, the sharpest where the model knows much. How much either may lose at most on an event
//! follows from the probabilities of that event before the draw, so the bets are as high as those allow.
//!
//! Before it bets it asks whether the log can answer at all: does the log try what the candidate wants, do the
//! weights keep the floor's promise, do two estimators that share no assumption agree; and whether anybody pays for
//! the gain: a segment of the traffic that gets worse, or the bill.

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
    /// How many times what is spent now may be spent.
    pub spend: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { alpha: 0.05, floor: 0.01, support: 0.99, effective: 300.0, segment: -0.02, spend: 1.1 }
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
        "DR says {dr:.4} and SNIPS {snips:.4}: more than three standard errors ({error:.4}) apart, so one of them is wrong"
    )]
    Disagreement {
        /// The doubly robust estimate.
        dr: f64,
        /// The self-normalised one.
        snips: f64,
        /// The standard error of their difference.
        error: f64,
    },
    /// It costs too much.
    #[error("it would cost {times:.2} times what is spent now; allowed is {allowed:.2}")]
    Spend {
        /// The lower bound of how many times.
        times: f64,
        /// How many are allowed.
        allowed: f64,
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

/// A ruling: the verdict, and how the evidence came together.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
    /// What the gate says.
    pub verdict: Verdict,
    /// `(events, natural logarithm of the evidence)` after every so many events.
    pub path: Vec<(u64, f64)>,
}

/// Points of a drawn path.
const DRAWN: usize = 200;
/// Rounds of a segment below which nothing is said of it.
const SEGMENT: usize = 30;

/// What the gate is told beside the rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// The share of the target's probability on arms that the log tries.
    pub covered: f64,
    /// The segment of every round, for every way to divide the traffic.
    pub segments: &'a [Vec<String>],
    /// The lower bound of how many times what is spent now the candidate would spend; `None` = unknown.
    pub spend: Option<f64>,
}

impl Gate {
    /// Judges a candidate by the rounds in the order they happened, rewards in `0..=1` and predictions of a model
    /// that was frozen before the first of them.
    #[must_use]
    pub fn judge(&self, rounds: &[Round], told: &Told<'_>) -> Ruling {
        let (path, after, more) = self.bet(rounds);
        let refusals = self.refusals(rounds, told);
        let effective = effective_sample_size(rounds);
        let verdict = match after {
            _ if !refusals.is_empty() => Verdict::Keep(refusals),
            Some(after) if effective >= self.effective => Verdict::Promote { after },
            Some(_) => {
                let more = rounds.len() as f64 * (self.effective / effective - 1.0);
                Verdict::More { events: Some((more.ceil() as u64).max(1)) }
            }
            None => Verdict::More { events: more },
        };
        Ruling { verdict, path }
    }

    fn refusals(&self, rounds: &[Round], told: &Told<'_>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if told.covered < self.support {
            refusals.push(Refusal::Support { share: told.covered, floor: self.floor, needed: self.support });
        }
        let limit = 1.0 / self.floor;
        let weight = largest_weight(rounds);
        if weight > limit * (1.0 + 1e-9) {
            refusals.push(Refusal::Weight { weight, limit });
        }
        // Of few effective rounds neither estimate is normal, and the two are apart by chance alone.
        if effective_sample_size(rounds) >= self.effective {
            refusals.extend(disagreement(rounds));
        }
        if let Some(times) = told.spend.filter(|times| *times > self.spend) {
            refusals.push(Refusal::Spend { times, allowed: self.spend });
        }
        refusals.extend(told.segments.iter().flat_map(|segments| self.worst_segments(rounds, segments)));
        refusals
    }

    /// The path of the evidence, the event after which it sufficed, and how many more it takes where it does not.
    fn bet(&self, rounds: &[Round]) -> (Vec<(u64, f64)>, Option<u64>, Option<u64>) {
        let (mut losses, mut robust) = (Lift::new(1.0), Lift::new(1.0));
        let (mut path, mut after) = (Vec::new(), None);
        let step = rounds.len().div_ceil(DRAWN).max(1);
        for (n, round) in rounds.iter().enumerate() {
            losses.add_within(Lift::loss_difference(round.weight, round.reward), (round.heaviest - 1.0).max(LEAST));
            robust.add_within(lift(round), round.deepest.max(LEAST));
            let log_e = log_mean(losses.log_e(), robust.log_e());
            if after.is_none() && log_e >= -self.alpha.ln() {
                after = Some(n as u64 + 1);
            }
            if (n + 1) % step == 0 || n + 1 == rounds.len() {
                path.push((n as u64 + 1, log_e));
            }
        }
        // The better of the two has to earn what the other lost.
        let alpha = self.alpha / 2.0;
        let more = [losses.events_to(alpha), robust.events_to(alpha)].into_iter().flatten().min();
        (path, after, more)
    }

    fn worst_segments(&self, rounds: &[Round], segments: &[String]) -> Vec<Refusal> {
        let mut lifts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (round, segment) in rounds.iter().zip(segments) {
            lifts.entry(segment).or_default().push(lift(round));
        }
        lifts
            .into_iter()
            .filter(|(_, lifts)| lifts.len() >= SEGMENT)
            .filter_map(|(segment, lifts)| {
                let upper = normal_interval(&lifts, 0.1)?.upper;
                let segment = segment.to_owned();
                (upper < self.segment).then_some(Refusal::Segment { segment, upper, allowed: self.segment })
            })
            .collect()
    }
}

/// No bet is made as if less than this could be lost.
const LEAST: f64 = 0.5;

/// The logarithm of the mean of two numbers given by theirs.
fn log_mean(a: f64, b: f64) -> f64 {
    let top = a.max(b);
    top + (((a - top).exp() + (b - top).exp()) / 2.0).ln()
}

/// The candidate's gain on this event over what was chosen: its doubly robust term less the reward. The mean of
/// these is the paired difference of the two policies.
#[must_use]
pub fn lift(round: &Round) -> f64 {
    round.direct + round.weight * (round.reward - round.predicted) - round.reward
}

/// How many standard errors DR and SNIPS may be apart: by the table of `benches/gate.rs`. Of sound logs it refuses 3 in a
/// thousand, 2 would refuse 35 to 48. Of logs whose probabilities are not those that were drawn with it finds nearly all
/// where rewards are graded (1.00 and .98 of them; 2: 1.00 and 1.00) and few where they are 0 or 1 (.08 at most; 2: .27),
/// so 2 would buy little with every twentieth sound log. There nothing but the log itself vouches for its probabilities.
const APART: f64 = 3.0;

/// DR and SNIPS estimate the same number; far apart, the propensities or the reward model are not what they
/// claim to be.
fn disagreement(rounds: &[Round]) -> Option<Refusal> {
    let Apart { dr, snips, error } = Apart::of(rounds)?;
    ((dr - snips).abs() > APART * error).then_some(Refusal::Disagreement { dr, snips, error })
}

/// Two estimates of one number, and the standard error of their difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// The doubly robust one.
    pub dr: f64,
    /// The self-normalised one.
    pub snips: f64,
    /// The standard error of their difference.
    pub error: f64,
}

impl Apart {
    /// Those of these rounds; `None` where one of them says nothing.
    #[must_use]
    pub fn of(rounds: &[Round]) -> Option<Self> {
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
        Some(Self { dr, snips, error: standard_error(&influence)? })
    }
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

    fn judge(gate: &Gate, rounds: &[Round]) -> Verdict {
        gate.judge(rounds, &Told { covered: 1.0, ..Told::default() }).verdict
    }

    #[test]
    fn a_gain_that_is_bought_is_held_back() {
        let told = Told { covered: 1.0, spend: Some(1.3), ..Told::default() };
        let Verdict::Keep(reasons) = gate().judge(&rounds(1, 6_000, [0.05, 0.05, 0.9]), &told).verdict else {
            panic!("kept")
        };
        insta::assert_snapshot!(reasons[0], @"it would cost 1.30 times what is spent now; allowed is 1.10");
    }

    fn gate() -> Gate {
        Gate { floor: 0.1, ..Gate::default() }
    }

    #[test]
    fn one_that_is_better_is_promoted_and_one_that_is_as_good_hardly_ever() {
        let better = (0..20).filter(|&stream| {
            matches!(judge(&gate(), &rounds(stream, 6_000, [0.05, 0.05, 0.9])), Verdict::Promote { .. })
        });
        assert!(better.count() >= 17);
        // A little worse than the logged policy: worth .775, that one .78.
        let as_good = (100..200)
            .filter(|&stream| {
                let judged = judge(&gate(), &rounds(stream, 2_000, [0.5, 0.5, 0.0]));
                matches!(judged, Verdict::Promote { .. })
            })
            .count();
        assert!(as_good <= 5, "{as_good} of 100 promoted while watched all the time");
    }

    #[test]
    fn what_the_log_cannot_answer_is_kept_with_the_reason() {
        let rounds = rounds(1, 500, [0.0, 0.0, 1.0]);
        let told = Told { covered: 0.4, ..Told::default() };
        let Verdict::Keep(reasons) = gate().judge(&rounds, &told).verdict else { panic!("kept") };
        insta::assert_snapshot!(reasons[0], @"the log tries only 40.0 % of what the candidate would do at least 10.0 % of the time; 99 % is needed");
        let strict = Gate { floor: 0.2, ..gate() };
        let Verdict::Keep(reasons) = judge(&strict, &rounds) else { panic!("kept") };
        insta::assert_snapshot!(reasons[0], @"a weight of 10.0 is above 5.0, the largest that the floor allows");
    }

    #[test]
    fn a_reward_model_that_cannot_hide_false_propensities_is_found_out() {
        let mut rounds = rounds(1, 4_000, [0.2, 0.2, 0.6]);
        // Logged with half the probability it was drawn with.
        rounds.iter_mut().for_each(|round| round.weight *= 2.0);
        rounds.iter_mut().for_each(|round| round.predicted = 0.3);
        rounds.iter_mut().for_each(|round| round.direct = 0.3);
        let verdict = judge(&Gate { floor: 0.01, ..gate() }, &rounds);
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
        let names = good.iter().map(|_| "code").chain(bad.iter().map(|_| "legal"));
        let segments = [names.map(str::to_owned).collect()];
        let all: Vec<Round> = good.into_iter().chain(bad).collect();
        let told = Told { covered: 1.0, segments: &segments, spend: None };
        let Verdict::Keep(reasons) = gate().judge(&all, &told).verdict else { panic!("kept") };
        assert!(matches!(&reasons[..], [Refusal::Segment { segment, .. }] if segment == "legal"), "{reasons:?}");
    }

    #[test]
    fn too_few_events_are_told_how_many_more() {
        let verdict = judge(&gate(), &rounds(1, 200, [0.05, 0.05, 0.9]));
        let Verdict::More { events: Some(events) } = verdict else { panic!("more: {verdict:?}") };
        assert!((50..20_000).contains(&events), "{events}");
    }
}
