//! Discriminant heads: which kind of prompt is this, and what is each model worth on that kind?
//!
//! A labelling of the training rows (the task's name where the rows carry one, else clusters) gives a linear classifier
//! in closed form and a table of shrunk mean outcomes a class. An expectation is the table weighted by the classifier's
//! posterior; the recipe is the mean over several labellings. All settings were chosen on inner splits of the training
//! part of llmrouter-ulab and frozen.

use ndarray::{Array1, Array2, Axis, concatenate};

use super::clusters::kmeans;
use super::plain::z_scores;
use super::{Lesson, Outcomes, Router, ridge};
use crate::base::Seed;
use crate::eval::linalg::{means, solve, wide};

/// Weight and cut of the lexical z-scores beside the unit embedding.
const LEXICAL_WEIGHT: f64 = 0.1;
const LEXICAL_CUT: f64 = 4.0;
/// Softness of the posterior: discriminants of 394 correlated features are far too sure of themselves.
const TEMPERATURE: f64 = 0.3;
/// Rows' worth of training mean behind every class's mean outcome.
const SHRINKAGE: f64 = 5.0;
/// Clusters of the k-means labellings, and draws of each.
const CLUSTERS: [usize; 3] = [12, 16, 24];
const DRAWS: u64 = 4;
/// Ridge on what the task's mean leaves over.
const RESIDUAL_ALPHA: f64 = 100.0;

/// One labelling of the training rows and what its classifier makes of the test rows.
#[derive(Debug)]
pub(super) struct Head {
    labels: Vec<u16>,
    classes: usize,
    posterior: Array2<f64>,
}

/// Everything about a lesson that does not depend on the outcomes.
#[derive(Debug)]
pub(super) struct Parts {
    pub train: Array2<f64>,
    pub test: Array2<f64>,
    by_task: Option<Head>,
    by_cluster: Vec<Head>,
}

/// x = [e, 0.1 clip(z, -4, 4)] of the training and test rows.
fn features(lesson: &Lesson) -> (Array2<f64>, Array2<f64>) {
    let (train, test) = z_scores(lesson);
    let joined = |vectors: &Array2<f32>, z: Array2<f64>| {
        let z = z.mapv(|z| LEXICAL_WEIGHT * z.clamp(-LEXICAL_CUT, LEXICAL_CUT));
        concatenate(Axis(1), &[wide(vectors.view()).view(), z.view()]).expect("both have a row a prompt")
    };
    (joined(&lesson.train.vectors, train), joined(&lesson.test.vectors, test))
}

impl Parts {
    fn of(lesson: &Lesson) -> Self {
        let (train, test) = features(lesson);
        let scatter = train.t().dot(&train) / train.nrows() as f64;
        let head = |labels: Vec<u16>| Head::fit(labels, &train, &scatter, &test);
        let mut tasks: Vec<u16> = lesson.train.group.iter().flatten().copied().collect();
        tasks.sort_unstable();
        tasks.dedup();
        let labelled = tasks.len() > 1 && lesson.train.group.iter().all(Option::is_some);
        let by_task = labelled.then(|| {
            let place = |group: &u16| tasks.binary_search(group).unwrap_or_default() as u16;
            head(lesson.train.group.iter().flatten().map(place).collect())
        });
        let single = train.mapv(|x| x as f32);
        let draws = CLUSTERS.iter().flat_map(|k| (0..DRAWS).map(move |draw| (*k, Seed(draw))));
        let by_cluster = draws.map(|(k, seed)| head(kmeans(&single, k, seed).labels)).collect();
        Self { train, test, by_task, by_cluster }
    }

    /// What the clusters' heads expect.
    pub(super) fn by_cluster(&self, outcomes: &Outcomes) -> Outcomes {
        outcomes.map(|target| {
            let sum = self.by_cluster.iter().map(|head| head.expect(target)).reduce(|a, b| a + b);
            sum.expect("there are clusters") / self.by_cluster.len() as f64
        })
    }

