//! Learning one answer at a time: the table is full, but a policy sees the outcome of the arm it chose and no other.
//!
//! Rows come in an order drawn by hash. What a policy gets is held against the arm that was best over the whole stream,
//! and against a ridge that saw every outcome of every past row. The whole curve is shown: cold starts are dear.

mod budget;
mod drift;
pub mod policies;
mod trained;
mod world;

use ndarray::{Array1, Array2, Axis, s};
use serde::Serialize;

pub use budget::{BudgetRow, budgets};
pub use drift::{DriftRow, drift};
pub use trained::{Pupil, TrainedRow, trained};
pub use world::{Change, World};

use super::crew::spread;
use super::exam::Spread;
use super::linalg::{gram, means, wide};
use super::offline::Effort;
use super::routers::Regressors;
use super::split::{blocked, order};
use super::table::Table;
use crate::base::Seed;
use crate::policy::{OnlinePolicy, Round, draw};

/// Dimensions of the context: 1 and 32 principal components.
pub const CONTEXT: usize = 33;
/// Quality given up for the mean cost of the arm with the best score, where cost counts.
pub const COST_WEIGHT: f64 = 0.2;
/// Points of a drawn curve.
const DRAWN: usize = 60;

/// Makes a fresh policy for a number of arms. Called once for every stream.
pub type Maker<'a> = (String, Box<dyn Fn(usize) -> Box<dyn OnlinePolicy> + Send + Sync + 'a>);

/// The reference context: 1 and the first 32 principal components of one set's vectors, centred and scaled so that
/// their mean length on that set is 1.
#[derive(Clone, Debug)]
pub struct Projection {
    centre: Array1<f64>,
    axes: Array2<f64>,
}

impl Projection {
    /// Fits the components on the vectors of a table.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let x = wide(table.vectors.view());
        let centre = means(x.view());
        let x = x - &centre;
        let p = x.ncols();
        let covariance = gram(x.view()) / x.nrows() as f64;
        let eigen = nalgebra::SymmetricEigen::new(nalgebra::DMatrix::from_fn(p, p, |i, j| covariance[[i, j]]));
        let mut ranks: Vec<usize> = (0..p).collect();
        ranks.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let mut axes = Array2::from_shape_fn((p, CONTEXT - 1), |(i, j)| eigen.eigenvectors[(i, ranks[j])]);
        let length = x.dot(&axes).map_axis(Axis(1), |row| row.dot(&row).sqrt()).mean().unwrap_or(1.0);
        axes /= length;
        Self { centre, axes }
    }

    /// The contexts of a table's rows, `[n, 33]`.
    #[must_use]
    pub fn contexts(&self, table: &Table) -> Array2<f32> {
        let components = (wide(table.vectors.view()) - &self.centre).dot(&self.axes);
        let mut x = Array2::ones((table.len(), CONTEXT));
        x.slice_mut(s![.., 1..]).assign(&components.mapv(|c| c as f32));
        x
    }
}

/// Runs a policy through the first steps of a world; the arm it chose at every one.
pub(crate) fn play(policy: &mut dyn OnlinePolicy, world: &World<'_>, steps: usize, number: u32) -> Vec<usize> {
    let mut picks = Vec::with_capacity(steps);
    for t in 0..steps {
        let (open, penalty) = (world.open(t), world.listed_penalty(t));
        let x = world.context(t);
        let probabilities = policy.score(&Round { x: &x, open: &open, penalty: &penalty });
        let arm = draw(&probabilities, Seed(u64::from(number) << 32 | t as u64).uniform("arm"));
        policy.update(&x, arm, world.quality(t, arm), world.penalty(t, arm));
        picks.push(arm);
    }
    picks
}

/// Picks of a ridge that knows all outcomes of all past rows: refitted after 50, 100, 200, ... rows; before that the
/// best mean so far.
fn full_information(world: &World<'_>, vectors: &Array2<f32>) -> Vec<usize> {
    let (n, k) = (world.len(), world.arms());
    let utility = Array2::from_shape_fn((n, k), |(t, arm)| world.utility(t, arm));
    let x = wide(vectors.select(Axis(0), world.order()).view());
    let best =
        |row: ndarray::ArrayView1<'_, f64>| (1..k).fold(0, |best, arm| if row[arm] > row[best] { arm } else { best });
    let mut picks = Vec::with_capacity(n);
    for t in 0..n.min(50) {
        picks.push(if t == 0 { 0 } else { best(means(utility.slice(s![..t, ..])).view()) });
    }
    let (mut from, mut squares) = (50, gram(x.slice(s![..n.min(50), ..])));
    while from < n {
        let to = (2 * from).min(n);
        let past = Regressors::with_squares(x.slice(s![..from, ..]), squares.clone());
        let coming = x.slice(s![from..to, ..]);
        let expected = past.expect(&utility.slice(s![..from, ..]).to_owned(), 30.0, coming);
        picks.extend(expected.rows().into_iter().map(best));
        if to < n {
            squares += &gram(coming);
        }
        from = to;
    }
    picks
}

