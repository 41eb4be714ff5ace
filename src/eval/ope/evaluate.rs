//! The report: what each candidate would have been worth on a log, how sure that is, and what the gate says.
//!
//! Two reward models fill in what was not tried ([`super::reward_model`]). The gate bets with the frozen one, so that
//! every bet was possible at its time; the estimates use the cross-fitted one.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::estimate::{Estimator, effective_sample_size, largest_weight};
use super::findings::{
    ESTIMATORS, Evaluation, Figure, JudgedShare, Judgement, Point, Segment, TOLD, estimated, gain, segments,
};
use super::gate::{Gate, Told};
use super::log::{Log, Logged, Reward};
use super::reward_model::{Expected, cross_fitted, expectations, on_scale_of};
use super::weigh::{Replayed, propensities, replay, weigh};
use super::words::in_words;
use super::{Round, Unusable};
use crate::base::ModelId;
use crate::catalog::Catalog;
use crate::learn::Channels;
use crate::policy::{CostWeight, Snapshot, State};

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
    let mut bench = Bench {
        frozen: expectations(&frozen.publish(), &judged),
        crossed: cross_fitted(frozen, &judged),
        gate: Gate { alpha: options.gate.alpha / candidates.len().max(1) as f64, ..options.gate },
        judged: &judged,
        log,
        channels,
        catalog,
        options,
        costs: None,
    };
    let mut judgements = Vec::new();
    for (name, candidate) in candidates {
        let replayed = bench.replayed(*candidate, None);
        judgements.push(bench.judge(name, *candidate, &replayed)?);
        // What an answer of a model costs is no matter of who chooses it: the first policy's word on it serves for all.
        if bench.costs.is_none() && matches!(candidate, Candidate::Policy(_)) {
            bench.costs = Some(replayed.into_iter().map(|replayed| replayed.cost).collect());
        }
    }
    let rewards: Vec<f64> = judged.iter().map(|(_, reward)| *reward).collect();
    let costs: Vec<f64> = judged.iter().filter_map(|(logged, _)| logged.cost).collect();
    let judged_of_model = log.judged_of_model(&options.reward, channels).into_iter();
    Ok(Evaluation {
        rounds: judged.len(),
        reward: options.reward.to_string(),
        floor: options.gate.floor,
        served: Figure::of(&rewards, options.delta),
        served_cost: Figure::of(&costs, options.delta),
        unpriced: unpriced(&judged, catalog),
        left_out,
        judged: judged_of_model
            .map(|(model, (answers, judged))| JudgedShare {
                model: model.to_string(),
                answers,
                judged: judged as f64 / answers as f64,
            })
            .collect(),
        threshold: -bench.gate.alpha.ln(),
        candidates: judgements,
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
    /// What the answers of every arm are expected to cost.
    costs: Option<Vec<Box<[f64]>>>,
}

impl Bench<'_> {
    fn judge(&self, name: &str, candidate: Candidate<'_>, replayed: &[Replayed]) -> Result<Judgement, Unusable> {
        let delta = self.options.delta;
        let target = |at: usize, _: &Logged| &replayed[at].target;
        let (rounds, support) = weigh(self.judged, self.gate.floor, target, |at, _| &self.crossed[at])?;
        let (betted, _) = weigh(self.judged, self.gate.floor, target, |at, _| &self.frozen[at])?;
        let support = support.share().unwrap_or(0.0);
        let spending = Spending::of(self.judged, replayed, delta);
        let by = [("tenant", self.names(|logged| logged.tenant.as_str())), ("intent", self.names(intent))];
        let named = |(by, names): &(&str, Vec<String>)| names.iter().map(|name| format!("{by} {name}")).collect();
        let divided: [Vec<String>; 2] = by.each_ref().map(named);
        let told = Told { covered: support, segments: &divided, spend: spending.as_ref().and_then(|s| s.least_times) };
        let ruling = self.gate.judge(&betted, &told);
        let mut segments: Vec<Segment> =
            by.iter().flat_map(|(by, names)| segments(by, names, &rounds, delta)).collect();
        segments.extend(self.by_channel(replayed)?);
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
        let cost = |at: usize| self.costs.as_ref().map(|costs| costs[at].clone());
        let of = |at: usize, logged: &Logged| match candidate {
            Candidate::Policy(policy) => replay(policy, logged, self.catalog, weight),
            Candidate::Always(model) => always(model, logged, cost(at)),
        };
        self.judged.par_iter().enumerate().map(|(at, (logged, _))| of(at, logged)).collect()
    }

    fn names<'n>(&'n self, name: impl Fn(&'n Logged) -> &'n str) -> Vec<String> {
        self.judged.iter().map(|(logged, _)| name(logged).to_owned()).collect()
    }

    /// The gain on every channel's own scores.
    fn by_channel(&self, replayed: &[Replayed]) -> Result<Vec<Segment>, Unusable> {
        let mut segments = Vec::new();
        for channel in self.log.channels() {
            let reward = Reward::Channel(channel.clone());
            let judged = self.judged.iter().enumerate();
            let spoken: Vec<(usize, &Logged, f64)> = judged
                .filter_map(|(at, (logged, _))| Some((at, *logged, self.log.reward(logged, &reward, self.channels)?)))
                .collect();
            let predicted = on_scale_of(&self.crossed, &spoken);
            let rows: Vec<(&Logged, f64)> = spoken.iter().map(|&(_, logged, score)| (logged, score)).collect();
            let target = |row: usize, _: &Logged| &replayed[spoken[row].0].target;
            let (rounds, _) = weigh(&rows, 0.0, target, |row, _| &predicted[row])?;
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

fn unpriced(judged: &[(&Logged, f64)], catalog: &Catalog) -> Vec<String> {
    let seen: BTreeSet<&str> =
        judged.iter().flat_map(|(logged, _)| logged.arms.iter().map(|arm| arm.deployment.as_str())).collect();
    let priced = |id: &str| catalog.deployment(id).is_some_and(|deployment| deployment.price.is_some());
    seen.into_iter().filter(|id| !priced(id)).map(str::to_owned).collect()
}

fn intent(logged: &Logged) -> &str {
    logged.intent.as_deref().unwrap_or("no intent")
}

fn always(model: &ModelId, logged: &Logged, cost: Option<Box<[f64]>>) -> Replayed {
    let alone: Box<[f64]> = logged.arms.iter().map(|arm| f64::from(u8::from(arm.model == *model))).collect();
    let there = alone.iter().sum::<f64>();
    // Two deployments of one model share its traffic.
    let target = if there > 0.0 { alone.iter().map(|p| p / there).collect() } else { propensities(logged).into() };
    Replayed { cost: cost.unwrap_or_else(|| logged.arms.iter().map(|_| f64::NAN).collect()), target }
}

/// What a candidate would have cost.
struct Spending {
    cost: Figure,
    /// The lower bound of how many times what served cost.
    least_times: Option<f64>,
}

impl Spending {
    /// Doubly robust on dollars, over the rounds where costs are known. `None` = no cost is known; or neither what an
    /// answer is expected to cost, nor enough answers that the candidate would have chosen.
    fn of(judged: &[(&Logged, f64)], replayed: &[Replayed], delta: f64) -> Option<Self> {
        let mut costs = Vec::new();
        let (mut served, mut guessed) = (0.0, true);
        let (mut weights, mut squares) = (0.0, 0.0);
        for ((logged, _), Replayed { target, cost: expected }) in judged.iter().zip(replayed) {
            let Some(cost) = logged.cost else { continue };
            let known = expected.iter().zip(target).all(|(cost, p)| *p == 0.0 || cost.is_finite());
            let weight = target[logged.chosen] / logged.arms[logged.chosen].propensity;
            let direct: f64 = expected.iter().zip(target).filter(|(_, p)| **p > 0.0).map(|(c, p)| c * p).sum();
            let guess = expected[logged.chosen];
            let known = known && (weight == 0.0 || guess.is_finite());
            let rest = if weight > 0.0 { weight * (cost - guess) } else { 0.0 };
            costs.push(if known { direct + rest } else { weight * cost });
            guessed &= known;
            (weights, squares) = (weights + weight, squares + weight * weight);
            served += cost;
        }
        if !guessed && weights * weights < TOLD * squares.max(f64::MIN_POSITIVE) {
            return None;
        }
        let cost = Figure::of(&costs, delta)?;
        let served = served / costs.len() as f64;
        let least = cost.interval.map(|interval| interval.lower / served).filter(|times| times.is_finite());
        Some(Self { cost, least_times: least })
    }
}
