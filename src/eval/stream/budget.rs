//! So many dollars a request: does the pacer hold, and is what it buys better than a fixed mix at the money spent?

use ndarray::Array2;
use serde::Serialize;

use super::Maker;
use super::world::{Change, World};
use crate::base::Seed;
use crate::eval::crew::spread;
use crate::eval::exam::{Spread, interval};
use crate::eval::linalg::wide;
use crate::eval::metrics::{Hull, Point};
use crate::eval::offline::Effort;
use crate::eval::split::order;
use crate::eval::table::Table;
use crate::policy::{OnlinePolicy, Round, draw};

/// Step of the price of money, and how much of it one budget's worth of cost weighs in quality.
const STEP: f64 = 0.05;
const SCALE: f64 = 0.01;
/// Greatest price of money.
const DEAREST: f64 = 200.0;
/// Requests' worth of budget at hand at the start, and at most saved up.
const START: f64 = 5.0;
const SAVED: f64 = 100.0;
/// From here on an overshoot counts.
const SETTLED: usize = 200;

/// A policy under a budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetRow {
    /// The policy.
    pub policy: String,
    /// US dollars a request.
    pub budget: f64,
    /// Mean cost over the budget.
    pub utilisation: Spread,
    /// Greatest excess of spending over the budget so far, from request 200 on.
    pub overshoot: Spread,
    /// Mean score.
    pub quality: Spread,
    /// Mean score less the zero router's at the cost realised.
    pub gain: Spread,
    /// 2.5 and 97.5 percentiles of the gain over orders.
    pub interval: (f64, f64),
    /// What the zero router and the oracle reach at the budget.
    pub lines: (f64, f64),
}

/// A price of money that rises while more than the budget is spent and falls while less is, and a purse that is never
/// overdrawn by more than one answer.
struct Pacer {
    budget: f64,
    price: f64,
    purse: f64,
}

impl Pacer {
    fn penalty(&self, cost: f64) -> f64 {
        self.price * cost / self.budget * SCALE
    }

    fn spend(&mut self, cost: f64) {
        self.price = (self.price + STEP * ((cost / self.budget).min(20.0) - 1.0)).clamp(0.0, DEAREST);
        self.purse = (self.purse - cost + self.budget).min(SAVED * self.budget);
    }
}

/// Every policy under three budgets: a sixth, a half and five sixths of the way from the cheapest to the dearest arm, on
/// the logarithm of cost. Empty without costs.
#[must_use]
pub fn budgets(table: &Table, contexts: &Array2<f32>, makers: &[Maker<'_>], effort: Effort<'_>) -> Vec<BudgetRow> {
    let Some(cost) = table.cost.as_ref().map(|cost| wide(cost.view())) else { return Vec::new() };
    let score = wide(table.score.view());
    let (n, k) = score.dim();
    let mean = |matrix: &Array2<f64>, arm: usize| matrix.column(arm).sum() / n as f64;
    let listed: Vec<f64> = (0..k).map(|arm| mean(&cost, arm)).collect();
    let zero = Hull::above((0..k).map(|arm| Point { cost: listed[arm], quality: mean(&score, arm) }));
    let both = (score.view(), cost.view());
    let dear = listed.iter().copied().fold(0.0, f64::max);
    let cheap = listed.iter().copied().fold(f64::INFINITY, f64::min);
    let even = ndarray::Array1::from_elem(n, 1.0 / n as f64);
    let oracle = Hull::above(crate::eval::metrics::Sweep::of(both, both, dear).points(even.view()));
    let levels: Vec<f64> =
        [1.0 / 6.0, 0.5, 5.0 / 6.0].iter().map(|share| cheap * (dear / cheap).powf(*share)).collect();
    let orders = effort.seeds as usize;
    let runs = spread(orders * levels.len(), effort.threads, effort.done, |job| {
        let (budget, s) = (levels[job / orders], job % orders);
        let rows = order(&format!("order-{s}"), &table.ids, 0..n);
        let world = World::new(table, contexts, rows, 0.0, Change::None);
        let one = |(_, make): &Maker<'_>| paced(make(k).as_mut(), &world, (&cost, &listed), budget, s as u32);
        makers.iter().map(one).collect::<Vec<_>>()
    });
    let row = |(level, policy): (usize, usize)| {
        let mine = || runs[level * orders..(level + 1) * orders].iter().map(move |run| run[policy]);
        let over = |f: &dyn Fn((f64, f64, f64)) -> f64| mine().map(f).collect::<Vec<f64>>();
        let gains = over(&|(quality, cost, _)| quality - zero.at(cost));
        BudgetRow {
            policy: makers[policy].0.clone(),
            budget: levels[level],
            utilisation: Spread::of(&over(&|(_, cost, _)| cost / levels[level])),
            overshoot: Spread::of(&over(&|(_, _, overshoot)| overshoot)),
            quality: Spread::of(&over(&|(quality, ..)| quality)),
            gain: Spread::of(&gains),
            interval: interval(gains),
            lines: (zero.at(levels[level]), oracle.at(levels[level])),
        }
    };
    (0..levels.len()).flat_map(|level| (0..makers.len()).map(move |policy| (level, policy))).map(row).collect()
}

/// `(mean score, mean cost, overshoot)` of a policy on a paced stream.
fn paced(
    policy: &mut dyn OnlinePolicy,
    world: &World<'_>,
    (cost, listed): (&Array2<f64>, &[f64]),
    budget: f64,
    number: u32,
) -> (f64, f64, f64) {
    let mut pacer = Pacer { budget, price: 0.0, purse: START * budget };
    let cheapest = (1..listed.len()).fold(0, |best, arm| if listed[arm] < listed[best] { arm } else { best });
    let (mut quality, mut spent, mut overshoot) = (0.0, 0.0, f64::NEG_INFINITY);
    for t in 0..world.len() {
        let open: Vec<bool> = (0..listed.len()).map(|arm| arm == cheapest || listed[arm] <= pacer.purse).collect();
        let penalty: Vec<f64> = listed.iter().map(|cost| pacer.penalty(*cost)).collect();
        let x = world.context(t);
        let probabilities = policy.score(&Round { x: &x, open: &open, penalty: &penalty });
        let arm = draw(&probabilities, Seed(u64::from(number) << 32 | t as u64).uniform("arm"));
        let paid = cost[[world.order()[t], arm]];
        // What was learned of quality must not depend on the price of money of that moment.
        policy.update(&x, arm, world.quality(t, arm), pacer.penalty(paid));
        pacer.spend(paid);
        quality += world.quality(t, arm);
        spent += paid;
        if t + 1 >= SETTLED {
            overshoot = overshoot.max(spent / ((t + 1) as f64 * budget) - 1.0);
        }
    }
    (quality / world.len() as f64, spent / world.len() as f64, overshoot)
}