/// One policy on shuffled streams and on the blocked one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnlineRow {
    /// The policy.
    pub policy: String,
    /// `(requests, mean reward so far)` at 100, 500, 2,000 and the end.
    pub means: Vec<(usize, f64)>,
    /// Regret to the arm that was best over the whole stream, at the same places.
    pub regret_to_fixed: Vec<(usize, Spread)>,
    /// Regret to the full-information ridge, at the same places.
    pub regret_to_ridge: Vec<(usize, Spread)>,
    /// `(requests, mean regret to the best fixed arm, its standard deviation over orders)`.
    pub curve: Vec<(usize, f64, f64)>,
    /// Mean reward at the end of the blocked stream; `None` where there are no groups.
    pub blocked: Option<f64>,
}

/// Online results of a set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Online {
    /// Whether cost counts in the reward, at [`COST_WEIGHT`].
    pub priced: bool,
    /// Orders.
    pub orders: u32,
    /// Best fixed arm and full-information ridge first; last what all arms alike give on average.
    pub rows: Vec<OnlineRow>,
}

/// Every policy on the shuffled streams and the blocked one. `priced`: cost counts.
#[must_use]
pub fn online(table: &Table, contexts: &Array2<f32>, makers: &[Maker<'_>], priced: bool, effort: Effort<'_>) -> Online {
    let orders = effort.seeds;
    let with_blocked = table.groups.len() > 1;
    let streams = spread(orders as usize + usize::from(with_blocked), effort.threads, effort.done, |s| {
        let rows =
            if s < orders as usize { order(&format!("order-{s}"), &table.ids, 0..table.len()) } else { blocked(table) };
        let world = World::new(table, contexts, rows, if priced { COST_WEIGHT } else { 0.0 }, Change::None);
        let rewards = |picks: &[usize]| picks.iter().enumerate().map(|(t, arm)| world.utility(t, *arm)).collect();
        let fixed = vec![world.best_over(0..world.len()); world.len()];
        let mut each: Vec<Vec<f64>> = vec![rewards(&fixed), rewards(&full_information(&world, &table.vectors))];
        each.extend(
            makers
                .iter()
                .map(|(_, make)| rewards(&play(make(table.models.len()).as_mut(), &world, world.len(), s as u32))),
        );
        let all_alike =
            |t: usize| (0..world.arms()).map(|arm| world.utility(t, arm)).sum::<f64>() / world.arms() as f64;
        each.push((0..world.len()).map(all_alike).collect());
        each
    });
    let (shuffled, blocked) = streams.split_at(orders as usize);
    let n = table.len();
    let mut places: Vec<usize> = [100, 500, 2_000].into_iter().filter(|t| *t < n).collect();
    places.push(n);
    let names = ["best fixed arm", "full-information ridge"].map(str::to_owned).into_iter();
    let names = names.chain(makers.iter().map(|(name, _)| name.clone())).chain(["random".to_owned()]);
    let sum = |rewards: &[f64], t: usize| rewards[..t].iter().sum::<f64>();
    let rows = names.enumerate().map(|(i, policy)| {
        let regret = |against: usize, t: usize| {
            Spread::of(&shuffled.iter().map(|each| sum(&each[against], t) - sum(&each[i], t)).collect::<Vec<_>>())
        };
        let mean = |t: usize| shuffled.iter().map(|each| sum(&each[i], t)).sum::<f64>() / (t * shuffled.len()) as f64;
        let drawn = (1..=DRAWN).map(|point| n * point / DRAWN).filter(|t| *t > 0);
        OnlineRow {
            policy,
            means: places.iter().map(|t| (*t, mean(*t))).collect(),
            regret_to_fixed: places.iter().map(|t| (*t, regret(0, *t))).collect(),
            regret_to_ridge: places.iter().map(|t| (*t, regret(1, *t))).collect(),
            curve: drawn.map(|t| (t, regret(0, t))).map(|(t, regret)| (t, regret.mean, regret.sd)).collect(),
            blocked: blocked.first().map(|each| sum(&each[i], n) / n as f64),
        }
    });
    Online { priced, orders, rows: rows.collect() }
}
