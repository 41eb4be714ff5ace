//! A model comes with fifty labels: is it better to route to it already, or to wait?
//!
//! One model at a time is known only on the first 50 training rows of `order(split-s)`; the others are known on all.

use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate, s};
use serde::Serialize;

use super::exam::{Marks, Spread};
use super::linalg::wide;
use super::offline::Sitting;
use super::routers::{Lesson, Outcomes, Regressors, Router};
use super::table::Table;

/// Labels of the new model.
const LABELS: usize = 50;
/// Splits at most: one model after the other makes each a whole column of work.
const SPLITS: u32 = 5;
/// Added to the variance of the prior on a slope, so that equal slopes do not make it certain.
const PRIOR_FLOOR: f64 = 1e-4;

/// A way to treat a new model, over a base router for the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewArmRow {
    /// The base router.
    pub base: String,
    /// The way.
    pub way: &'static str,
    /// Gap share, percent: mean over models, spread over splits.
    pub gap_share: Spread,
    /// AIQ likewise.
    pub aiq: Spread,
}

/// The ways, in the order of the table.
const WAYS: [&str; 6] =
    ["all its labels", "left out", "mean of 50", "ridge on 50", "mean of 50 + shared ease", "shrunk slope on ease"];

/// How many labelled rows split number `s` of a table has to ask about; 0 where no model is made new. Needs costs and three
/// models.
#[must_use]
pub fn labels(table: &Table, s: u32) -> usize {
    if table.cost.is_some() && table.models.len() > 2 && s < SPLITS { LABELS } else { 0 }
}

/// Gap share and AIQ of every way over every base in one split, each the mean over the models. The split has asked about
/// the [`labels`] too, so that what is expected on them can be centred.
#[must_use]
pub fn treated(table: &Table, sitting: &Sitting, bases: &[Box<dyn Router>]) -> Vec<Vec<(f64, f64)>> {
    let Sitting { lesson, exam, .. } = sitting;
    let known = Outcomes::of(table, &sitting.few);
    // A ridge for each model on the same fifty prompts is one ridge with a column a model.
    let vectors = wide(lesson.test.vectors.view());
    let (tested, labelled) = vectors.view().split_at(Axis(0), exam.len());
    let ridged = Regressors::new(labelled).outcomes(&known, (30.0, 1.0), tested);
    let over = |expected: Outcomes| {
        let of = |arm| Case { lesson, known: &known, ridged: &ridged, expected: &expected, arm };
        let marked = |arm, way| match exam.marks(&of(arm).treated(way)) {
            Marks::Pool(figures) => (figures.gap_share, figures.aiq),
            _ => (f64::NAN, f64::NAN),
        };
        // With all its labels no model is new.
        let whole = marked(0, WAYS[0]);
        let arms = 0..table.models.len();
        let marks = arms.map(|arm| WAYS.map(|way| if way == WAYS[0] { whole } else { marked(arm, way) }));
        let all: Vec<[(f64, f64); WAYS.len()]> = marks.collect();
        let mean =
            |way: usize, f: &dyn Fn((f64, f64)) -> f64| all.iter().map(|m| f(m[way])).sum::<f64>() / all.len() as f64;
        (0..WAYS.len()).map(|way| (mean(way, &|m| m.0), mean(way, &|m| m.1))).collect()
    };
    bases.iter().filter_map(|base| base.expect(lesson)).map(over).collect()
}

/// Every way over every base, over the splits. Empty for none.
#[must_use]
pub fn new_arm(bases: &[Box<dyn Router>], splits: &[Vec<Vec<(f64, f64)>>]) -> Vec<NewArmRow> {
    let row = |(base, way): (usize, usize)| {
        let of =
            |f: &dyn Fn((f64, f64)) -> f64| Spread::of(&splits.iter().map(|s| f(s[base][way])).collect::<Vec<_>>());
        NewArmRow { base: bases[base].name().to_owned(), way: WAYS[way], gap_share: of(&|m| m.0), aiq: of(&|m| m.1) }
    };
    let bases = if splits.is_empty() { 0 } else { bases.len() };
    (0..bases).flat_map(|base| (0..WAYS.len()).map(move |way| (base, way))).map(row).collect()
}

/// One model that is new.
struct Case<'a> {
    lesson: &'a Lesson,
    /// Outcomes of the labelled rows.
    known: &'a Outcomes,
    /// What a ridge on the labelled rows alone expects of every model on the test rows.
    ridged: &'a Outcomes,
    /// What the base expects on the test rows and, after them, on the labelled ones.
    expected: &'a Outcomes,
    arm: usize,
}

