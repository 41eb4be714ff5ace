//! The logged period over again, under another configuration, price list or policy: what would it have cost, and what
//! would it have been worth?
//!
//! Quality is told from the judged decisions, cost from every answered one, both doubly robust. What the log never
//! tried it cannot tell of: models that are new in the configuration are named, and the share of what the new policy
//! wants that the log does try is part of the answer.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;

use super::findings::Figure;
use super::gate::lift;
use super::log::{Log, Logged, Reward};
use super::weigh::{Replayed, expected, replay_listed, weigh};
use super::{Estimator, Unusable};
use crate::base::Timestamp;
use crate::catalog::Catalog;
use crate::learn::Channels;
use crate::policy::{CostWeight, Preferences, Snapshot};

/// What the period is replayed under.
pub struct Under<'a> {
    /// What chooses.
    pub policy: &'a Snapshot,
    /// What the reward model is: learned before the period.
    pub frozen: &'a Snapshot,
    /// Who may be called, at which prices.
    pub catalog: &'a Catalog,
    /// What the caller of a logged request would have wanted.
    pub preferences: &'a (dyn Fn(&Logged) -> Preferences + Sync),
}

/// A model's part in the traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The model.
    pub model: String,
    /// The share it served.
    pub served: f64,
    /// The share it would have served.
    pub would: f64,
}

/// A point of the frontier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Quality given up for the dearest candidate's cost; `None` = what the callers wanted.
    pub cost_weight: Option<f64>,
    /// Quality.
    pub quality: Option<Figure>,
    /// US dollars a request.
    pub cost: Option<Figure>,
    /// The share of what it wants that the log tries.
    pub support: f64,
}

/// The period, replayed.
#[derive(Clone, Debug, Serialize)]
pub struct Period {
    /// The first and the last decision.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Answered decisions that were left to chance.
    pub answered: usize,
    /// Those of them that were judged.
    pub judged: usize,
    /// The quality of what was served.
    pub served_quality: Option<Figure>,
    /// Its cost, US dollars a request at the prices of then.
    pub served_cost: Option<Figure>,
    /// How much better it would have been, paired.
    pub gain: Option<Figure>,
    /// How many dollars a request more it would have cost, paired.
    pub dearer: Option<Figure>,
    /// The frontier; what the callers wanted comes first.
    pub frontier: Vec<Point>,
    /// Who answers.
    pub parts: Vec<Part>,
    /// Models of the configuration that no logged decision had as a candidate: the log cannot tell of them.
    pub untried: Vec<String>,
    /// The share of the decisions in which none of the configuration's models was a candidate.
    pub unserved: f64,
}

