//! One test part: the truth about it, the lines to clear, and the resampling that says how sure a difference is.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::linalg::means;
use super::metrics::{Figures, Pair, PairFigures, Sweep, Yardstick};
use super::routers::Outcomes;

/// A test part and its truth. What is asked depends on what the set knows.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful exist at a time")]
pub enum Exam {
    /// A pool with costs: cost-quality curves.
    Pool(Pool),
    /// A weak and a strong model without costs: shares of strong calls.
    Pair {
        /// The outcomes.
        pair: Pair,
        /// Column of the strong model.
        strong: usize,
    },
    /// Scores alone: the mean score of the picks.
    Scores {
        /// Scores `[n, K]`.
        truth: Array2<f64>,
        /// Column of the model that was best on the training part.
        best: usize,
        /// The greatest score of every row.
        oracle: Array1<f64>,
    },
}

/// A pool with costs on one test part.
#[derive(Clone, Debug)]
pub struct Pool {
    truth: (Array2<f64>, Array2<f64>),
    reference: f64,
    best: usize,
    singles: Sweep,
    oracle: Sweep,
    /// The lines to clear, all rows weighing alike.
    lines: Yardstick,
}

/// A router's marks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Marks {
    /// On a pool with costs.
    Pool(Figures),
    /// Between two models.
    Pair(PairFigures),
    /// On scores alone.
    Scores(ScoreFigures),
}

/// What a router is worth where costs are not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreFigures {
    /// Mean score of the picks.
    pub quality: f64,
    /// Share of the way from the best single model to the oracle, percent.
    pub gap_share: f64,
}

impl Marks {
    /// The figure a set is headed by: gap share in percent, or APGR.
    #[must_use]
    pub fn headline(&self) -> f64 {
        match self {
            Self::Pool(figures) => figures.gap_share,
            Self::Pair(figures) => figures.apgr,
            Self::Scores(figures) => figures.gap_share,
        }
    }
}

/// What a router did in an exam, ready to be weighed in any way.
#[derive(Clone, Debug)]
pub enum Answers {
    /// Outcomes at every price of money.
    Pool(Sweep),
    /// Rows by falling score.
    Pair(Vec<usize>),
    /// Scores of the picks.
    Scores(Array1<f64>),
}

impl Exam {
    /// The exam of a test part. `reference` is the greatest mean train cost of a model, `best` the best single model of
    /// the training part, `strong` the stronger of two models.
    #[must_use]
    pub fn new(truth: Outcomes, reference: f64, best: usize, strong: usize) -> Self {
        match truth.cost {
            Some(cost) => {
                let score = truth.score;
                let both = (score.view(), cost.view());
                let (singles, oracle) = (Sweep::singles(both), Sweep::of(both, both, reference));
                let even = even(score.nrows());
                let lines = Yardstick::new(singles.points(even.view()), oracle.points(even.view()), best);
                Self::Pool(Pool { truth: (score, cost), reference, best, singles, oracle, lines })
            }
            None if truth.score.ncols() == 2 => {
                let column = |model: usize| truth.score.column(model).to_vec();
                Self::Pair { pair: Pair { weak: column(1 - strong), strong: column(strong) }, strong }
            }
            None => {
                let most = |row: ArrayView1<'_, f64>| row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                Self::Scores { oracle: truth.score.map_axis(Axis(1), most), truth: truth.score, best }
            }
        }
    }

