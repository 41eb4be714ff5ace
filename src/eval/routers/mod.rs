//! Who is judged: anything that learns from some rows and says what it expects of every model on others.
//!
//! A router of one's own needs one method, [`Router::expect`]. It is handed a [`Lesson`]: the prompts and outcomes of
//! the training rows and the prompts, but not the outcomes, of the test rows. What several routers need (neighbours, the
//! ridge, clusters) is worked out once a lesson and kept in it.

mod choices;
mod clusters;
mod design;
mod heads;
mod linear;
mod neighbours;
mod plain;
mod recipe;

use std::sync::OnceLock;

use ndarray::{Array1, Array2, Axis, s};

pub use choices::{Choices, ChoicesError};
pub use linear::{Regressors, Ridge, Shuffled};
pub use neighbours::{KnnRidge, Neighbours};
pub use plain::{GroupMean, Length, Lexical, Random};
pub use recipe::{Pointsman, SETTINGS, Settings};

use super::linalg::{means, wide};
use super::split::Split;
use super::table::{RowId, Table};

/// Prompts as a router may see them. Row-wise parts have the same length.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// Names of the rows.
    pub ids: Vec<RowId>,
    /// Unit embeddings `[n, 384]`.
    pub vectors: Array2<f32>,
    /// The ten lexical counts `[n, 10]`.
    pub lexical: Array2<f64>,
    /// Unicode scalar values.
    pub chars: Vec<f64>,
    /// Task labels, where known. A served request does not carry one: only training rows' labels may be used to route.
    pub group: Vec<Option<u16>>,
}

impl Prompts {
    /// These rows of a table.
    #[must_use]
    pub fn of(table: &Table, rows: &[usize]) -> Self {
        Self {
            ids: rows.iter().map(|row| table.ids[*row]).collect(),
            vectors: table.vectors.select(Axis(0), rows),
            lexical: wide(table.lexical.select(Axis(0), rows).view()),
            chars: rows.iter().map(|row| f64::from(table.chars[*row])).collect(),
            group: rows.iter().map(|row| table.group[*row]).collect(),
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What is known or expected of every model on some rows, `[n, K]` each. `cost` is `None` where the set has no costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    /// Score, 0..1 where known; a prediction may leave that range.
    pub score: Array2<f64>,
    /// US dollars.
    pub cost: Option<Array2<f64>>,
}

impl Outcomes {
    /// The outcomes of these rows of a table.
    #[must_use]
    pub fn of(table: &Table, rows: &[usize]) -> Self {
        let wide_rows = |matrix: &Array2<f32>| wide(matrix.select(Axis(0), rows).view());
        Self { score: wide_rows(&table.score), cost: table.cost.as_ref().map(wide_rows) }
    }

    /// Mean score of each model.
    #[must_use]
    pub fn mean_score(&self) -> Array1<f64> {
        means(self.score.view())
    }

    /// Mean cost of each model; zeros where the set has no costs.
    #[must_use]
    pub fn mean_cost(&self) -> Array1<f64> {
        self.cost.as_ref().map_or_else(|| Array1::zeros(self.score.ncols()), |cost| means(cost.view()))
    }

    /// The model of greatest mean score, then of least mean cost, then the first.
    #[must_use]
    pub fn best_single(&self) -> usize {
        let (score, cost) = (self.mean_score(), self.mean_cost());
        let better = |a: usize, b: usize| (score[a], -cost[a]) > (score[b], -cost[b]);
        (1..score.len()).fold(0, |best, model| if better(model, best) { model } else { best })
    }

    /// The same numbers for every one of `n` rows.
    #[must_use]
    pub fn constant(n: usize, score: &Array1<f64>, cost: Option<&Array1<f64>>) -> Self {
        let repeat = |row: &Array1<f64>| row.broadcast((n, row.len())).expect("a row repeats").to_owned();
        Self { score: repeat(score), cost: cost.map(repeat) }
    }

    /// `f` applied to score and cost alike.
    #[must_use]
    pub fn map(&self, f: impl Fn(&Array2<f64>) -> Array2<f64>) -> Self {
        Self { score: f(&self.score), cost: self.cost.as_ref().map(f) }
    }

    /// `f` applied to the scores of both and the costs of both.
    #[must_use]
    pub fn with(&self, other: &Self, f: impl Fn(&Array2<f64>, &Array2<f64>) -> Array2<f64>) -> Self {
        let cost = self.cost.as_ref().zip(other.cost.as_ref()).map(|(a, b)| f(a, b));
        Self { score: f(&self.score, &other.score), cost }
    }

    /// The first `n` rows.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        self.map(|matrix| matrix.slice(s![..n, ..]).to_owned())
    }

    /// The mean of two expectations.
    #[must_use]
    pub fn mean_with(&self, other: &Self) -> Self {
        self.with(other, |a, b| (a + b) * 0.5)
    }
}

/// What a router learns from, and the prompts it is asked about.
#[derive(Debug)]
pub struct Lesson {
    /// Names of the models, in column order.
    pub models: Vec<String>,
    /// Number of the split or fold: the seed of whatever a router draws.
    pub number: u32,
    /// Training prompts.
    pub train: Prompts,
    /// Their outcomes.
    pub outcomes: Outcomes,
    /// Test prompts.
    pub test: Prompts,
    memo: Memo,
}

/// What several routers need of one lesson.
#[derive(Debug, Default)]
struct Memo {
    neighbours: OnceLock<neighbours::Nearest>,
    ridge: OnceLock<Outcomes>,
    knn: OnceLock<Outcomes>,
    design: OnceLock<design::Design>,
    recipe: OnceLock<Outcomes>,
}

impl Lesson {
    /// The lesson of a split of a table.
    #[must_use]
    pub fn of(table: &Table, split: &Split, number: u32) -> Self {
        Self::new(
            table.models.clone(),
            number,
            Prompts::of(table, &split.train),
            Outcomes::of(table, &split.train),
            Prompts::of(table, &split.test),
        )
    }

    /// A lesson from its parts.
    #[must_use]
    pub fn new(models: Vec<String>, number: u32, train: Prompts, outcomes: Outcomes, test: Prompts) -> Self {
        Self { models, number, train, outcomes, test, memo: Memo::default() }
    }

    /// Expectations that are the same for every test row: the training means.
    #[must_use]
    pub fn train_means(&self) -> Outcomes {
        let cost = self.outcomes.cost.is_some().then(|| self.outcomes.mean_cost());
        Outcomes::constant(self.test.len(), &self.outcomes.mean_score(), cost.as_ref())
    }
}

/// Learns from a lesson's training rows and says what it expects of every model on its test rows.
pub trait Router: Send + Sync {
    /// Its name in the tables.
    fn name(&self) -> &str;

    /// Expected score and cost of every model for every test row; `None` if it cannot work on such a set.
    fn expect(&self, lesson: &Lesson) -> Option<Outcomes>;

    /// Whether it needs what a served request does not carry (the task's label): a yardstick, not a rival.
    fn is_yardstick(&self) -> bool {
        false
    }
}
