//! The plain mean of the nearest training rows.

use std::cmp::Ordering;

use ndarray::{Array2, Axis, s};

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
}

/// The `k` greatest inner products of every row of `queries` with the rows of `keys`, the greatest first; ties go to
/// the earlier row.
pub(super) fn nearest(queries: &Array2<f32>, keys: &Array2<f32>, k: usize) -> Nearest {
    let transposed = keys.t();
    let mut found = Nearest { rows: Vec::with_capacity(queries.nrows()) };
    let k = k.min(keys.nrows());
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(2 * k);
    for start in (0..queries.nrows()).step_by(BLOCK) {
        let end = (start + BLOCK).min(queries.nrows());
        let block = queries.slice(s![start..end, ..]).dot(&transposed);
        for products in block.rows() {
            best.clear();
            // Whoever is not nearer than the k-th so far is not among the k.
            let mut bar = f32::NEG_INFINITY;
            for (product, row) in products.iter().zip(0_u32..) {
                if *product > bar {
                    best.push((*product, row));
                    if best.len() == 2 * k {
                        best.select_nth_unstable_by(k - 1, |a, b| greater(*a, *b));
                        best.truncate(k);
                        bar = best[k - 1].0;
                    }
                }
            }
            best.sort_unstable_by(|a, b| greater(*a, *b));
            found.rows.push(best.iter().take(k).map(|(_, row)| *row).collect());
        }
    }
    found
}

fn greater(a: (f32, u32), b: (f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Lesson {
    pub(super) fn neighbours(&self) -> &Nearest {
        self.memo.neighbours.get_or_init(|| nearest(&self.test.vectors, &self.train.vectors, NEIGHBOURS))
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
