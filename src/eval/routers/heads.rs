//! Discriminant heads: which kind of prompt is this, and what is each model worth on that kind?
//!
//! A labelling of the training rows (their tasks, or clusters) gives a linear classifier in closed form and a table of
//! shrunk mean outcomes a class. An expectation is the table weighted by the classifier's posterior.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::recipe::SETTINGS;
use crate::eval::linalg::{means, solve};

/// The rows of every class: their sum and their number.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    sums: Array2<f64>,
    counts: Array1<f64>,
}

impl Classes {
    /// Those of `classes` classes among these rows.
    pub(super) fn of<'a>(classes: usize, labels: impl Iterator<Item = &'a u16>, rows: ArrayView2<'_, f64>) -> Self {
        let mut of = Self { sums: Array2::zeros((classes, rows.ncols())), counts: Array1::zeros(classes) };
        for (row, label) in rows.rows().into_iter().zip(labels) {
            let mut sum = of.sums.row_mut(usize::from(*label));
            sum += &row;
            of.counts[usize::from(*label)] += 1.0;
        }
        of
    }

    /// What is left without these.
    pub(super) fn without(&self, some: &Self) -> Self {
        Self { sums: &self.sums - &some.sums, counts: &self.counts - &some.counts }
    }

    /// Linear discriminant of the classes. Class mean m = (sum + train mean)/(n + 1); S = mean of (x - m)(x - m)' plus
    /// (tr S/p) I; w = S^-1 m, b = ln(n/N) - m'w/2. `squares` is the sum of x x'.
    pub(super) fn discriminant(&self, squares: &Array2<f64>) -> Discriminant {
        let (n, p) = (self.counts.sum(), squares.ncols());
        let mut centres = &self.sums + &(self.sums.sum_axis(Axis(0)) / n);
        for (mut centre, count) in centres.rows_mut().into_iter().zip(&self.counts) {
            centre /= count + 1.0;
        }
        // Sum of (x - m)(x - m)' = sum of xx' - s m' - m s' + n m m', class by class: s m' less half of n m m', both ways.
        let half = &self.sums - &(&centres * &self.counts.view().insert_axis(Axis(1)) * 0.5);
        let cross = half.t().dot(&centres);
        // What stands above the diagonal nobody reads.
        let mut within = squares / n;
        for i in 0..p {
            for j in 0..=i {
                within[[i, j]] -= (cross[[i, j]] + cross[[j, i]]) / n;
            }
        }
        let ridge = within.diag().sum() / p as f64;
        within.diag_mut().mapv_inplace(|d| d + ridge.max(f64::MIN_POSITIVE));
        let weights = solve(&within, &centres.t().to_owned()).unwrap_or_else(|| Array2::zeros((p, self.counts.len())));
        let half = |class: usize| centres.row(class).dot(&weights.column(class)) / 2.0;
        let offsets = (0..self.counts.len()).map(|class| (self.counts[class] / n).ln() - half(class)).collect();
        Discriminant { weights, offsets }
    }
}

/// The linear classifier of some classes.
#[derive(Debug)]
pub(super) struct Discriminant {
    weights: Array2<f64>,
    offsets: Array1<f64>,
}

impl Discriminant {
    /// Probability of every class for every row of `x`: softmax(0.3 (w'x + b)). A class without rows has none.
    pub(super) fn posterior(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut posterior = (x.dot(&self.weights) + &self.offsets) * SETTINGS.temperature;
        for mut row in posterior.rows_mut() {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.mapv_inplace(|x| (x - most).exp());
            let sum = row.sum();
            row /= sum;
        }
        posterior
    }
}

/// One labelling of the training rows and what its classifier makes of the test rows.
#[derive(Debug)]
pub(super) struct Head {
    /// Class of every training row.
    pub labels: Vec<u16>,
    pub classes: Classes,
    /// Probability of every class for every test row.
    pub posterior: Array2<f64>,
}

impl Head {
    /// `squares` is the sum of x x' over the training rows.
    pub(super) fn fit(labels: Vec<u16>, train: &Array2<f64>, squares: &Array2<f64>, test: &Array2<f64>) -> Self {
        let most = labels.iter().max().map_or(1, |most| usize::from(*most) + 1);
        let classes = Classes::of(most, labels.iter(), train.view());
        let posterior = classes.discriminant(squares).posterior(test.view());
        Self { labels, classes, posterior }
    }

    /// Mean outcomes of every class, five rows' worth of training mean behind each.
    pub(super) fn table(&self, target: &Array2<f64>) -> Array2<f64> {
        let counts = &self.classes.counts;
        let mut table = Array2::zeros((counts.len(), target.ncols())) + &(means(target.view()) * SETTINGS.shrinkage);
        for (row, label) in target.rows().into_iter().zip(&self.labels) {
            let mut sum = table.row_mut(usize::from(*label));
            sum += &row;
        }
        for (mut row, count) in table.rows_mut().into_iter().zip(counts) {
            row /= count + SETTINGS.shrinkage;
        }
        table
    }

    /// What the class means leave over of every training row.
    pub(super) fn rest(&self, target: &Array2<f64>, table: &Array2<f64>) -> Array2<f64> {
        let mut rest = target.clone();
        for (mut row, label) in rest.rows_mut().into_iter().zip(&self.labels) {
            row -= &table.row(usize::from(*label));
        }
        rest
    }
}