    /// Number of test rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Pool(pool) => pool.truth.0.nrows(),
            Self::Pair { pair, .. } => pair.weak.len(),
            Self::Scores { truth, .. } => truth.nrows(),
        }
    }

    /// Whether there are no test rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a router does that expects this.
    #[must_use]
    pub fn answers(&self, expected: &Outcomes) -> Answers {
        match self {
            Self::Pool(pool) => {
                let no_cost = Array2::zeros(expected.score.dim());
                let cost = expected.cost.as_ref().unwrap_or(&no_cost);
                let truth = (pool.truth.0.view(), pool.truth.1.view());
                Answers::Pool(Sweep::of((expected.score.view(), cost.view()), truth, pool.reference))
            }
            Self::Pair { strong, .. } => Answers::Pair(Pair::ranking(&gap(&expected.score, *strong))),
            Self::Scores { truth, .. } => {
                let pick = |row: ArrayView1<'_, f64>| super::metrics::many::pick(row, std::iter::repeat(&0.0), 0.0);
                let picks = expected.score.rows().into_iter().map(pick);
                Answers::Scores(picks.enumerate().map(|(row, model)| truth[[row, model]]).collect())
            }
        }
    }

    /// The marks of a router that expects this.
    #[must_use]
    pub fn marks(&self, expected: &Outcomes) -> Marks {
        self.marks_of(&self.answers(expected), expected)
    }

    /// The same where the answers are at hand.
    #[must_use]
    pub fn marks_of(&self, answers: &Answers, expected: &Outcomes) -> Marks {
        let even = even(self.len());
        match (self, answers) {
            (Self::Pair { pair, strong }, _) => Marks::Pair(pair.figures(&gap(&expected.score, *strong))),
            (Self::Pool(pool), Answers::Pool(sweep)) => Marks::Pool(pool.lines.figures(&sweep.points(even.view()))),
            (Self::Scores { truth, best, oracle }, Answers::Scores(got)) => Marks::Scores(ScoreFigures {
                quality: got.dot(&even),
                gap_share: score_share(&truth.column(*best), oracle, got, even.view()),
            }),
            _ => unreachable!("answers are of the exam's kind"),
        }
    }

    /// The lines to clear, for a pool with costs.
    #[must_use]
    pub fn yardstick(&self) -> Option<&Yardstick> {
        match self {
            Self::Pool(pool) => Some(&pool.lines),
            _ => None,
        }
    }

    /// `draws` redraws of the test part; equal numbers give equal draws.
    #[must_use]
    pub fn redraws(&self, draws: usize, number: u32) -> Redraws {
        let weights = redraws(self.len(), draws, number);
        let lines = match self {
            Self::Pool(pool) => pool.yardsticks(weights.t()),
            _ => Vec::new(),
        };
        Redraws { weights, lines }
    }

    /// The headline figure of these answers on every redrawn test part.
    #[must_use]
    pub fn redrawn(&self, answers: &Answers, redraws: &Redraws) -> Vec<f64> {
        let weights = redraws.weights.view();
        match (self, answers) {
            (Self::Pool(_), Answers::Pool(sweep)) => {
                let points = sweep.points_of_draws(weights.t());
                redraws.lines.iter().zip(points).map(|(line, points)| line.gap_share(&line.curve(points))).collect()
            }
            (Self::Pair { pair, .. }, Answers::Pair(ranking)) => pair.redrawn(ranking, weights),
            (Self::Scores { truth, best, oracle }, Answers::Scores(got)) => {
                weights.rows().into_iter().map(|w| score_share(&truth.column(*best), oracle, got, w)).collect()
            }
            _ => unreachable!("answers are of the exam's kind"),
        }
    }
}

impl Pool {
    fn yardsticks(&self, weights: ArrayView2<'_, f64>) -> Vec<Yardstick> {
        let (singles, oracle) = (self.singles.points_of_draws(weights), self.oracle.points_of_draws(weights));
        singles.into_iter().zip(oracle).map(|(s, o)| Yardstick::new(s, o, self.best)).collect()
    }
}

/// A test part drawn anew many times.
#[derive(Clone, Debug)]
pub struct Redraws {
    /// What every row weighs in every draw, `[draws, n]`.
    weights: Array2<f64>,
    /// The lines to clear on each, for a pool with costs: ranges and reference lines are worked out anew.
    lines: Vec<Yardstick>,
}

impl Redraws {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weights.nrows()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All rows alike.
fn even(n: usize) -> Array1<f64> {
    Array1::from_elem(n, 1.0 / n as f64)
}

/// Expected score of the strong model less that of the weak one.
fn gap(score: &Array2<f64>, strong: usize) -> Vec<f64> {
    (&score.column(strong) - &score.column(1 - strong)).to_vec()
}

fn score_share(
    single: &ArrayView1<'_, f64>,
    oracle: &Array1<f64>,
    got: &Array1<f64>,
    weights: ArrayView1<'_, f64>,
) -> f64 {
    let (single, oracle) = (single.dot(&weights), oracle.dot(&weights));
    100.0 * (got.dot(&weights) - single) / (oracle - single)
}

/// Multinomial redraws of `n` rows as weights that sum to 1, `[draws, n]`.
fn redraws(n: usize, draws: usize, number: u32) -> Array2<f64> {
    let mut weights = Array2::zeros((draws, n));
    let mut chance = ChaCha8Rng::seed_from_u64(u64::from(number));
    let each = 1.0 / n as f64;
    for mut draw in weights.rows_mut() {
        for _ in 0..n {
            draw[chance.random_range(0..n)] += each;
        }
    }
    weights
}

/// A mean with its spread, and an interval where one was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean over splits.
    pub mean: f64,
    /// Standard deviation over splits (of the population, as the reference figures have it).
    pub sd: f64,
}

impl Spread {
    /// Mean and standard deviation of these values; NaN for none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let column = Array1::from(values.to_vec()).insert_axis(Axis(1));
        let mean = if values.is_empty() { f64::NAN } else { means(column.view())[0] };
        let sd = if values.is_empty() { f64::NAN } else { column.std_axis(Axis(0), 0.0)[0] };
        Self { mean, sd }
    }
}

/// The 2.5 and 97.5 percentiles of differences of redrawn figures, paired draw by draw.
#[must_use]
pub fn interval(mut differences: Vec<f64>) -> (f64, f64) {
    differences.sort_by(f64::total_cmp);
    (super::metrics::pair::quantile(&differences, 0.025), super::metrics::pair::quantile(&differences, 0.975))
}
