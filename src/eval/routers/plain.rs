//! Routers that know next to nothing: chance, the prompt's length, ten counts, the task's label.

use std::collections::HashMap;

use ndarray::{Array1, Array2, Axis};

use super::{Lesson, Outcomes, Regressors, Router};
use crate::eval::linalg::means;
use crate::eval::metrics::pair::quantile;
use crate::eval::split::random_score;

/// Rows' worth of training mean that stand behind every group's mean.
const SHRINKAGE: f64 = 5.0;

/// Shrunk means of parts of the training rows: (sum over the part + 5 x train mean)/(n + 5).
fn means_of_parts<P: Eq + std::hash::Hash + Copy>(lesson: &Lesson, train: &[P], test: &[P]) -> Outcomes {
    let table = |matrix: &Array2<f64>| {
        let overall = means(matrix.view());
        let mut sums: HashMap<P, (Array1<f64>, f64)> = HashMap::new();
        for (row, part) in matrix.rows().into_iter().zip(train) {
            let (sum, n) = sums.entry(*part).or_insert_with(|| (&overall * SHRINKAGE, SHRINKAGE));
            *sum += &row;
            *n += 1.0;
        }
        let mut expected = Array2::zeros((test.len(), matrix.ncols()));
        for (mut row, part) in expected.rows_mut().into_iter().zip(test) {
            match sums.get(part) {
                Some((sum, n)) => row.assign(&(sum / *n)),
                None => row.assign(&overall),
            }
        }
        expected
    };
    lesson.outcomes.map(table)
}

/// Two models: the longer the prompt, the sooner the strong one. Many: means over ten parts by length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length;

impl Router for Length {
    fn name(&self) -> &'static str {
        "length"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        if lesson.models.len() == 2 && lesson.outcomes.cost.is_none() {
            let mean = lesson.outcomes.mean_score();
            let strong = usize::from(mean[1] > mean[0]);
            let mut score = Array2::zeros((lesson.test.len(), 2));
            score.column_mut(strong).assign(&Array1::from(lesson.test.chars.clone()));
            return Some(Outcomes { score, cost: None });
        }
        let mut sorted = lesson.train.chars.clone();
        sorted.sort_by(f64::total_cmp);
        let edges: Vec<f64> = (1..10).map(|d| quantile(&sorted, f64::from(d) / 10.0)).collect();
        let part = |chars: &f64| edges.iter().filter(|edge| *edge <= chars).count();
        let parts = |chars: &[f64]| chars.iter().map(part).collect::<Vec<_>>();
        Some(means_of_parts(lesson, &parts(&lesson.train.chars), &parts(&lesson.test.chars)))
    }
}

/// The mean of the prompt's own task. It knows the label of the test row, which a served request does not carry.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupMean;

impl Router for GroupMean {
    fn name(&self) -> &'static str {
        "group mean"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        // Rows without a label are a part of their own in training and stand at the mean in the test.
        let known = |group: &Option<u16>| group.map_or(-1, i32::from);
        let parts = |groups: &[Option<u16>]| groups.iter().map(known).collect::<Vec<_>>();
        let labelled = lesson.train.group.iter().flatten().collect::<std::collections::HashSet<_>>();
        (labelled.len() > 1).then(|| means_of_parts(lesson, &parts(&lesson.train.group), &parts(&lesson.test.group)))
    }

    fn is_yardstick(&self) -> bool {
        true
    }
}

/// Ridge on z-scores of the ten lexical counts, alpha 400.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lexical;

impl Router for Lexical {
    fn name(&self) -> &'static str {
        "lexical-10"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        let (train, test) = z_scores(lesson);
        Some(Regressors::new(train.view()).outcomes(&lesson.outcomes, (400.0, 400.0), test.view()))
    }
}

/// The lexical counts of the training and test rows on the training rows' scale (mean, population sd + 1e-9).
pub(super) fn z_scores(lesson: &Lesson) -> (Array2<f64>, Array2<f64>) {
    let centre = means(lesson.train.lexical.view());
    let scale = lesson.train.lexical.std_axis(Axis(0), 0.0) + 1e-9;
    let z = |x: &Array2<f64>| (x - &centre) / &scale;
    (z(&lesson.train.lexical), z(&lesson.test.lexical))
}

/// A uniform number a row: two models only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Router for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        if lesson.models.len() != 2 || lesson.outcomes.cost.is_some() {
            return None;
        }
        let mean = lesson.outcomes.mean_score();
        let strong = usize::from(mean[1] > mean[0]);
        let mut score = Array2::zeros((lesson.test.len(), 2));
        let draws = lesson.test.ids.iter().map(|id| random_score(lesson.number, id));
        score.column_mut(strong).assign(&draws.collect::<Array1<f64>>());
        Some(Outcomes { score, cost: None })
    }
}
