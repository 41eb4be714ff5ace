//! The plain mean of the nearest training rows.

use ndarray::{Array1, Array2, Axis, s};

use super::{Lesson, Outcomes, Router};

/// How many neighbours vote.
pub(super) const NEIGHBOURS: usize = 80;
/// Rows whose similarities are worked out at once: keeps the block in the cache's reach.
const BLOCK: usize = 256;

/// The nearest training rows of every test row.
#[derive(Debug)]
pub(super) struct Nearest {
    /// Indices of training rows, the nearest first.
    pub rows: Vec<Vec<u32>>,
    /// Their inner products.
    pub cosines: Vec<Vec<f32>>,
}

/// The `k` greatest inner products of every row of `queries` with the rows of `keys`, the greatest first; ties go to
/// the earlier row. `skip_self`: row i of the queries is row i of the keys and does not count.
pub(super) fn nearest(queries: &Array2<f32>, keys: &Array2<f32>, k: usize, skip_self: bool) -> Nearest {
    let transposed = keys.t();
    let mut found = Nearest { rows: Vec::new(), cosines: Vec::new() };
    let mut order: Vec<(f32, u32)> = Vec::with_capacity(keys.nrows());
    for start in (0..queries.nrows()).step_by(BLOCK) {
        let end = (start + BLOCK).min(queries.nrows());
        let block = queries.slice(s![start..end, ..]).dot(&transposed);
        for (offset, products) in block.rows().into_iter().enumerate() {
            order.clear();
            order.extend(products.iter().zip(0_u32..).map(|(p, row)| (*p, row)));
            if skip_self {
                order.swap_remove(start + offset);
            }
            let greater = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            let k = k.min(order.len());
            if k < order.len() {
                order.select_nth_unstable_by(k, greater);
            }
            order[..k].sort_unstable_by(greater);
            found.rows.push(order[..k].iter().map(|(_, row)| *row).collect());
            found.cosines.push(order[..k].iter().map(|(p, _)| *p).collect());
        }
    }
    found
}

impl Lesson {
    pub(super) fn neighbours(&self) -> &Nearest {
        self.memo.neighbours.get_or_init(|| nearest(&self.test.vectors, &self.train.vectors, NEIGHBOURS, false))
    }

    /// Mean inner product of every training row with its `k` nearest others, worked out once.
    pub(super) fn own_cosines(&self, k: usize) -> &Array1<f64> {
        self.memo.own_neighbours.get_or_init(|| {
            let found = nearest(&self.train.vectors, &self.train.vectors, k, true);
            found.cosines.iter().map(|c| mean(c)).collect()
        })
    }

    /// The mean outcomes of the nearest rows, worked out once.
    pub(super) fn knn(&self) -> &Outcomes {
        self.memo.knn.get_or_init(|| {
            let nearest = self.neighbours();
            self.outcomes.map(|matrix| {
                let mut expected = Array2::zeros((self.test.len(), matrix.ncols()));
                for (mut row, near) in expected.axis_iter_mut(Axis(0)).zip(&nearest.rows) {
                    near.iter().for_each(|n| row += &matrix.row(*n as usize));
                    row /= near.len() as f64;
                }
                expected
            })
        })
    }
}

/// Mean of single-precision numbers in double precision.
pub(super) fn mean(numbers: &[f32]) -> f64 {
    numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / numbers.len() as f64
}

/// The mean of the 80 nearest training rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neighbours;

impl Router for Neighbours {
    fn name(&self) -> &'static str {
        "kNN80"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        Some(lesson.knn().clone())
    }
}

/// The mean of neighbours and ridge: the one to beat outside the training tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnnRidge;

impl Router for KnnRidge {
    fn name(&self) -> &'static str {
        "kNN+ridge"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        Some(lesson.knn_ridge())
    }
}

impl Lesson {
    /// The mean of neighbours and ridge.
    pub(super) fn knn_ridge(&self) -> Outcomes {
        self.knn().mean_with(self.ridge())
    }
}
