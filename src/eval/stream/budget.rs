//! So many dollars a request: does the served pacer hold, and is what it buys better than a fixed mix at the money spent?
//!
//! Policies know the training part of a split; its test part comes as a stream.

use ndarray::{Array1, Array2};
use serde::Serialize;

use super::trained::Pupil;
use super::world::World;
use crate::base::{Seed, Timestamp, Usd};
use crate::eval::crew::spread;
use crate::eval::exam::{Spread, interval};
use crate::eval::metrics::pair::quantile;
use crate::eval::metrics::{Hull, Point, Sweep};
use crate::eval::offline::Effort;
use crate::eval::routers::Outcomes;
use crate::eval::table::Table;
use crate::policy::pacer::{Pace, Pacer, Rate, Standing};
use crate::policy::{OnlinePolicy, Round, draw};

/// Requests' worth of budget at hand at the start, and at most saved up.
const START: f64 = 3.0;
const SAVED: f64 = 100.0;
/// From here on an overshoot counts.
const SETTLED: usize = 200;
/// An arm is open while the purse holds this quantile of what its answers cost in training.
const UPPER: f64 = 0.95;

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
    /// 2.5 and 97.5 percentiles of the gain over splits.
    pub interval: (f64, f64),
    /// What the zero router and the oracle reach at the budget, all rows.
    pub lines: (f64, f64),
}

/// What chooses under the pacer.
enum Player<'a> {
    /// A policy that goes on learning; its costs are the arms' training means.
    Online(Box<dyn OnlinePolicy>),
    /// Expectations of a router that learned once, a row a test row.
    Offline(&'a Outcomes),
}

/// One run: mean score, mean cost, overshoot, and the zero router's score at that cost.
#[derive(Clone, Copy)]
struct Run {
    quality: f64,
    cost: f64,
    overshoot: f64,
    zero: f64,
}

/// The served policy, warm, and a router that learned once, under three budgets: a sixth, a half and five sixths of the
/// way from the cheapest to the dearest arm, on the logarithm of cost. Empty where costs are not known.
#[must_use]
pub fn budgets(table: &Table, contexts: &Array2<f32>, pupils: &[Pupil], effort: Effort<'_>) -> Vec<BudgetRow> {
    if !table.costs_are_complete() {
        return Vec::new();
    }
    let everything = Outcomes::of(table, &(0..table.len()).collect::<Vec<_>>());
    let Some(cost) = &everything.cost else { return Vec::new() };
    let listed = everything.mean_cost();
    let (cheap, dear) =
        (listed.iter().copied().fold(f64::INFINITY, f64::min), listed.iter().copied().fold(0.0, f64::max));
    let zero = zero_router(&everything);
    let both = (everything.score.view(), cost.view());
    let even = Array1::from_elem(table.len(), 1.0 / table.len() as f64);
    let oracle = Hull::above(Sweep::of(both, both, dear).points(even.view()));
    let levels = [1.0 / 6.0, 0.5, 5.0 / 6.0].map(|share| cheap * (dear / cheap).powf(share));
    let runs = spread(pupils.len(), effort.threads, effort.done, |s| {
        let pupil = &pupils[s];
        let rows = pupil.order(table);
        let test = Outcomes::of(table, &pupil.split.test);
        let world = pupil.world(table, contexts, &rows);
        levels.map(|budget| {
            let game =
                Game { known: &pupil.known, world: &world, rows: &rows, test: &test, budget, number: pupil.number };
            std::iter::once(Player::Online(Box::new(pupil.warm.clone())))
                .chain(pupil.expected.as_ref().map(Player::Offline))
                .map(|p| game.run(p))
                .collect::<Vec<_>>()
        })
    });
    let names = ["pointsman, warm", "pointsman, paced"];
    let players = runs.first().map_or(0, |run| run[0].len());
    let row = |(level, player): (usize, usize)| {
        let over = |f: &dyn Fn(Run) -> f64| runs.iter().map(|run| f(run[level][player])).collect::<Vec<f64>>();
        let gains = over(&|run| run.quality - run.zero);
        BudgetRow {
            policy: names[player].to_owned(),
            budget: levels[level],
            utilisation: Spread::of(&over(&|run| run.cost / levels[level])),
            overshoot: Spread::of(&over(&|run| run.overshoot)),
            quality: Spread::of(&over(&|run| run.quality)),
            gain: Spread::of(&gains),
            interval: interval(gains),
            lines: (zero.at(levels[level]), oracle.at(levels[level])),
        }
    };
    (0..levels.len()).flat_map(|level| (0..players).map(move |player| (level, player))).map(row).collect()
}

