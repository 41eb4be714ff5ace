//! Ridge regression from vectors to outcomes.

use ndarray::{Array1, Array2, ArrayView2};

use super::{Lesson, Outcomes, Router};
use crate::eval::linalg::{gram, means, solve};
use crate::eval::split::order;

/// Ridge on the embedding: alpha 30 for scores, 1 for costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ridge;

impl Router for Ridge {
    fn name(&self) -> &'static str {
        "ridge"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        Some(lesson.ridge().clone())
    }
}

impl Lesson {
    /// Ridge expectations on the embedding, worked out once.
    pub(super) fn ridge(&self) -> &Outcomes {
        self.memo.ridge.get_or_init(|| {
            let (rows, asked) = self.design().embedding();
            rows.outcomes(&self.outcomes, (30.0, 1.0), asked)
        })
    }
}

/// A ridge that learned from other rows' vectors: what the hull, picked with the test part in sight, gives for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shuffled;

impl Router for Shuffled {
    fn name(&self) -> &'static str {
        "shuffled control"
    }

    /// Row i's outcomes are said of the row that the shuffle has in place i.
    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        let rows = order(&format!("shuffle-{}", lesson.number), &lesson.train.ids, 0..lesson.train.len());
        let mut score = lesson.outcomes.score.clone();
        for (from, to) in rows.into_iter().enumerate() {
            score.row_mut(to).assign(&lesson.outcomes.score.row(from));
        }
        let (rows, asked) = lesson.design().embedding();
        Some(Outcomes { score: rows.expect(&score, 30.0, asked), cost: lesson.train_means().cost })
    }
}

/// Rows to regress on. What is regressed on them comes later, and as often as one likes.
#[derive(Debug)]
pub struct Regressors<'a> {
    rows: ArrayView2<'a, f64>,
    centre: Array1<f64>,
    /// `X'X` of the centred rows.
    squares: Array2<f64>,
}

impl<'a> Regressors<'a> {
    /// These rows.
    #[must_use]
    pub fn new(rows: ArrayView2<'a, f64>) -> Self {
        Self::with_squares(rows, gram(rows))
    }

    /// These rows, whose `X'X` as they stand is known.
    #[must_use]
    pub fn with_squares(rows: ArrayView2<'a, f64>, mut squares: Array2<f64>) -> Self {
        let centre = means(rows);
        for (mut row, mean) in squares.rows_mut().into_iter().zip(&centre) {
            row.scaled_add(-mean * rows.nrows() as f64, &centre);
        }
        Self { rows, centre, squares }
    }

    /// The ridge regression of `target`, asked about other rows. Both sides are centred: W = (X'X + alpha I)^-1 X'Y.
    #[must_use]
    pub fn expect(&self, target: &Array2<f64>, alpha: f64, asked: ArrayView2<'_, f64>) -> Array2<f64> {
        let mean = means(target.view());
        let mut matrix = self.squares.clone();
        matrix.diag_mut().mapv_inplace(|d| d + alpha);
        // X'(Y - mean) of centred X is X'(Y - mean) of X itself: the columns of Y - mean sum to 0.
        match solve(&matrix, &self.rows.t().dot(&(target - &mean))) {
            Some(weights) => {
                let level = mean - self.centre.dot(&weights);
                asked.dot(&weights) + &level
            }
            // Only a value that is not a number can do this; the mean says nothing, which is the honest answer then.
            None => Array2::zeros((asked.nrows(), target.ncols())) + &mean,
        }
    }

    /// The same for scores and costs, with an alpha for each; expected costs are cut at 0.
    #[must_use]
    pub fn outcomes(&self, outcomes: &Outcomes, alphas: (f64, f64), asked: ArrayView2<'_, f64>) -> Outcomes {
        Outcomes {
            score: self.expect(&outcomes.score, alphas.0, asked),
            cost: outcomes.cost.as_ref().map(|cost| self.expect(cost, alphas.1, asked).mapv_into(|c| c.max(0.0))),
        }
    }
}