impl Case<'_> {
    /// Expectations on the test rows with the new model treated this way.
    fn treated(&self, way: &str) -> Outcomes {
        let n = self.expected.score.nrows() - self.known.score.nrows();
        let mut expected = self.expected.map(|matrix| matrix.slice(s![..n, ..]).to_owned());
        let labels = self.known.score.column(self.arm);
        let mean = labels.mean().unwrap_or_default();
        let ease = mean_of_others(&self.expected.score, self.arm);
        let score: Array1<f64> = match way {
            "all its labels" => return expected,
            "left out" => Array1::from_elem(n, f64::NEG_INFINITY),
            "mean of 50" => Array1::from_elem(n, mean),
            "ridge on 50" => {
                expected.score.column_mut(self.arm).assign(&self.ridged.score.column(self.arm));
                if let (Some(cost), Some(ridged)) = (&mut expected.cost, &self.ridged.cost) {
                    cost.column_mut(self.arm).assign(&ridged.column(self.arm));
                }
                return expected;
            }
            "mean of 50 + shared ease" => {
                let centre = ease.slice(s![n..]).mean().unwrap_or_default();
                ease.slice(s![..n]).mapv(|e| mean + e - centre)
            }
            _ => self.shrunk_slope(&labels, &ease.slice(s![..n]).to_owned()),
        };
        expected.score.column_mut(self.arm).assign(&score);
        if let (Some(cost), Some(known)) = (&mut expected.cost, &self.known.cost) {
            cost.column_mut(self.arm).fill(known.column(self.arm).mean().unwrap_or_default());
        }
        expected
    }

    /// The new model's score as a line in how easy the others find a prompt: the slope is shrunk to the other models'
    /// slopes, the level corrected for how easy the fifty were, and a standard error taken off.
    fn shrunk_slope(&self, labels: &ArrayView1<'_, f64>, ease: &Array1<f64>) -> Array1<f64> {
        let outcomes = &self.lesson.outcomes.score;
        let easy = mean_of_others(outcomes, self.arm);
        let easy_few = mean_of_others(&self.known.score, self.arm);
        let lines: Vec<(f64, f64)> = (0..outcomes.ncols())
            .filter(|other| *other != self.arm)
            .map(|other| {
                let without = outcomes.select(
                    Axis(1),
                    &(0..outcomes.ncols()).filter(|a| *a != self.arm && *a != other).collect::<Vec<_>>(),
                );
                let others = without.mean_axis(Axis(1)).unwrap_or_else(|| Array1::zeros(outcomes.nrows()));
                line(&others.view(), &outcomes.column(other))
            })
            .collect();
        let slopes: Vec<f64> = lines.iter().map(|(slope, _)| *slope).collect();
        let prior = Spread::of(&slopes);
        let variance = lines.iter().map(|(_, rest)| rest).sum::<f64>() / lines.len() as f64;
        let centred = &easy_few - easy_few.mean().unwrap_or_default();
        let (sxx, sxy) = (centred.dot(&centred), centred.dot(labels));
        let weight = 1.0 / (prior.sd * prior.sd + PRIOR_FLOOR);
        let noise = variance.max(f64::MIN_POSITIVE);
        let slope = (prior.mean * weight + sxy / noise) / (weight + sxx / noise);
        let (usual, of_few) = (easy.mean().unwrap_or_default(), easy_few.mean().unwrap_or_default());
        let level = labels.mean().unwrap_or_default() + slope * (usual - of_few);
        let doubt = (variance / labels.len() as f64).sqrt();
        ease.mapv(|e| level + slope * (e - usual) - doubt)
    }
}

/// Mean over every column but one.
fn mean_of_others(matrix: &Array2<f64>, arm: usize) -> Array1<f64> {
    let parts = [matrix.slice(s![.., ..arm]), matrix.slice(s![.., arm + 1..])];
    let others = concatenate(Axis(1), &parts).expect("the same rows");
    others.mean_axis(Axis(1)).unwrap_or_else(|| Array1::zeros(matrix.nrows()))
}

/// Slope and residual variance of the least-squares line.
fn line(x: &ArrayView1<'_, f64>, y: &ArrayView1<'_, f64>) -> (f64, f64) {
    let (dx, dy) = (x - x.mean().unwrap_or_default(), y - y.mean().unwrap_or_default());
    let slope = dx.dot(&dy) / dx.dot(&dx).max(f64::MIN_POSITIVE);
    let rest = dy - dx * slope;
    (slope, rest.dot(&rest) / x.len() as f64)
}
