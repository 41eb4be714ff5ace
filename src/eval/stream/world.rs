//! What a stream of requests is at every step: who is there, what they answer, what they cost.

use std::ops::Range;

use ndarray::{Array2, Axis};

use crate::eval::linalg::wide;
use crate::eval::table::Table;

/// What changes in the middle third of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The dearest arm costs a hundredth.
    PriceCut,
    /// The best arm costs ten times as much.
    PriceRise,
    /// The best arm answers with the rows of the middle one of those that score less (of two: the lower), at its own price.
    SilentDrop,
    /// The best arm is gone.
    Removed,
    /// The best arm comes only with the second third.
    Added,
}

impl Change {
    /// Every change that is played.
    pub const ALL: [Self; 5] = [Self::PriceCut, Self::PriceRise, Self::SilentDrop, Self::Removed, Self::Added];

    /// Its name in the tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "no change",
            Self::PriceCut => "dearest x 0.01",
            Self::PriceRise => "best x 10",
            Self::SilentDrop => "silent drop of the best",
            Self::Removed => "best removed",
            Self::Added => "best added",
        }
    }
}

/// A stream of rows of a table with, perhaps, a change in it.
#[derive(Clone, Debug)]
pub struct World<'a> {
    contexts: &'a Array2<f32>,
    order: Vec<usize>,
    score: Array2<f64>,
    /// Cost in the unit of reward: weight x cost / mean cost of the arm with the best score.
    penalty: Array2<f64>,
    /// Mean penalty of each arm: its list price, known before any request.
    listed: Vec<f64>,
    change: Change,
    arm: usize,
    stand_in: usize,
}

impl<'a> World<'a> {
    /// The stream `order` of a table. Reward = score - `weight` x cost / mean cost of the arm with the best mean score;
    /// sets without costs have no penalty.
    #[must_use]
    pub fn new(table: &Table, contexts: &'a Array2<f32>, order: Vec<usize>, weight: f64, change: Change) -> Self {
        let score = wide(table.score.view());
        let (n, k) = score.dim();
        let mean = |matrix: &Array2<f64>, arm: usize| matrix.column(arm).sum() / n as f64;
        let first_best =
            |value: &dyn Fn(usize) -> f64| (1..k).fold(0, |b, arm| if value(arm) > value(b) { arm } else { b });
        let strongest = first_best(&|arm| mean(&score, arm));
        let penalty = match &table.cost {
            Some(cost) if weight != 0.0 => {
                let cost = wide(cost.view());
                let unit = weight / mean(&cost, strongest);
                cost * unit
            }
            _ => Array2::zeros((n, k)),
        };
        let listed: Vec<f64> = (0..k).map(|arm| mean(&penalty, arm)).collect();
        let best = first_best(&|arm| mean(&score, arm) - listed[arm]);
        let arm = if change == Change::PriceCut { first_best(&|arm| listed[arm]) } else { best };
        let mut weaker: Vec<usize> = (0..k).filter(|other| mean(&score, *other) < mean(&score, arm)).collect();
        weaker.sort_by(|a, b| mean(&score, *b).total_cmp(&mean(&score, *a)));
        let stand_in = weaker.get(weaker.len() / 2).copied().unwrap_or(arm);
        Self { contexts, order, score, penalty, listed, change, arm, stand_in }
    }

    /// Steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Arms.
    #[must_use]
    pub fn arms(&self) -> usize {
        self.listed.len()
    }

    /// Rows of the table in the order they come.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Steps of a third, 0 to 2.
    #[must_use]
    pub fn third(&self, third: usize) -> Range<usize> {
        let n = self.len();
        n * third / 3..n * (third + 1) / 3
    }

    fn changed(&self, t: usize) -> bool {
        match self.change {
            Change::None => false,
            Change::Added => self.third(0).contains(&t),
            _ => self.third(1).contains(&t),
        }
    }

    /// Which arms are there at step `t`.
    #[must_use]
    pub fn open(&self, t: usize) -> Vec<bool> {
        let gone = matches!(self.change, Change::Removed | Change::Added) && self.changed(t);
        (0..self.arms()).map(|arm| !(gone && arm == self.arm)).collect()
    }

    /// The context of step `t`.
    #[must_use]
    pub fn context(&self, t: usize) -> Vec<f32> {
        self.contexts.index_axis(Axis(0), self.order[t]).to_vec()
    }

    /// Score of an arm at step `t`.
    #[must_use]
    pub fn quality(&self, t: usize, arm: usize) -> f64 {
        let dropped = self.change == Change::SilentDrop && arm == self.arm && self.changed(t);
        self.score[[self.order[t], if dropped { self.stand_in } else { arm }]]
    }

    fn factor(&self, t: usize, arm: usize) -> f64 {
        match self.change {
            Change::PriceCut if arm == self.arm && self.changed(t) => 0.01,
            Change::PriceRise if arm == self.arm && self.changed(t) => 10.0,
            _ => 1.0,
        }
    }

    /// What an arm costs at step `t`, in the unit of reward.
    #[must_use]
    pub fn penalty(&self, t: usize, arm: usize) -> f64 {
        self.factor(t, arm) * self.penalty[[self.order[t], arm]]
    }

    /// What every arm costs by its price list at step `t`: known before the choice, as prices are.
    #[must_use]
    pub fn listed_penalty(&self, t: usize) -> Vec<f64> {
        (0..self.arms()).map(|arm| self.factor(t, arm) * self.listed[arm]).collect()
    }

    /// Reward of an arm at step `t`.
    #[must_use]
    pub fn utility(&self, t: usize, arm: usize) -> f64 {
        self.quality(t, arm) - self.penalty(t, arm)
    }

    /// The arm of greatest mean reward over these steps, among those open at the first of them.
    #[must_use]
    pub fn best_over(&self, steps: Range<usize>) -> usize {
        let open = self.open(steps.start);
        let mean = |arm: usize| steps.clone().map(|t| self.utility(t, arm)).sum::<f64>();
        let sums: Vec<f64> = (0..self.arms()).map(mean).collect();
        (0..self.arms())
            .filter(|arm| open[*arm])
            .fold(None, |best: Option<usize>, arm| match best {
                Some(b) if sums[arm] <= sums[b] => Some(b),
                _ => Some(arm),
            })
            .unwrap_or_default()
    }
}
