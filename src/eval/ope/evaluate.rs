//! The report: what each candidate would have been worth on a log, how sure that is, and what the gate says.
//!
//! Two reward models fill in what was not tried. The gate bets with one that was *frozen* before the first judged
//! decision, so that every bet was possible at its time. The estimates use one that is *cross-fitted*: the decisions
//! are halved by their names, and each half is predicted by what was frozen plus the other half. Both are the policy's
//! own regression.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::bounds::{Interval, bootstrap, maurer_pontil_lower, normal_interval};
use super::estimate::{Estimator, effective_sample_size, largest_weight, mean};
use super::gate::{Gate, Refusal, Told, Verdict, lift};
use super::log::{LeftOut, Log, Logged, Reward};
use super::weigh::{Replayed, expected, propensities, replay, weigh};
use super::{Round, Unusable};
use crate::base::{ModelId, Seed};
use crate::catalog::Catalog;
use crate::learn::Channels;
use crate::policy::evidence::MeanInterval;
use crate::policy::{CostWeight, Estimate, QualityRow, Snapshot, State};

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// A policy.
    Policy(&'a Snapshot),
    /// One model for everything; where it was no candidate, what served stands in.
    Always(&'a ModelId),
}

/// How to judge.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gate, its `alpha` not yet divided by the number of candidates.
    pub gate: Gate,
    /// What counts as worth.
    pub reward: Reward,
    /// Weights of cost (relative to the dearest candidate) to replay policies under, beside the callers' own.
    pub grid: Vec<f64>,
    /// Error probability of the intervals.
    pub delta: f64,
}

impl Default for Options {
    fn default() -> Self {
        let grid = vec![0.0, 0.02, 0.05, 0.13, 0.3, 0.6];
        Self { gate: Gate::default(), reward: Reward::default(), grid, delta: 0.05 }
    }
}

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
    /// The candidate's gain there; in a channel, on that channel's own scale.
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
    /// The gain over what served.
    pub gain: Option<Gain>,
    /// What it would have cost, US dollars a request.
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
    Estimator::Shrunk(20.0),
];

/// Rounds beyond which the betting sequence, a thousand bets a round, is not worth its time.
pub const BETTING: usize = 20_000;
/// Rounds beyond which nothing is resampled: a mean of so many is normal.
pub const RESAMPLED: usize = 100_000;
/// Draws of all resamples together, and resamples at most.
const DRAWS: usize = 10_000_000;
const RESAMPLES: usize = 1_000;

