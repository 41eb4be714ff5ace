//! Discriminant heads: which kind of prompt is this, and what is each model worth on that kind?
//!
//! A labelling of the training rows (their tasks, or clusters) gives a linear classifier in closed form and a table of
//! shrunk mean outcomes a class. An expectation is the table weighted by the classifier's posterior.

use ndarray::{Array1, Array2, Axis};

use super::recipe::SETTINGS;
use crate::eval::linalg::{means, solve};

/// One labelling of rows and the linear classifier that finds it again.
#[derive(Debug)]
pub(super) struct Head {
    /// Class of every training row.
    pub labels: Vec<u16>,
    counts: Array1<f64>,
    weights: Array2<f64>,
    offsets: Array1<f64>,
}

/// Mean of x x' over the rows, `[p, p]`.
pub(super) fn scatter(x: &Array2<f64>) -> Array2<f64> {
    x.t().dot(x) / x.nrows().max(1) as f64
}

impl Head {
    /// Linear discriminant of a labelling. Class mean m = (sum + train mean)/(n + 1); S = mean of (x - m)(x - m)' plus
    /// (tr S/p) I; w = S^-1 m, b = ln(n/N) - m'w/2. `scatter` is the mean of x x'.
    pub(super) fn fit(labels: Vec<u16>, train: &Array2<f64>, scatter: &Array2<f64>) -> Self {
        let (n, p) = train.dim();
        let classes = labels.iter().max().map_or(1, |most| usize::from(*most) + 1);
        let mut sums = Array2::zeros((classes, p));
        let mut counts = Array1::<f64>::zeros(classes);
        for (row, label) in train.rows().into_iter().zip(&labels) {
            let mut sum = sums.row_mut(usize::from(*label));
            sum += &row;
            counts[usize::from(*label)] += 1.0;
        }
        let mut centres = &sums + &means(train.view());
        for (mut centre, count) in centres.rows_mut().into_iter().zip(&counts) {
            centre /= count + 1.0;
        }
        // Sum of (x - m)(x - m)' = sum of xx' - s m' - m s' + n m m', class by class.
        let cross = sums.t().dot(&centres);
        let weighted = &centres * &counts.view().insert_axis(Axis(1));
        let mut within = scatter - &((&cross + &cross.t() - centres.t().dot(&weighted)) / n as f64);
        let ridge = within.diag().sum() / p as f64;
        within.diag_mut().mapv_inplace(|d| d + ridge.max(f64::MIN_POSITIVE));
        let weights = solve(&within, &centres.t().to_owned()).unwrap_or_else(|| Array2::zeros((p, classes)));
        let half = |class: usize| centres.row(class).dot(&weights.column(class)) / 2.0;
        let offsets = (0..classes).map(|class| (counts[class] / n as f64).ln() - half(class)).collect();
        Self { labels, counts, weights, offsets }
    }

    /// Probability of every class for every row of `x`: softmax(0.3 (w'x + b)). A class without rows has none.
    pub(super) fn posterior(&self, x: &Array2<f64>) -> Array2<f64> {
        let mut posterior = (x.dot(&self.weights) + &self.offsets) * SETTINGS.temperature;
        for mut row in posterior.rows_mut() {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.mapv_inplace(|x| (x - most).exp());
            let sum = row.sum();
            row /= sum;
        }
        posterior
    }

    /// Mean outcomes of every class, five rows' worth of training mean behind each.
    pub(super) fn table(&self, target: &Array2<f64>) -> Array2<f64> {
        let mut table =
            Array2::zeros((self.counts.len(), target.ncols())) + &(means(target.view()) * SETTINGS.shrinkage);
        for (row, label) in target.rows().into_iter().zip(&self.labels) {
            let mut sum = table.row_mut(usize::from(*label));
            sum += &row;
        }
        for (mut row, count) in table.rows_mut().into_iter().zip(&self.counts) {
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
