//! k-means, the same for whoever runs it: chance is a hash.
//!
//! All labellings go step by step together, so that the rows are laid out for their product with the centres once a step.
//! From step to step ever fewer centres move; what did not move is not worked out again.

use std::iter;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, s};

use crate::base::Seed;

/// Lloyd steps at most.
const STEPS: usize = 15;

/// The cluster of every row by k-means, once for every `(k, seed)`, with 15 Lloyd steps. The first centre is the row nearest
/// the mean, the others are drawn as k-means++ does; an empty cluster keeps its centre. At most as many clusters as rows.
pub(super) fn kmeans(x: &Array2<f32>, wanted: &[(usize, Seed)]) -> Vec<Vec<u16>> {
    let sizes: Vec<usize> = wanted.iter().map(|(k, _)| (*k).min(x.nrows()).max(1)).collect();
    let seeds: Vec<Seed> = wanted.iter().map(|(_, seed)| *seed).collect();
    let first: Vec<Vec<usize>> = seeded(x, &sizes, &seeds);
    let columns = x.t().as_standard_layout().into_owned();
    let mut lloyd = Lloyd::begin(x, &first);
    for _ in 0..STEPS {
        if !lloyd.assign(&columns) {
            break;
        }
        lloyd.recentre(x);
    }
    lloyd.assign(&columns);
    lloyd.runs.into_iter().map(|run| run.labels).collect()
}

/// Rows to begin from, each drawn by its squared distance to the nearest one drawn before. What is drawn from a seed does
/// not depend on how many are wanted: of several labellings with one seed, the largest is drawn and serves all.
fn seeded(x: &Array2<f32>, sizes: &[usize], seeds: &[Seed]) -> Vec<Vec<usize>> {
    let n = x.nrows();
    let lengths: Vec<f32> = x.rows().into_iter().map(|row| row.dot(&row)).collect();
    let first = x.mean_axis(Axis(0)).map_or(0, |mean| {
        let products = x.dot(&mean);
        let distance = |row: usize| lengths[row] - 2.0 * products[row];
        (1..n).fold(0, |best, row| if distance(row) < distance(best) { row } else { best })
    });
    let mut distinct = seeds.to_vec();
    distinct.sort_unstable_by_key(|seed| seed.0);
    distinct.dedup();
    let most = sizes.iter().copied().max().unwrap_or(1);
    let mut drawn: Vec<Vec<usize>> = vec![vec![first]; distinct.len()];
    let mut least = Array2::from_elem((distinct.len(), n), f32::INFINITY);
    for centre in 0..most - 1 {
        for (together, mut least) in drawn.chunks(TOGETHER).zip(least.axis_chunks_iter_mut(Axis(0), TOGETHER)) {
            let newest = |i: usize| together[i.min(together.len() - 1)][centre];
            let rows: [usize; TOGETHER] = std::array::from_fn(newest);
            let others = rows.map(|row| x.row(row).to_slice().expect("rows lie side by side"));
            for (row, this) in x.rows().into_iter().enumerate() {
                let products = dots(this.to_slice().expect("rows lie side by side"), others);
                for (i, least) in least.column_mut(row).iter_mut().enumerate() {
                    *least = least.min((lengths[row] - 2.0 * products[i] + lengths[rows[i]]).max(0.0));
                }
            }
        }
        for ((drawn, least), seed) in drawn.iter_mut().zip(least.rows()).zip(&distinct) {
            drawn.push(draw(least.as_slice().unwrap_or_default(), seed.uniform(&format!("centre {centre}"))));
        }
    }
    let of = |(size, seed): (&usize, &Seed)| {
        let place = distinct.iter().position(|other| other == seed).expect("all seeds are among them");
        drawn[place][..*size].to_vec()
    };
    sizes.iter().zip(seeds).map(of).collect()
}

/// Rows whose products with one row are worked out together.
const TOGETHER: usize = 4;

/// Inner products of one row with several: eight running sums each, added up in the order in which a single product is.
#[expect(clippy::needless_range_loop, reason = "places of fixed arrays: written so, they stay in registers")]
fn dots(x: &[f32], others: [&[f32]; TOGETHER]) -> [f32; TOGETHER] {
    let mut sums = [[0.0_f32; 8]; TOGETHER];
    let (eights, rest) = x.as_chunks::<8>();
    let split = others.map(|other| other.as_chunks::<8>());
    for i in 0..eights.len() {
        for v in 0..TOGETHER {
            let (x, y) = (&eights[i], &split[v].0[i]);
            for place in 0..8 {
                sums[v][place] += x[place] * y[place];
            }
        }
    }
    let mut products = [0.0; TOGETHER];
    for v in 0..TOGETHER {
        let p = sums[v];
        products[v] = (p[0] + p[4]) + (p[1] + p[5]) + (p[2] + p[6]) + (p[3] + p[7]);
        for i in 0..rest.len() {
            products[v] += rest[i] * split[v].1[i];
        }
    }
    products
}

