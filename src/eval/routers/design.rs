//! The features that heads and ridges are fitted on, and what they all start from: the sums of their squares.

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

use super::plain::z_scores;
use super::recipe::SETTINGS;
use super::{Lesson, Regressors};
use crate::eval::linalg::{gram, wide};

/// x = [e, 0.1 clip(z, -4, 4)] of the training and test rows: the embedding and the lexical z-scores beside it.
#[derive(Debug)]
pub(super) struct Design {
    pub train: Array2<f64>,
    pub test: Array2<f64>,
    /// Sum of xx' over every part of the training rows that the recipe's cross-fitting leaves out in turn.
    pub parts: Vec<Array2<f64>>,
    /// Sum of xx' over all training rows.
    pub squares: Array2<f64>,
    /// How many of the features are the embedding; they come first.
    embedded: usize,
}

impl Design {
    fn of(lesson: &Lesson) -> Self {
        let (train, test) = z_scores(lesson);
        let joined = |vectors: &Array2<f32>, z: Array2<f64>| {
            let z = z.mapv(|z| SETTINGS.lexical_weight * z.clamp(-SETTINGS.lexical_cut, SETTINGS.lexical_cut));
            let joined =
                concatenate(Axis(1), &[wide(vectors.view()).view(), z.view()]).expect("a row a prompt in both");
            // Put together along the rows it stands column by column, and all that follows goes row by row.
            joined.as_standard_layout().into_owned()
        };
        let (train, test) = (joined(&lesson.train.vectors, train), joined(&lesson.test.vectors, test));
        let parts: Vec<Array2<f64>> = (0..SETTINGS.folds).map(|fold| gram(part(&train, fold))).collect();
        let mut squares = Array2::zeros((train.ncols(), train.ncols()));
        parts.iter().for_each(|part| squares += part);
        Self { train, test, parts, squares, embedded: lesson.train.vectors.ncols() }
    }

    /// All features to regress on.
    pub(super) fn whole(&self) -> Regressors<'_> {
        Regressors::with_squares(self.train.view(), self.squares.clone())
    }

    /// The embedding alone to regress on, and that of the test rows.
    pub(super) fn embedding(&self) -> (Regressors<'_>, ArrayView2<'_, f64>) {
        let squares = self.squares.slice(s![..self.embedded, ..self.embedded]).to_owned();
        let rows = Regressors::with_squares(self.train.slice(s![.., ..self.embedded]), squares);
        (rows, self.test.slice(s![.., ..self.embedded]))
    }
}

/// Every `SETTINGS.folds`-th row from this one on.
pub(super) fn part(rows: &Array2<f64>, fold: usize) -> ArrayView2<'_, f64> {
    rows.slice(s![fold.min(rows.nrows())..;SETTINGS.folds, ..])
}

impl Lesson {
    /// Features of its rows, worked out once.
    pub(super) fn design(&self) -> &Design {
        self.memo.design.get_or_init(|| Design::of(self))
    }
}
