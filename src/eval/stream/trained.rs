//! What having been trained is worth: the test part of every split as a stream, played by who learned on the training part
//! and stands still, by who learned there and goes on learning, and by who begins with nothing.

use ndarray::Array2;
use serde::Serialize;

use super::policies::{Published, ours, warm};
use super::{Change, World, play};
use crate::eval::crew::spread;
use crate::eval::exam::Spread;
use crate::eval::metrics::many::pick;
use crate::eval::offline::{Effort, Sitting};
use crate::eval::routers::{Outcomes, Router};
use crate::eval::split::{Split, order};
use crate::eval::table::Table;
use crate::policy::Bandit;

/// What was learned on the training part of a split.
#[derive(Debug)]
pub struct Pupil {
    /// Number of the split.
    pub(super) number: u32,
    pub(super) split: Split,
    /// Outcomes of the training part.
    pub(super) known: Outcomes,
    /// What the router that learned once expects on the test part; `None` if it cannot work on the set.
    pub(super) expected: Option<Outcomes>,
    /// The served policy, told every outcome of the training part.
    pub(super) warm: Published<Bandit>,
}

impl Pupil {
    /// What is learned on the training part of this split.
    #[must_use]
    pub fn new(sitting: Sitting, contexts: &Array2<f32>, router: &dyn Router) -> Self {
        let Sitting { number, split, lesson, .. } = sitting;
        let expected = router.expect(&lesson).map(|expected| expected.first(split.test.len()));
        let warm = warm(&lesson, contexts, &split.train);
        Self { number, split, known: lesson.outcomes, expected, warm }
    }

    /// Places in the test part, in the order they come.
    pub(super) fn order(&self, table: &Table) -> Vec<usize> {
        order(&format!("order-{}", self.number), &table.ids, 0..self.split.test.len())
    }

    /// The test part as a stream.
    pub(super) fn world<'a>(&self, table: &Table, contexts: &'a Array2<f32>, order: &[usize]) -> World<'a> {
        let stream = order.iter().map(|row| self.split.test[*row]).collect();
        World::new(table, contexts, stream, 0.0, Change::None)
    }
}

/// One player on the test parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainedRow {
    /// The player.
    pub policy: String,
    /// Mean score, over the splits.
    pub score: Spread,
    /// Mean score less that of the best single model of the training part, over the splits.
    pub gain: Spread,
}

/// Every player on the test part of every split, money worth nothing.
#[must_use]
pub fn trained(table: &Table, contexts: &Array2<f32>, pupils: &[Pupil], effort: Effort<'_>) -> Vec<TrainedRow> {
    let splits: Vec<Vec<f64>> = spread(pupils.len(), effort.threads, effort.done, |s| {
        let pupil = &pupils[s];
        let rows = pupil.order(table);
        let world = pupil.world(table, contexts, &rows);
        let n = world.len();
        let score =
            |picks: &[usize]| picks.iter().enumerate().map(|(t, arm)| world.quality(t, *arm)).sum::<f64>() / n as f64;
        let mut warm = pupil.warm.clone();
        let mut cold = ours().1(world.arms());
        let mut scores = vec![
            score(&vec![pupil.known.best_single(); n]),
            score(&play(&mut warm, &world, n, pupil.number)),
            score(&play(cold.as_mut(), &world, n, pupil.number)),
        ];
        if let Some(expected) = &pupil.expected {
            let still = rows.iter().map(|row| pick(expected.score.row(*row), std::iter::repeat(&0.0), 0.0));
            scores.push(score(&still.collect::<Vec<_>>()));
        }
        scores
    });
    let players = splits.first().map_or(0, Vec::len);
    let over = |of: &dyn Fn(&[f64]) -> f64| Spread::of(&splits.iter().map(|split| of(split)).collect::<Vec<_>>());
    ["best single of the training part", "pointsman, warm", "pointsman, cold", "pointsman, offline-trained"]
        .into_iter()
        .enumerate()
        .take(players)
        .map(|(i, policy)| TrainedRow {
            policy: policy.to_owned(),
            score: over(&|scores| scores[i]),
            gain: over(&|scores| scores[i] - scores[0]),
        })
        .collect()
}