fn zero_router(outcomes: &Outcomes) -> Hull {
    let (score, cost) = (outcomes.mean_score(), outcomes.mean_cost());
    Hull::above((0..score.len()).map(|arm| Point { cost: cost[arm], quality: score[arm] }))
}

/// One stream under one budget.
struct Game<'a> {
    /// Outcomes of the training part.
    known: &'a Outcomes,
    world: &'a World<'a>,
    /// Test rows in the order they come.
    rows: &'a [usize],
    test: &'a Outcomes,
    budget: f64,
    number: u32,
}

impl Game<'_> {
    fn run(&self, mut player: Player<'_>) -> Run {
        let mut pacer = {
            let (rate, credit) = (Rate::PerRequest(Usd(self.budget)), Usd(SAVED * self.budget));
            let standing = Pacer::new(rate, credit, Timestamp(0)).standing();
            Pacer::resumed(rate, credit, Standing { purse: Usd((START - 1.0) * self.budget), ..standing })
        };
        let listed = self.known.mean_cost();
        let upper: Vec<f64> = self
            .known
            .cost
            .iter()
            .flat_map(|c| {
                c.columns()
                    .into_iter()
                    .map(|c| {
                        let mut sorted = c.to_vec();
                        sorted.sort_by(f64::total_cmp);
                        quantile(&sorted, UPPER)
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        let cheapest = (1..listed.len()).fold(0, |best, arm| if listed[arm] < listed[best] { arm } else { best });
        let (mut quality, mut spent, mut overshoot) = (0.0, 0.0, f64::NEG_INFINITY);
        for (t, row) in self.rows.iter().enumerate() {
            let Pace { per_usd, .. } = pacer.pace(Timestamp(t as u64));
            let open: Vec<bool> = (0..listed.len()).map(|arm| arm == cheapest || pacer.has(Usd(upper[arm]))).collect();
            let arm = match &mut player {
                Player::Online(policy) => {
                    let penalty: Vec<f64> = listed.iter().map(|cost| per_usd * cost).collect();
                    let x = self.world.context(t);
                    let probabilities = policy.score(&Round { x: &x, open: &open, penalty: &penalty });
                    draw(&probabilities, Seed(u64::from(self.number) << 32 | t as u64).uniform("arm"))
                }
                Player::Offline(expected) => {
                    let cost = |arm: usize| expected.cost.as_ref().map_or(listed[arm], |cost| cost[[*row, arm]]);
                    let utility = |arm: usize| expected.score[[*row, arm]] - per_usd * cost(arm);
                    let better = |best: usize, arm: usize| if utility(arm) > utility(best) { arm } else { best };
                    (0..listed.len()).filter(|arm| open[*arm]).fold(cheapest, better)
                }
            };
            let paid = self.test.cost.as_ref().map_or(0.0, |cost| cost[[*row, arm]]);
            let got = self.test.score[[*row, arm]];
            if let Player::Online(policy) = &mut player {
                policy.update(&self.world.context(t), arm, got, per_usd * paid);
            }
            pacer.settle(Usd(paid), Usd::ZERO);
            quality += got;
            spent += paid;
            if t + 1 >= SETTLED {
                overshoot = overshoot.max(spent / ((t + 1) as f64 * self.budget) - 1.0);
            }
        }
        let n = self.rows.len() as f64;
        let zero = zero_router(self.test).at(spent / n);
        Run { quality: quality / n, cost: spent / n, overshoot, zero }
    }
}