/// Judges candidates on a log. `frozen` is what was learned before its first decision.
///
/// # Errors
/// If a decision's arms do not fit, as in a log that was put together by hand.
pub fn evaluate(
    log: &Log,
    channels: &Channels,
    frozen: &State,
    candidates: &[(String, Candidate<'_>)],
    catalog: &Catalog,
    options: &Options,
) -> Result<Evaluation, Unusable> {
    let (judged, left_out) = log.judged(&options.reward, channels);
    let bench = Bench {
        frozen: expectations(&frozen.publish(), &judged),
        crossed: cross_fitted(frozen, &judged),
        gate: Gate { alpha: options.gate.alpha / candidates.len().max(1) as f64, ..options.gate },
        judged: &judged,
        log,
        channels,
        catalog,
        options,
    };
    let rewards: Vec<f64> = judged.iter().map(|(_, reward)| *reward).collect();
    let costs: Vec<f64> = judged.iter().filter_map(|(logged, _)| logged.cost).collect();
    let judged_of_model = log.judged_of_model(&options.reward, channels).into_iter();
    Ok(Evaluation {
        rounds: judged.len(),
        reward: options.reward.to_string(),
        floor: options.gate.floor,
        served: Figure::of(&rewards, options.delta),
        served_cost: Figure::of(&costs, options.delta),
        left_out,
        judged: judged_of_model
            .map(|(model, (answers, judged))| JudgedShare {
                model: model.to_string(),
                answers,
                judged: judged as f64 / answers as f64,
            })
            .collect(),
        threshold: -bench.gate.alpha.ln(),
        candidates: candidates
            .iter()
            .map(|(name, candidate)| bench.judge(name, *candidate))
            .collect::<Result<_, Unusable>>()?,
    })
}

/// What each policy would have gained over the first of them on the same decisions: the paired doubly robust
/// difference, with its interval. Each policy comes with the log of those decisions as its feature map sees them; the
/// reward model `frozen` is on the first one's. Nothing for a log in which nothing can be weighed.
///
/// # Errors
/// If a decision's arms do not fit.
pub fn compare(
    policies: &[(&Log, &Snapshot)],
    channels: &Channels,
    frozen: &State,
    catalog: &Catalog,
    options: &Options,
) -> Result<Vec<Figure>, Unusable> {
    let Some((log, _)) = policies.first() else { return Ok(Vec::new()) };
    let crossed = cross_fitted(frozen, &log.judged(&options.reward, channels).0);
    let mut first: Option<Vec<f64>> = None;
    let mut gains = Vec::new();
    for (log, policy) in policies {
        let (judged, _) = log.judged(&options.reward, channels);
        let replayed: Vec<Replayed> =
            judged.par_iter().map(|(logged, _)| replay(*policy, logged, catalog, None)).collect();
        let target = |at: usize, _: &Logged| &replayed[at].target;
        let (rounds, _) = weigh(&judged, options.gate.floor, target, |at, _| &crossed[at])?;
        let terms = Estimator::Dr.terms(&rounds);
        let first = first.get_or_insert_with(|| terms.clone());
        let differences: Vec<f64> = terms.iter().zip(first).map(|(term, first)| term - *first).collect();
        gains.extend(Figure::of(&differences, options.delta));
    }
    Ok(gains)
}

type Expected = Vec<Box<[f64]>>;

fn expectations(model: &Snapshot, judged: &[(&Logged, f64)]) -> Expected {
    judged.par_iter().map(|(logged, _)| expected(model, logged)).collect()
}

/// What the reward model expects of every decision, each half predicted with the help of the other.
fn cross_fitted(frozen: &State, judged: &[(&Logged, f64)]) -> Expected {
    let half = |logged: &Logged| usize::from(Seed::of_decision(0, logged.id).uniform("half") < 0.5);
    let mut states = [frozen.clone(), frozen.clone()];
    for (logged, reward) in judged {
        states[1 - half(logged)].observe_quality(&QualityRow {
            model: &logged.arms[logged.chosen].model,
            context: &logged.context,
            y: *reward,
            weight: 1.0,
            decided_at: logged.at,
            predicted: Estimate { mean: *reward, sd: 0.0 },
        });
    }
    let models = states.map(|state| state.publish());
    judged.par_iter().map(|(logged, _)| expected(&models[half(logged)], logged)).collect()
}

/// What all candidates are judged on.
struct Bench<'a> {
    judged: &'a [(&'a Logged, f64)],
    log: &'a Log,
    channels: &'a Channels,
    frozen: Expected,
    crossed: Expected,
    catalog: &'a Catalog,
    gate: Gate,
    options: &'a Options,
}

