//! Budgets: the served policy under the served pacer, on public outcomes, after one pass to warm up.

use super::streams::contexts;
use super::{Bar, mean};
use crate::base::{Seed, Timestamp, Usd};
use crate::eval::crew::spread;
use crate::eval::metrics::{Hull, Point};
use crate::eval::offline::Effort;
use crate::eval::split::order;
use crate::eval::table::Table;
use crate::policy::pacer::{Pacer, Rate};
use crate::policy::{Bandit, Config, Explore, OnlinePolicy, Round, draw};

/// US dollars a request, as published with the set.
const BUDGETS: [f64; 3] = [3.0e-4, 6.6e-4, 1.9e-3];
/// Requests' worth of budget that may be saved up.
const CREDIT: f64 = 100.0;
/// What is known of an arm's cost before it is played: its mean, worth so many answers.
const LISTED: f64 = 20.0;
/// Standard deviations from an arm's mean cost to the most that an answer of it is likely to cost.
const LIKELY: f64 = 2.0;

/// What a pass under a budget brought.
struct Pass {
    quality: f64,
    spent: f64,
    /// Greatest excess of spending over what had come in and the credit, in requests' budgets; not above 0 if it never
    /// passed.
    excess: f64,
}

/// The bars of the three budgets. Empty where costs are not known.
#[must_use]
pub fn bars(table: &Table, effort: Effort<'_>) -> Vec<Bar> {
    let Some(cost) = table.cost.as_ref().filter(|_| table.costs_are_complete()) else { return Vec::new() };
    let x = contexts(table);
    let (n, k) = (table.len(), table.models.len());
    let (cost, score) = (cost.mapv(f64::from), table.score.mapv(f64::from));
    let listed: Vec<f64> = (0..k).map(|arm| cost.column(arm).sum() / n as f64).collect();
    let likely: Vec<f64> = (0..k).map(|arm| listed[arm] + LIKELY * cost.column(arm).std(0.0)).collect();
    let point = |arm: usize| Point { cost: listed[arm], quality: score.column(arm).sum() / n as f64 };
    let mixes = Hull::above((0..k).map(point));
    let mut bars = Vec::new();
    for budget in BUDGETS {
        let passes = spread(effort.seeds as usize, effort.threads, effort.done, |s| {
            let mut policy = Bandit::new("paced", Config::default(), Explore::Floor, k);
            let mut pacer = Pacer::new(Rate::PerRequest(Usd(budget)), Usd(CREDIT * budget), Timestamp(0));
            let mut expected: Vec<(f64, f64)> = listed.iter().map(|cost| (cost * LISTED, LISTED)).collect();
            let mut pass = |tag: usize| {
                let (mut quality, mut spent, mut excess) = (0.0, 0.0, f64::NEG_INFINITY);
                for (t, row) in order(&format!("order-{tag}"), &table.ids, 0..n).into_iter().enumerate() {
                    let pace = pacer.pace(Timestamp(t as u64));
                    let means: Vec<f64> = expected.iter().map(|(sum, rows)| sum / rows).collect();
                    let purse = pace.purse.map_or(f64::INFINITY, |purse| purse.0);
                    // An arm is open while the purse holds what it likely costs at most, not what this answer of it
                    // would cost, which nobody knows; but no answer is dearer than the purse, as where it has a cap.
                    let open: Vec<bool> = (0..k).map(|arm| likely[arm].max(cost[[row, arm]]) <= purse).collect();
                    let penalty: Vec<f64> = means.iter().map(|mean| pace.per_usd * mean).collect();
                    let context = x.row(row).to_vec();
                    if !open.contains(&true) {
                        continue;
                    }
                    let p = policy.score(&Round { x: &context, open: &open, penalty: &penalty });
                    let arm = draw(&p, Seed((s as u64) << 40 | (tag as u64) << 32 | t as u64).uniform("arm"));
                    let paid = cost[[row, arm]];
                    pacer.settle(Usd(paid), Usd(0.0));
                    expected[arm] = (expected[arm].0 + paid, expected[arm].1 + 1.0);
                    policy.update(&context, arm, score[[row, arm]], 0.0);
                    quality += score[[row, arm]];
                    spent += paid;
                    excess = excess.max(spent / budget - (t + 1) as f64 - CREDIT);
                }
                Pass { quality: quality / n as f64, spent: spent / n as f64, excess }
            };
            let _ = pass(s);
            pass(s + 10)
        });
        let over = |f: &dyn Fn(&Pass) -> f64| mean(&passes.iter().map(f).collect::<Vec<_>>());
        let (gain, error) = over(&|pass| pass.quality - mixes.at(budget));
        let (used, spread) = over(&|pass| pass.spent / budget);
        let named = format!("{} at {budget:.1e} USD a request, warm", table.set);
        bars.push(
            Bar::at_least(format!("{named}: quality less the best two-arm mix's"), gain, -0.002)
                .with_error(error)
                .digits(4),
        );
        bars.push(Bar::at_least(format!("{named}: spent of the budget, at least"), used, 0.97).with_error(spread));
        bars.push(Bar::at_most(format!("{named}: spent of the budget, at most"), used, 1.0).with_error(spread));
        let worst = passes.iter().map(|pass| pass.excess).fold(f64::NEG_INFINITY, f64::max);
        bars.push(
            Bar::at_most(format!("{named}: most spent beyond t B + credit, in requests' budgets"), worst, 0.0)
                .digits(1),
        );
    }
    bars
}