    /// What the task's head expects, a ridge on the scores' residuals added; `None` where rows carry no label.
    pub(super) fn by_task(&self, outcomes: &Outcomes) -> Option<Outcomes> {
        let head = self.by_task.as_ref()?;
        let mut expected = outcomes.map(|target| head.expect(target));
        let table = head.table(&outcomes.score);
        let mut rest = outcomes.score.clone();
        for (mut row, label) in rest.rows_mut().into_iter().zip(&head.labels) {
            row -= &table.row(usize::from(*label));
        }
        let rest = Outcomes { score: rest, cost: None };
        expected.score += &ridge((self.train.view(), self.test.view()), &rest, (RESIDUAL_ALPHA, RESIDUAL_ALPHA)).score;
        Some(expected)
    }

    /// The recipe: the mean of the task's head and the clusters' heads, or the latter alone without labels.
    pub(super) fn expect(&self, outcomes: &Outcomes, labels: bool) -> Outcomes {
        let clusters = self.by_cluster(outcomes);
        match self.by_task(outcomes).filter(|_| labels) {
            Some(task) => task.mean_with(&clusters),
            None => clusters,
        }
    }
}

impl Head {
    /// Linear discriminant of a labelling. Class mean m = (sum + train mean)/(n + 1); S = mean of (x - m)(x - m)' plus
    /// (tr S/p) I; w = S^-1 m, b = ln(n/N) - m'w/2; posterior = softmax(0.3 (w'x + b)). `scatter` is the mean of x x'.
    fn fit(labels: Vec<u16>, train: &Array2<f64>, scatter: &Array2<f64>, test: &Array2<f64>) -> Self {
        let (n, p) = train.dim();
        let classes = labels.iter().max().map_or(1, |most| usize::from(*most) + 1);
        let mut sums = Array2::zeros((classes, p));
        let mut counts = Array1::<f64>::zeros(classes);
        for (row, label) in train.rows().into_iter().zip(&labels) {
            let mut sum = sums.row_mut(usize::from(*label));
            sum += &row;
            counts[usize::from(*label)] += 1.0;
        }
        let overall = means(train.view());
        let mut centres = &sums + &overall;
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
        let offsets: Array1<f64> = (0..classes).map(|class| (counts[class] / n as f64).ln() - half(class)).collect();
        let mut posterior = (test.dot(&weights) + &offsets) * TEMPERATURE;
        for mut row in posterior.rows_mut() {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.mapv_inplace(|x| (x - most).exp());
            let sum = row.sum();
            row /= sum;
        }
        Self { labels, classes, posterior }
    }

    /// Shrunk mean outcomes of every class.
    fn table(&self, target: &Array2<f64>) -> Array2<f64> {
        let overall = means(target.view()) * SHRINKAGE;
        let mut table = Array2::zeros((self.classes, target.ncols())) + &overall;
        let mut counts = vec![SHRINKAGE; self.classes];
        for (row, label) in target.rows().into_iter().zip(&self.labels) {
            let mut sum = table.row_mut(usize::from(*label));
            sum += &row;
            counts[usize::from(*label)] += 1.0;
        }
        for (mut row, count) in table.rows_mut().into_iter().zip(counts) {
            row /= count;
        }
        table
    }

    fn expect(&self, target: &Array2<f64>) -> Array2<f64> {
        self.posterior.dot(&self.table(target))
    }
}

impl Lesson {
    pub(super) fn heads(&self) -> &Parts {
        self.memo.heads.get_or_init(|| Parts::of(self))
    }
}

/// The recipe, with or without the training rows' task labels. Test rows' labels are never used.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Whether the training rows' labels are used.
    pub labels: bool,
}

impl Router for Heads {
    fn name(&self) -> &'static str {
        if self.labels { "heads" } else { "heads, no labels" }
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        Some(lesson.heads().expect(&lesson.outcomes, self.labels))
    }
}
