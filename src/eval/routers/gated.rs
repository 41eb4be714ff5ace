//! Heads that know when they are away from home.
//!
//! Where a prompt is unlike anything in training, clusters do not carry over: these recipes give way to neighbours and
//! ridge, and then to the training means.

use ndarray::{Array1, Array2, ArrayView1, Axis};

use super::clusters::kmeans;
use super::neighbours::mean;
use super::{Lesson, Outcomes, Router};
use crate::base::Seed;
use crate::eval::linalg::{inverse, means};
use crate::eval::metrics::pair::quantile;

/// Neighbours whose mean cosine says how much at home a prompt is.
const NEAR: usize = 40;

/// `(1 - share) a + share b`, a share a row.
fn blend(a: &Outcomes, b: &Outcomes, share: &Array1<f64>) -> Outcomes {
    let share = share.view().insert_axis(Axis(1));
    a.with(b, |a, b| a + &((b - a) * share))
}

/// Where `x` stands between `from` and `to`, cut to 0..1.
fn ramp(x: f64, from: f64, to: f64) -> f64 {
    if to > from { ((x - from) / (to - from)).clamp(0.0, 1.0) } else { f64::from(u8::from(x > from)) }
}

fn sorted(values: &Array1<f64>) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The mean of the clusters' heads and neighbours with ridge, shrunk to the training means as the mean cosine of the 40
/// nearest rows falls from its 40% to its 10% quantile over the training rows (each without itself).
#[derive(Clone, Copy, Debug, Default)]
pub struct Careful;

impl Router for Careful {
    fn name(&self) -> &'static str {
        "careful"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        let base = lesson.heads().by_cluster(&lesson.outcomes).mean_with(&lesson.knn_ridge());
        let own = sorted(lesson.own_cosines(NEAR));
        let (low, high) = (quantile(&own, 0.1), quantile(&own, 0.4));
        let near = lesson.neighbours().cosines.iter().map(|c| mean(&c[..NEAR.min(c.len())]));
        let home: Array1<f64> = near.map(|m| ramp(m, low, high)).collect();
        Some(blend(&lesson.train_means(), &base, &home))
    }
}

/// Heads that give way to neighbours with ridge as the leverage of a prompt goes from the training median to the 95th
/// percentile, and to the training means as its greatest cosine to 64 centres falls below the training 20% quantile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guarded;

/// Centres a prompt may be near.
const CENTRES: usize = 64;

impl Router for Guarded {
    fn name(&self) -> &'static str {
        "guarded"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        let heads = lesson.heads();
        let (train, test) = leverage(&heads.train, &heads.test)?;
        let order = sorted(&train);
        let (from, to) = (quantile(&order, 0.5), quantile(&order, 0.95));
        let strange = test.mapv(|u| ramp(u, from, to));
        let base = blend(&heads.expect(&lesson.outcomes, true), &lesson.knn_ridge(), &strange);

        let clusters = kmeans(&heads.train.mapv(|x| x as f32), CENTRES, Seed(0));
        let centres = clusters.centres.mapv(f64::from);
        let order = sorted(&greatest_cosines(&heads.train, &centres));
        let (from, to) = (order[0], quantile(&order, 0.2));
        let home = greatest_cosines(&heads.test, &centres).mapv(|m| ramp(m, from, to));
        Some(blend(&lesson.train_means(), &base, &home))
    }
}

/// Leverage of training rows, by what the others say of them (h/(1 - h)), and of test rows:
/// u = (x - mean)'(X'X + .01 (tr/p) I)^-1 (x - mean).
fn leverage(train: &Array2<f64>, test: &Array2<f64>) -> Option<(Array1<f64>, Array1<f64>)> {
    let centre = means(train.view());
    let (train, test) = (train - &centre, test - &centre);
    let mut gram = train.t().dot(&train);
    let ridge = 0.01 * gram.diag().sum() / gram.nrows() as f64;
    gram.diag_mut().mapv_inplace(|d| d + ridge);
    let inverse = inverse(&gram)?;
    let forms = |x: &Array2<f64>| (x.dot(&inverse) * x).sum_axis(Axis(1));
    Some((forms(&train).mapv(|h| h / (1.0 - h)), forms(&test)))
}

fn greatest_cosines(x: &Array2<f64>, centres: &Array2<f64>) -> Array1<f64> {
    let length = |row: ArrayView1<'_, f64>| row.dot(&row).sqrt().max(f64::MIN_POSITIVE);
    let products = x.dot(&centres.t());
    let lengths: Vec<f64> = centres.rows().into_iter().map(length).collect();
    let greatest = |(row, products): (ArrayView1<'_, f64>, ArrayView1<'_, f64>)| {
        let most = products.iter().zip(&lengths).map(|(p, l)| p / l).fold(f64::NEG_INFINITY, f64::max);
        most / length(row)
    };
    x.rows().into_iter().zip(products.rows()).map(greatest).collect()
}
