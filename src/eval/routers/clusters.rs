//! k-means, the same for whoever runs it: chance is a hash.

use ndarray::{Array2, Axis, concatenate};

use crate::base::Seed;

/// Lloyd steps at most.
const STEPS: usize = 15;

/// A labelling of the rows by k-means on its way.
struct Run {
    centres: Array2<f32>,
    labels: Vec<u16>,
    settled: bool,
}

/// The cluster of every row by k-means, once for every `(k, seed)`, with 15 Lloyd steps. The first centre is the row nearest
/// the mean, the others are drawn as k-means++ does; an empty cluster keeps its centre. At most as many clusters as rows.
///
/// All labellings go step by step together: the rows are then laid out for the product with the centres once a step, which
/// costs more than the product itself.
pub(super) fn kmeans(x: &Array2<f32>, wanted: &[(usize, Seed)]) -> Vec<Vec<u16>> {
    let n = x.nrows();
    let lengths: Vec<f32> = x.rows().into_iter().map(|row| row.dot(&row)).collect();
    let first = x.mean_axis(Axis(0)).map_or(0, |mean| {
        let products = x.dot(&mean);
        let distance = |row: usize| lengths[row] - 2.0 * products[row];
        (1..n).fold(0, |best, row| if distance(row) < distance(best) { row } else { best })
    });
    let run = |(k, seed): &(usize, Seed)| {
        let centres = seeded(x, &lengths, first, (*k).min(n).max(1), *seed);
        Run { centres, labels: vec![u16::MAX; n], settled: false }
    };
    let mut runs: Vec<Run> = wanted.iter().map(run).collect();
    let columns = x.t().as_standard_layout().into_owned();
    for _ in 0..STEPS {
        assign(&columns, &mut runs);
        if runs.iter().all(|run| run.settled) {
            break;
        }
        runs.iter_mut().filter(|run| !run.settled).for_each(|run| run.recentre(x));
    }
    assign(&columns, &mut runs);
    runs.into_iter().map(|run| run.labels).collect()
}

/// Centres to begin with: rows drawn by their squared distance to the nearest one drawn before.
fn seeded(x: &Array2<f32>, lengths: &[f32], first: usize, k: usize, seed: Seed) -> Array2<f32> {
    let mut centres = Array2::zeros((k, x.ncols()));
    let mut next = first;
    let mut least = vec![f32::INFINITY; x.nrows()];
    for centre in 0..k {
        centres.row_mut(centre).assign(&x.row(next));
        let products = x.dot(&x.row(next));
        for (row, least) in least.iter_mut().enumerate() {
            *least = least.min((lengths[row] - 2.0 * products[row] + lengths[next]).max(0.0));
        }
        next = drawn(&least, seed.uniform(&format!("centre {centre}")));
    }
    centres
}

impl Run {
    /// Every centre to the mean of its rows.
    fn recentre(&mut self, x: &Array2<f32>) {
        let mut sums: Array2<f32> = Array2::zeros(self.centres.dim());
        let mut counts = vec![0.0_f32; self.centres.nrows()];
        for (row, label) in x.rows().into_iter().zip(&self.labels) {
            let mut sum = sums.row_mut(usize::from(*label));
            sum += &row;
            counts[usize::from(*label)] += 1.0;
        }
        for (centre, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            self.centres.row_mut(centre).assign(&(&sums.row(centre) / *count));
        }
    }
}

/// The row that this uniform number draws, by squared distance.
fn drawn(weights: &[f32], uniform: f64) -> usize {
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let mut left = uniform * total;
    for (row, weight) in weights.iter().enumerate() {
        left -= f64::from(*weight);
        if left < 0.0 {
            return row;
        }
    }
    weights.len() - 1
}

/// Gives every row, a column of `columns`, its nearest centre in every run that is not settled; a run is once nothing changes.
fn assign(columns: &Array2<f32>, runs: &mut [Run]) {
    let moving: Vec<_> = runs.iter().filter(|run| !run.settled).map(|run| run.centres.view()).collect();
    let Ok(centres) = concatenate(Axis(0), &moving) else { return };
    let products = centres.dot(columns);
    let mut from = 0;
    for run in runs.iter_mut().filter(|run| !run.settled) {
        let mut most = vec![f32::NEG_INFINITY; run.labels.len()];
        let mut nearest = vec![0_u16; run.labels.len()];
        for (label, centre) in (0_u16..).zip(run.centres.rows()) {
            let half = centre.dot(&centre) / 2.0;
            let products = products.row(from + usize::from(label));
            for ((most, nearest), product) in most.iter_mut().zip(&mut nearest).zip(products) {
                if product - half > *most {
                    (*most, *nearest) = (product - half, label);
                }
            }
        }
        from += run.centres.nrows();
        run.settled = run.labels == nearest;
        run.labels = nearest;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn two_heaps_are_told_apart_and_twice_alike() {
        let x = array![[0.0, 0.1], [5.0, 5.1], [0.1, 0.0], [5.1, 5.0], [0.0, 0.0]];
        let both = kmeans(&x, &[(2, Seed(7)), (3, Seed(1))]);
        let found = &both[0];
        assert_eq!(found, &kmeans(&x, &[(2, Seed(7))])[0], "company changes nothing");
        assert_eq!(found[0], found[2]);
        assert_eq!(found[1], found[3]);
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn fewer_rows_than_clusters_give_each_row_its_own() {
        let mut found = kmeans(&array![[1.0], [2.0]], &[(12, Seed(1))]).remove(0);
        found.sort_unstable();
        assert_eq!(found, [0, 1]);
    }
}