/// The row that this uniform number draws, by squared distance.
fn draw(weights: &[f32], uniform: f64) -> usize {
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

/// One labelling on its way: its centres begin at `from` among those of all.
struct Run {
    from: usize,
    clusters: usize,
    labels: Vec<u16>,
}

/// Labellings by k-means on their way.
struct Lloyd {
    runs: Vec<Run>,
    centres: Array2<f32>,
    /// Products of every centre with every row, and half its squared length.
    products: Array2<f32>,
    /// Room for the products of those that moved.
    fresh: Array2<f32>,
    halves: Vec<f32>,
    /// Centres that moved since their products were worked out.
    moved: Vec<bool>,
    /// Clusters that won or lost a row since their centres were.
    stirred: Vec<bool>,
}

impl Lloyd {
    /// From these rows, a list a labelling.
    fn begin(x: &Array2<f32>, first: &[Vec<usize>]) -> Self {
        let mut total = 0;
        let run = |rows: &Vec<usize>| {
            let from = total;
            total += rows.len();
            Run { from, clusters: rows.len(), labels: vec![u16::MAX; x.nrows()] }
        };
        let runs = first.iter().map(run).collect();
        let centres = x.select(Axis(0), &first.concat());
        let (products, fresh) = (Array2::zeros((total, x.nrows())), Array2::zeros((total, x.nrows())));
        let (halves, moved, stirred) = (vec![0.0; total], vec![true; total], vec![false; total]);
        Self { runs, centres, products, fresh, halves, moved, stirred }
    }

    /// Gives every row, a column of `columns`, its nearest centre in every labelling. Whether any row has another than before.
    fn assign(&mut self, columns: &Array2<f32>) -> bool {
        let moved: Vec<usize> = (0..self.moved.len()).filter(|centre| self.moved[*centre]).collect();
        if moved.len() == self.moved.len() {
            general_mat_mul(1.0, &self.centres, columns, 0.0, &mut self.products);
        } else {
            let mut fresh = self.fresh.slice_mut(s![..moved.len(), ..]);
            general_mat_mul(1.0, &self.centres.select(Axis(0), &moved), columns, 0.0, &mut fresh);
            for (centre, fresh) in moved.iter().zip(fresh.rows()) {
                self.products.row_mut(*centre).assign(&fresh);
            }
        }
        for centre in moved {
            let row = self.centres.row(centre);
            self.halves[centre] = row.dot(&row) / 2.0;
        }
        self.stirred.fill(false);
        for run in &mut self.runs {
            let own = run.from..run.from + run.clusters;
            if self.moved[own.clone()].contains(&true) {
                let labels = nearest(self.products.slice(s![own.clone(), ..]), &self.halves[own.clone()]);
                let stirred = &mut self.stirred[own];
                for (old, new) in iter::zip(&run.labels, &labels).filter(|(old, new)| old != new) {
                    for label in [old, new] {
                        // Before the first step no row has a label.
                        if let Some(stirred) = stirred.get_mut(usize::from(*label)) {
                            *stirred = true;
                        }
                    }
                }
                run.labels = labels;
            }
        }
        self.moved.fill(false);
        self.stirred.contains(&true)
    }

    /// Every centre whose cluster won or lost rows to the mean of the rows it has.
    fn recentre(&mut self, x: &Array2<f32>) {
        let mut sums: Array2<f32> = Array2::zeros(self.centres.dim());
        let mut counts = vec![0.0_f32; self.moved.len()];
        for (row, x) in x.rows().into_iter().enumerate() {
            let x = x.to_slice().expect("rows lie side by side");
            for run in &self.runs {
                let centre = run.from + usize::from(run.labels[row]);
                if self.stirred[centre] {
                    counts[centre] += 1.0;
                    let sum = sums.row_mut(centre).into_slice().expect("rows lie side by side");
                    iter::zip(sum, x).for_each(|(sum, x)| *sum += x);
                }
            }
        }
        for (centre, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            self.centres.row_mut(centre).assign(&(&sums.row(centre) / *count));
            self.moved[centre] = true;
        }
    }
}

/// The centre of greatest product less half its squared length, for every row.
fn nearest(products: ArrayView2<'_, f32>, halves: &[f32]) -> Vec<u16> {
    let mut most = vec![f32::NEG_INFINITY; products.ncols()];
    // As wide as what they are compared by, so that many fit in a register side by side.
    let mut nearest = vec![0_u32; products.ncols()];
    for ((label, products), half) in (0_u32..).zip(products.rows()).zip(halves) {
        for ((most, nearest), product) in most.iter_mut().zip(&mut nearest).zip(products) {
            let closer = product - half;
            *nearest = if closer > *most { label } else { *nearest };
            *most = if closer > *most { closer } else { *most };
        }
    }
    nearest.into_iter().map(|label| label as u16).collect()
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