/// Replays the decisions of a log.
///
/// # Errors
/// If a decision's arms do not fit.
pub fn period(
    log: &Log,
    channels: &Channels,
    reward: &Reward,
    under: &Under<'_>,
    grid: &[f64],
    floor: f64,
) -> Result<Period, Unusable> {
    let answered = log.answered();
    let (judged, _) = log.judged(reward, channels);
    let at: BTreeMap<_, _> = answered.iter().enumerate().map(|(at, logged)| (logged.id, at)).collect();
    let predicted: Vec<Box<[f64]>> = judged.par_iter().map(|(logged, _)| expected(under.frozen, logged)).collect();
    let mut frontier = Vec::new();
    let (mut gain, mut dearer, mut parts, mut unserved) = (None, None, Vec::new(), 0.0);
    for weight in std::iter::once(None).chain(grid.iter().copied().map(Some)) {
        let replayed: Vec<Replayed> = answered.par_iter().map(|logged| of(under, logged, weight)).collect();
        let place = |row: usize| at[&judged[row].0.id];
        let target = |row: usize, _: &Logged| &replayed[place(row)].target;
        let (rounds, support) = weigh(&judged, floor, target, |row, _| &predicted[row])?;
        let costs: Vec<(f64, f64)> = answered
            .iter()
            .zip(&replayed)
            .filter_map(|(logged, replayed)| Some((logged.cost?, would_cost(under.catalog, logged, replayed)?)))
            .collect();
        let would: Vec<f64> = costs.iter().map(|(_, would)| *would).collect();
        frontier.push(Point {
            cost_weight: weight,
            quality: Figure::of(&Estimator::Dr.terms(&rounds), DELTA),
            cost: Figure::of(&would, DELTA),
            support: support.share().unwrap_or(0.0),
        });
        if weight.is_none() {
            gain = Figure::of(&rounds.iter().map(lift).collect::<Vec<_>>(), DELTA);
            dearer = Figure::of(&costs.iter().map(|(was, would)| would - was).collect::<Vec<_>>(), DELTA);
            parts = shares(&answered, &replayed);
            let nobody = replayed.iter().filter(|replayed| replayed.target.iter().all(|p| *p == 0.0)).count();
            unserved = nobody as f64 / answered.len().max(1) as f64;
        }
    }
    let rewards: Vec<f64> = judged.iter().map(|(_, reward)| *reward).collect();
    let costs: Vec<f64> = answered.iter().filter_map(|logged| logged.cost).collect();
    let times = answered.iter().map(|logged| logged.at);
    Ok(Period {
        span: times.clone().min().zip(times.max()),
        answered: answered.len(),
        judged: judged.len(),
        served_quality: Figure::of(&rewards, DELTA),
        served_cost: Figure::of(&costs, DELTA),
        gain,
        dearer,
        frontier,
        parts,
        untried: untried(&answered, under.catalog),
        unserved,
    })
}

/// Error probability of the intervals.
const DELTA: f64 = 0.05;

fn of(under: &Under<'_>, logged: &Logged, weight: Option<f64>) -> Replayed {
    let mut preferences = (under.preferences)(logged);
    if let Some(weight) = weight {
        preferences.cost = CostWeight::Relative(weight);
    }
    replay_listed(under.policy, logged, under.catalog, &preferences)
}

/// The doubly robust term of what a decision would have cost at the catalogue's prices; `None` = some price or token
/// count is unknown.
fn would_cost(catalog: &Catalog, logged: &Logged, Replayed { target, cost }: &Replayed) -> Option<f64> {
    let direct: f64 = cost.iter().zip(target).filter(|(_, p)| **p > 0.0).map(|(cost, p)| cost * p).sum();
    let arm = &logged.arms[logged.chosen];
    let weight = target[logged.chosen] / arm.propensity;
    if weight == 0.0 {
        return direct.is_finite().then_some(direct);
    }
    let price = catalog.deployment(arm.deployment.as_str())?.price.as_ref()?;
    let came = price.cost(&logged.usage?)?.get();
    let term = direct + weight * (came - cost[logged.chosen]);
    term.is_finite().then_some(term)
}

fn shares(answered: &[&Logged], replayed: &[Replayed]) -> Vec<Part> {
    let mut parts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (logged, replayed) in answered.iter().zip(replayed) {
        for (place, (arm, p)) in logged.arms.iter().zip(&replayed.target).enumerate() {
            let part = parts.entry(arm.model.as_str()).or_default();
            part.0 += f64::from(u8::from(place == logged.chosen));
            part.1 += p;
        }
    }
    let all = answered.len().max(1) as f64;
    let part = |(model, (served, would)): (&str, (f64, f64))| Part {
        model: model.to_owned(),
        served: served / all,
        would: would / all,
    };
    parts.into_iter().map(part).collect()
}

fn untried(answered: &[&Logged], catalog: &Catalog) -> Vec<String> {
    let tried: BTreeSet<&str> =
        answered.iter().flat_map(|logged| logged.arms.iter().map(|arm| arm.model.as_str())).collect();
    let listed: BTreeSet<&str> = catalog
        .deployments
        .iter()
        .filter(|deployment| deployment.auto)
        .map(|deployment| deployment.model.as_str())
        .collect();
    listed.difference(&tried).map(|model| (*model).to_owned()).collect()
}
