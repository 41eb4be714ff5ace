//! Ridge regression from vectors to outcomes.

use ndarray::{Array2, ArrayView2};

use super::{Lesson, Outcomes, Router};
use crate::eval::linalg::{means, solve, wide};

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
            let (train, test) = (wide(self.train.vectors.view()), wide(self.test.vectors.view()));
            ridge((train.view(), test.view()), &self.outcomes, (30.0, 1.0))
        })
    }
}

/// Ridge from the rows of `x.0` to `outcomes`, asked about the rows of `x.1`. Both sides are centred on the training
/// rows: W = (X'X + alpha I)^-1 X'Y, `alphas` for scores and for costs. Expected costs are cut at 0.
#[must_use]
pub fn ridge(x: (ArrayView2<'_, f64>, ArrayView2<'_, f64>), outcomes: &Outcomes, alphas: (f64, f64)) -> Outcomes {
    let centre = means(x.0);
    let train = &x.0 - &centre;
    let test = &x.1 - &centre;
    let gram = train.t().dot(&train);
    let fit = |target: &Array2<f64>, alpha: f64| {
        let mean = means(target.view());
        let mut matrix = gram.clone();
        matrix.diag_mut().mapv_inplace(|d| d + alpha);
        match solve(&matrix, &train.t().dot(&(target - &mean))) {
            Some(weights) => test.dot(&weights) + &mean,
            // Only a value that is not a number can do this; the mean says nothing, which is the honest answer then.
            None => Array2::zeros((test.nrows(), target.ncols())) + &mean,
        }
    };
    Outcomes {
        score: fit(&outcomes.score, alphas.0),
        cost: outcomes.cost.as_ref().map(|cost| fit(cost, alphas.1).mapv(|c| c.max(0.0))),
    }
}
