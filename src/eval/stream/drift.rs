//! Prices move, models get worse, come and go: what a policy gets while it happens and how soon it notices.

use ndarray::Array2;
use serde::Serialize;

use super::world::{Change, World};
use super::{COST_WEIGHT, DRAWN, Maker, play};
use crate::eval::crew::spread;
use crate::eval::exam::Spread;
use crate::eval::offline::Effort;
use crate::eval::split::order;
use crate::eval::table::Table;

/// Requests over which a gap is averaged.
const WINDOW: usize = 100;
/// How much wider than before the change a gap may be to count as adapted.
const SLACK: f64 = 0.02;

/// One policy under one change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftRow {
    /// The change.
    pub change: &'static str,
    /// The policy; `best fixed arm of the third` is the yardstick.
    pub policy: String,
    /// Mean reward in the changed third (the first, where the best arm comes later: then the second).
    pub reward: Spread,
    /// Requests until adapted, mean over the orders where it was; NaN if never.
    pub adaptation: Spread,
    /// Orders in which it was not.
    pub missed: usize,
    /// `(requests, mean reward around there)`.
    pub timeline: Vec<(usize, f64)>,
}

struct Run {
    reward: f64,
    adaptation: Option<usize>,
    rewards: Vec<f64>,
}

/// Every change and every policy, on the shuffled streams.
#[must_use]
pub fn drift(table: &Table, contexts: &Array2<f32>, makers: &[Maker<'_>], effort: Effort<'_>) -> Vec<DriftRow> {
    let orders = effort.seeds as usize;
    let runs = spread(orders * Change::ALL.len(), effort.threads, effort.done, |job| {
        let (change, s) = (Change::ALL[job / orders], job % orders);
        let rows = order(&format!("order-{s}"), &table.ids, 0..table.len());
        let world = World::new(table, contexts, rows, COST_WEIGHT, change);
        let fixed: Vec<usize> =
            (0..3).flat_map(|i| vec![world.best_over(world.third(i)); world.third(i).len()]).collect();
        let policies =
            makers.iter().map(|(_, make)| play(make(table.models.len()).as_mut(), &world, fixed.len(), s as u32));

        std::iter::once(fixed.clone()).chain(policies).map(|picks| run(&world, &fixed, &picks)).collect::<Vec<_>>()
    });
    let names: Vec<String> = std::iter::once("best fixed arm of the third".to_owned())
        .chain(makers.iter().map(|(name, _)| name.clone()))
        .collect();
    let row = |(change, policy): (usize, usize)| {
        let mine: Vec<&Run> = runs[change * orders..(change + 1) * orders].iter().map(|run| &run[policy]).collect();
        let adapted: Vec<f64> = mine.iter().filter_map(|run| run.adaptation.map(|t| t as f64)).collect();
        DriftRow {
            change: Change::ALL[change].name(),
            policy: names[policy].clone(),
            reward: Spread::of(&mine.iter().map(|run| run.reward).collect::<Vec<_>>()),
            missed: mine.len() - adapted.len(),
            adaptation: Spread::of(&adapted),
            timeline: timeline(&mine),
        }
    };
    (0..Change::ALL.len()).flat_map(|change| (0..names.len()).map(move |policy| (change, policy))).map(row).collect()
}

fn run(world: &World<'_>, fixed: &[usize], picks: &[usize]) -> Run {
    let rewards: Vec<f64> = picks.iter().enumerate().map(|(t, arm)| world.utility(t, *arm)).collect();
    let gaps: Vec<f64> = fixed.iter().enumerate().map(|(t, arm)| world.utility(t, *arm) - rewards[t]).collect();
    let third = world.third(1);
    let reward = rewards[third.clone()].iter().sum::<f64>() / third.len() as f64;
    let mean = |end: usize| gaps[end - WINDOW..end].iter().sum::<f64>() / WINDOW as f64;
    let adaptation = (third.start >= WINDOW).then(|| {
        let usual = mean(third.start).max(0.0) + SLACK;
        (WINDOW..=third.len()).find(|after| mean(third.start + after) <= usual)
    });
    Run { reward, adaptation: adaptation.flatten(), rewards }
}

/// Mean reward in equal pieces of the stream, over the orders.
fn timeline(runs: &[&Run]) -> Vec<(usize, f64)> {
    let n = runs.first().map_or(0, |run| run.rewards.len());
    let piece = |i: usize| n * i / DRAWN..n * (i + 1) / DRAWN;
    let mean = |steps: std::ops::Range<usize>| {
        let sum: f64 = runs.iter().map(|run| run.rewards[steps.clone()].iter().sum::<f64>()).sum();
        (steps.end, sum / (steps.len() * runs.len()) as f64)
    };
    (0..DRAWN).map(piece).filter(|steps| !steps.is_empty()).map(mean).collect()
}