impl Bench<'_> {
    fn judge(&self, name: &str, candidate: Candidate<'_>) -> Result<Judgement, Unusable> {
        let delta = self.options.delta;
        let replayed = self.replayed(candidate, None);
        let target = |at: usize, _: &Logged| &replayed[at].target;
        let (rounds, support) = weigh(self.judged, self.gate.floor, target, |at, _| &self.crossed[at])?;
        let (betted, _) = weigh(self.judged, self.gate.floor, target, |at, _| &self.frozen[at])?;
        let support = support.share().unwrap_or(0.0);
        let spending = Spending::of(self.judged, &replayed, delta);
        let by = [("tenant", self.names(|logged| logged.tenant.as_str())), ("intent", self.names(intent))];
        let divided = by.each_ref().map(|(_, names)| names.clone());
        let told = Told { covered: support, segments: &divided, spend: spending.as_ref().and_then(|s| s.least_times) };
        let ruling = self.gate.judge(&betted, &told);
        let mut segments: Vec<Segment> =
            by.iter().flat_map(|(by, names)| segments(by, names, &rounds, delta)).collect();
        segments.extend(self.by_channel(&replayed)?);
        let mut grid = vec![self.point(None, &rounds, spending.as_ref(), support)].into_iter().flatten().collect();
        if let Candidate::Policy(_) = candidate {
            self.along_the_grid(candidate, &mut grid)?;
        }
        let (verdict, why, more) = in_words(&ruling.verdict);
        Ok(Judgement {
            policy: name.to_owned(),
            estimates: ESTIMATORS.iter().map(|estimator| estimated(estimator, &rounds, delta)).collect(),
            gain: gain(&rounds, delta),
            cost: spending.map(|spending| spending.cost),
            effective_sample_size: effective_sample_size(&rounds),
            largest_weight: largest_weight(&rounds),
            support,
            segments,
            grid,
            verdict,
            why,
            more,
            evidence: ruling.path,
        })
    }

    fn replayed(&self, candidate: Candidate<'_>, cost_weight: Option<f64>) -> Vec<Replayed> {
        let weight = cost_weight.map(CostWeight::Relative);
        let of = |logged: &Logged| match candidate {
            Candidate::Policy(policy) => replay(policy, logged, self.catalog, weight),
            Candidate::Always(model) => always(model, logged),
        };
        self.judged.par_iter().map(|(logged, _)| of(logged)).collect()
    }

    fn names<'n>(&'n self, name: impl Fn(&'n Logged) -> &'n str) -> Vec<String> {
        self.judged.iter().map(|(logged, _)| name(logged).to_owned()).collect()
    }

    /// The gain on every channel's own scores.
    fn by_channel(&self, replayed: &[Replayed]) -> Result<Vec<Segment>, Unusable> {
        let mut segments = Vec::new();
        for channel in self.log.channels() {
            let reward = Reward::Channel(channel.clone());
            let spoken: Vec<(usize, f64)> = self
                .judged
                .iter()
                .enumerate()
                .filter_map(|(at, (logged, _))| Some((at, self.log.reward(logged, &reward, self.channels)?)))
                .collect();
            let rows: Vec<(&Logged, f64)> = spoken.iter().map(|&(at, reward)| (self.judged[at].0, reward)).collect();
            let target = |row: usize, _: &Logged| &replayed[spoken[row].0].target;
            let (rounds, _) = weigh(&rows, 0.0, target, |row, _| &self.crossed[spoken[row].0])?;
            let names = vec![channel.clone(); rounds.len()];
            segments.extend(self::segments("channel", &names, &rounds, self.options.delta));
        }
        Ok(segments)
    }

    fn along_the_grid(&self, candidate: Candidate<'_>, grid: &mut Vec<Point>) -> Result<(), Unusable> {
        for &weight in &self.options.grid {
            let replayed = self.replayed(candidate, Some(weight));
            let target = |at: usize, _: &Logged| &replayed[at].target;
            let (rounds, support) = weigh(self.judged, self.gate.floor, target, |at, _| &self.crossed[at])?;
            let spending = Spending::of(self.judged, &replayed, self.options.delta);
            grid.extend(self.point(Some(weight), &rounds, spending.as_ref(), support.share().unwrap_or(0.0)));
        }
        Ok(())
    }

    fn point(
        &self,
        cost_weight: Option<f64>,
        rounds: &[Round],
        spending: Option<&Spending>,
        support: f64,
    ) -> Option<Point> {
        let quality = Figure::of(&Estimator::Dr.terms(rounds), self.options.delta)?;
        Some(Point { cost_weight, quality, cost: spending.map(|spending| spending.cost), support })
    }
}

fn intent(logged: &Logged) -> &str {
    logged.intent.as_deref().unwrap_or("no intent")
}

fn always(model: &ModelId, logged: &Logged) -> Replayed {
    let alone: Box<[f64]> = logged.arms.iter().map(|arm| f64::from(u8::from(arm.model == *model))).collect();
    let there = alone.iter().sum::<f64>();
    // Two deployments of one model share its traffic.
    let target = if there > 0.0 { alone.iter().map(|p| p / there).collect() } else { propensities(logged).into() };
    Replayed { cost: logged.arms.iter().map(|_| f64::NAN).collect(), target }
}

