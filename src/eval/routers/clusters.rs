//! k-means, the same for whoever runs it: chance is a hash.

use ndarray::{Array2, ArrayView1, Axis};

use crate::base::Seed;

/// Lloyd steps at most.
const STEPS: usize = 15;

/// The cluster of every row by k-means, with 15 Lloyd steps. The first centre is the row nearest the mean, the others are drawn as k-means++ does;
/// an empty cluster keeps its centre. At most as many clusters as rows.
pub(super) fn kmeans(x: &Array2<f32>, k: usize, seed: Seed) -> Vec<u16> {
    let (n, p) = x.dim();
    let k = k.min(n).max(1);
    let lengths: Vec<f32> = x.rows().into_iter().map(|row| row.dot(&row)).collect();
    let mut centres = Array2::zeros((k, p));
    let mut next = x.mean_axis(Axis(0)).map_or(0, |mean| {
        let distance = |row: usize| lengths[row] - 2.0 * x.row(row).dot(&mean);
        (1..n).fold(0, |best, row| if distance(row) < distance(best) { row } else { best })
    });
    let mut least = vec![f32::INFINITY; n];
    for centre in 0..k {
        centres.row_mut(centre).assign(&x.row(next));
        let products = x.dot(&x.row(next));
        for (row, least) in least.iter_mut().enumerate() {
            *least = least.min((lengths[row] - 2.0 * products[row] + lengths[next]).max(0.0));
        }
        next = drawn(&least, seed.uniform(&format!("centre {centre}")));
    }
    let mut labels = vec![u16::MAX; n];
    for _ in 0..STEPS {
        if !assign(x, &centres, &mut labels) {
            break;
        }
        let mut sums: Array2<f32> = Array2::zeros((k, p));
        let mut counts = vec![0.0_f32; k];
        for (row, label) in x.rows().into_iter().zip(&labels) {
            let mut sum = sums.row_mut(usize::from(*label));
            sum += &row;
            counts[usize::from(*label)] += 1.0;
        }
        for (centre, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            centres.row_mut(centre).assign(&(&sums.row(centre) / *count));
        }
    }
    assign(x, &centres, &mut labels);
    labels
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

/// Gives every row its nearest centre; whether any changed.
fn assign(x: &Array2<f32>, centres: &Array2<f32>, labels: &mut [u16]) -> bool {
    let halves: Vec<f32> = centres.rows().into_iter().map(|c| c.dot(&c) / 2.0).collect();
    let nearest = |products: ArrayView1<'_, f32>| {
        let score = |c: usize| products[c] - halves[c];
        (1..halves.len()).fold(0, |best, c| if score(c) > score(best) { c } else { best })
    };
    let products = x.dot(&centres.t());
    let mut changed = false;
    for (label, row) in labels.iter_mut().zip(products.rows()) {
        let new = nearest(row) as u16;
        changed |= *label != new;
        *label = new;
    }
    changed
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn two_heaps_are_told_apart_and_twice_alike() {
        let x = array![[0.0, 0.1], [5.0, 5.1], [0.1, 0.0], [5.1, 5.0], [0.0, 0.0]];
        let found = kmeans(&x, 2, Seed(7));
        assert_eq!(found, kmeans(&x, 2, Seed(7)));
        assert_eq!(found[0], found[2]);
        assert_eq!(found[1], found[3]);
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn fewer_rows_than_clusters_give_each_row_its_own() {
        let mut found = kmeans(&array![[1.0], [2.0]], 12, Seed(1));
        found.sort_unstable();
        assert_eq!(found, [0, 1]);
    }
}