fn segments(by: &'static str, names: &[String], rounds: &[Round], delta: f64) -> Vec<Segment> {
    let mut parts: BTreeMap<&str, Vec<&Round>> = BTreeMap::new();
    for (name, round) in names.iter().zip(rounds) {
        parts.entry(name).or_default().push(round);
    }
    let segment = |(name, rounds): (&str, Vec<&Round>)| {
        let lifts: Vec<f64> = rounds.iter().map(|round| lift(round)).collect();
        Some(Segment {
            by,
            name: name.to_owned(),
            rounds: rounds.len(),
            served: mean(rounds.iter().map(|round| round.reward)),
            gain: Figure::of(&lifts, delta)?,
        })
    };
    parts.into_iter().filter_map(segment).collect()
}

/// What a candidate would have cost.
struct Spending {
    cost: Figure,
    /// The lower bound of how many times what served cost.
    least_times: Option<f64>,
}

impl Spending {
    /// Doubly robust on dollars, over the rounds where costs are known.
    fn of(judged: &[(&Logged, f64)], replayed: &[Replayed], delta: f64) -> Option<Self> {
        let mut costs = Vec::new();
        let mut served = 0.0;
        for ((logged, _), Replayed { target, cost: expected }) in judged.iter().zip(replayed) {
            let Some(cost) = logged.cost else { continue };
            let known = expected.iter().zip(target).all(|(cost, p)| *p == 0.0 || cost.is_finite());
            let weight = target[logged.chosen] / logged.arms[logged.chosen].propensity;
            let direct: f64 = expected.iter().zip(target).filter(|(_, p)| **p > 0.0).map(|(c, p)| c * p).sum();
            let guess = expected[logged.chosen];
            costs.push(if known && guess.is_finite() { direct + weight * (cost - guess) } else { weight * cost });
            served += cost;
        }
        let cost = Figure::of(&costs, delta)?;
        let served = served / costs.len() as f64;
        let least = cost.interval.map(|interval| interval.lower / served).filter(|times| times.is_finite());
        Some(Self { cost, least_times: least })
    }
}

fn estimated(estimator: &Estimator, rounds: &[Round], delta: f64) -> Estimated {
    let value = estimator.estimate(rounds).map(|value| {
        let mut terms = estimator.terms(rounds);
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
        Figure { mean: value, interval: normal_interval(&terms, delta) }
    });
    Estimated { estimator: estimator.name(), value }
}

fn gain(rounds: &[Round], delta: f64) -> Option<Gain> {
    let lifts: Vec<f64> = rounds.iter().map(lift).collect();
    let normal = Figure::of(&lifts, delta)?;
    // A gain lies within these of zero, whatever happens: known from the probabilities, not from the sample.
    let reach = 1.0 + rounds.iter().map(|round| round.heaviest).fold(0.0, f64::max);
    let against: Vec<f64> = lifts.iter().map(|lift| -lift).collect();
    let bernstein = maurer_pontil_lower(&lifts, 2.0 * reach, delta / 2.0)
        .zip(maurer_pontil_lower(&against, 2.0 * reach, delta / 2.0))
        .map(|(lower, upper)| Interval { lower, upper: -upper });
    let betting = (rounds.len() <= BETTING).then(|| {
        let mut sequence = MeanInterval::new(delta);
        lifts.iter().for_each(|lift| sequence.add((lift / reach + 1.0) / 2.0));
        let (lower, upper) = sequence.bounds();
        Interval { lower: (2.0 * lower - 1.0) * reach, upper: (2.0 * upper - 1.0) * reach }
    });
    let resamples = (DRAWS / lifts.len()).clamp(100, RESAMPLES);
    let resampled = (lifts.len() <= RESAMPLED).then(|| bootstrap(&lifts, delta, resamples, Seed(1))).flatten();
    Some(Gain { normal, bootstrap: resampled, bernstein, betting })
}

fn in_words(verdict: &Verdict) -> (&'static str, Vec<String>, Option<u64>) {
    match verdict {
        Verdict::Promote { after } => {
            ("promote", vec![format!("it is better, which was certain after {after} events")], None)
        }
        Verdict::Keep(reasons) => ("keep", reasons.iter().map(Refusal::to_string).collect(), None),
        Verdict::More { events: Some(events) } => (
            "more",
            vec![format!("not certain yet: about {events} more judged events like these are needed")],
            Some(*events),
        ),
        Verdict::More { events: None } => ("keep", vec!["nothing points to a gain".to_owned()], None),
    }
}
