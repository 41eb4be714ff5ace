//! Columns in which a router learns once and is then judged: in distribution, left-out groups, another set.

use ndarray::{Array2, Axis};

use super::column::{Column, Record, sum_up};
use super::crew::spread;
use super::exam::{Answers, Exam, Redraws};
use super::routers::{Lesson, Outcomes, Prompts, Router};
use super::split::{Split, order};
use super::table::Table;

/// How much is drawn and how it is spread over the machine.
#[derive(Clone, Copy)]
pub struct Effort<'a> {
    /// Splits of the in-distribution column, orders of the online ones.
    pub seeds: u32,
    /// Redraws of the test part in all; they are shared among the splits.
    pub draws: usize,
    /// Threads.
    pub threads: usize,
    /// Called after every piece of work.
    pub done: &'a (dyn Fn() + Sync),
}

/// The training means for every prompt: what one fits who only abstains.
#[derive(Clone, Copy, Debug, Default)]
struct Constant;

impl Router for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        Some(lesson.train_means())
    }
}

/// Facts of the whole table that the exams need: the stronger of two models.
fn strong(table: &Table) -> usize {
    let mean = table.score.mean_axis(Axis(0));
    usize::from(mean.is_some_and(|mean| mean.len() == 2 && mean[1] > mean[0]))
}

fn dearest(outcomes: &Outcomes) -> f64 {
    outcomes.mean_cost().iter().copied().fold(f64::MIN_POSITIVE, f64::max)
}

/// One split: the lesson of its training part, the exam on its test part. Every column that is about splits starts here, so
/// that what a lesson takes is worked out once.
#[derive(Debug)]
pub struct Sitting {
    /// Number of the split.
    pub number: u32,
    /// The split.
    pub split: Split,
    /// The first training rows of `order(split-s)`. The lesson asks about them too, after the test rows.
    pub few: Vec<usize>,
    /// The lesson.
    pub lesson: Lesson,
    /// The exam, on the test rows alone.
    pub exam: Exam,
}

impl Sitting {
    /// Split number `number`, with so many training rows to be asked about too.
    #[must_use]
    pub fn new(table: &Table, number: u32, few: usize) -> Self {
        let split = Split::numbered(table, number);
        let mut drawn = order(&format!("split-{number}"), &table.ids, split.train.iter().copied());
        drawn.truncate(few);
        let asked: Vec<usize> = split.test.iter().chain(&drawn).copied().collect();
        let train = Outcomes::of(table, &split.train);
        let (truth, strong) = (Outcomes::of(table, &split.test), strong(table));
        let exam = Exam::new(truth, dearest(&train), train.best_single(), strong);
        let (known, asked) = (Prompts::of(table, &split.train), Prompts::of(table, &asked));
        let lesson = Lesson::new(table.models.clone(), number, known, train, asked);
        Self { number, split, few: drawn, lesson, exam }
    }

    /// What every router got, the reference lines first.
    #[must_use]
    pub fn records(&self, table: &Table, routers: &[Box<dyn Router>], draws: usize) -> Vec<Record> {
        let redraws = self.exam.redraws(draws, self.number);
        let mut records = lines(&self.exam, &Outcomes::of(table, &self.split.test), &redraws);
        for router in routers {
            if let Some(expected) = router.expect(&self.lesson) {
                records.push(record(&self.exam, router.as_ref(), &expected.first(self.exam.len()), &redraws));
            }
        }
        records
    }
}

/// The records of the reference lines of a pool: the zero router and the oracle.
fn lines(exam: &Exam, truth: &Outcomes, redraws: &Redraws) -> Vec<Record> {
    let Some(lines) = exam.yardstick() else {
        let oracle = exam.marks(truth);
        return vec![Record {
            router: "oracle".into(),
            yardstick: true,
            marks: oracle,
            redrawn: Vec::new(),
            curve: Vec::new(),
        }];
    };
    let zero = super::exam::Marks::Pool(super::metrics::Figures {
        quality_alone: lines.singles[lines.best].quality,
        ..lines.figures(&lines.singles)
    });
    let record = |router: &str, marks, curve: &super::metrics::Hull, redrawn| Record {
        router: router.into(),
        yardstick: true,
        marks,
        redrawn,
        curve: curve.corners().to_vec(),
    };
    vec![
        record("zero router", zero, &lines.zero, vec![0.0; redraws.len()]),
        record("oracle", exam.marks(truth), &lines.oracle, vec![100.0; redraws.len()]),
    ]
}

fn record(exam: &Exam, router: &dyn Router, expected: &Outcomes, redraws: &Redraws) -> Record {
    let answers = exam.answers(expected);
    let even = ndarray::Array1::from_elem(exam.len(), 1.0 / exam.len() as f64);
    let curve = match (&answers, exam.yardstick()) {
        (Answers::Pool(sweep), Some(lines)) => lines.curve(sweep.points(even.view())).corners().to_vec(),
        _ => Vec::new(),
    };
    Record {
        router: router.name().to_owned(),
        yardstick: router.is_yardstick(),
        marks: exam.marks_of(&answers, expected),
        redrawn: exam.redrawn(&answers, redraws),
        curve,
    }
}

/// Redraws of the test part of each of `seeds` splits.
#[must_use]
pub fn draws_each(effort: Effort<'_>) -> usize {
    (effort.draws / effort.seeds.max(1) as usize).max(1)
}

/// Trained on the training part of every split, judged on its test part.
#[must_use]
pub fn in_distribution(table: &Table, routers: &[Box<dyn Router>], effort: Effort<'_>) -> Column {
    let sitting = |s| Sitting::new(table, s as u32, 0).records(table, routers, draws_each(effort));
    sum_up(IN_DISTRIBUTION, &spread(effort.seeds as usize, effort.threads, effort.done, sitting))
}

/// The name of that column.
pub const IN_DISTRIBUTION: &str = "in distribution";

/// Each group in turn judged by what was learned on the others; expectations are pooled and marked once. `None` where
/// fewer than two groups are known.
#[must_use]
pub fn leave_group_out(table: &Table, routers: &[Box<dyn Router>], effort: Effort<'_>) -> Option<Column> {
    let folds = Split::by_group(table);
    if folds.is_empty() {
        return None;
    }
    let expected = spread(folds.len(), effort.threads, effort.done, |fold| {
        let lesson = Lesson::of(table, &folds[fold], 0);
        let constant = std::iter::once(Constant.expect(&lesson));
        constant.chain(routers.iter().map(|router| router.expect(&lesson))).collect::<Vec<_>>()
    });
    let tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test.iter().copied()).collect();
    let all = Outcomes::of(table, &(0..table.len()).collect::<Vec<_>>());
    let exam = Exam::new(Outcomes::of(table, &tested), dearest(&all), all.best_single(), strong(table));
    let redraws = exam.redraws(effort.draws, 0);
    let mut records = lines(&exam, &Outcomes::of(table, &tested), &redraws);
    let constant: &dyn Router = &Constant;
    let judged: Vec<&dyn Router> = std::iter::once(constant).chain(routers.iter().map(AsRef::as_ref)).collect();
    let marked = spread(judged.len(), effort.threads, &|| (), |i| {
        let parts: Option<Vec<&Outcomes>> = expected.iter().map(|fold| fold[i].as_ref()).collect();
        Some(record(&exam, judged[i], &pooled(&parts?), &redraws))
    });
    records.extend(marked.into_iter().flatten());
    Some(sum_up("leave group out", &[records]))
}

/// Expectations of several folds one under the other.
fn pooled(parts: &[&Outcomes]) -> Outcomes {
    let under = |of: &dyn Fn(&Outcomes) -> Option<Array2<f64>>| {
        let matrices: Option<Vec<Array2<f64>>> = parts.iter().map(|part| of(part)).collect();
        let matrices = matrices?;
        let views: Vec<_> = matrices.iter().map(|m| m.view()).collect();
        ndarray::concatenate(Axis(0), &views).ok()
    };
    let score = under(&|part| Some(part.score.clone())).expect("every fold has a score");
    Outcomes { score, cost: under(&|part| part.cost.clone()) }
}

/// Trained on all of one set, judged on all of another with the same models.
#[must_use]
pub fn transfer(from: &Table, to: &Table, routers: &[Box<dyn Router>], effort: Effort<'_>) -> Column {
    let (all_from, all_to): (Vec<usize>, Vec<usize>) = ((0..from.len()).collect(), (0..to.len()).collect());
    let outcomes = Outcomes::of(from, &all_from);
    let mut test = Prompts::of(to, &all_to);
    // A label of the other set has no meaning here.
    test.group = vec![None; test.len()];
    let lesson = Lesson::new(from.models.clone(), 0, Prompts::of(from, &all_from), outcomes, test);
    let truth = Outcomes::of(to, &all_to);
    let exam = Exam::new(truth, dearest(&lesson.outcomes), lesson.outcomes.best_single(), strong(to));
    let redraws = exam.redraws(effort.draws, 0);
    let rivals = routers.iter().filter(|router| !router.is_yardstick());
    let records = rivals.filter_map(|router| {
        let expected = router.expect(&lesson)?;
        (effort.done)();
        Some(record(&exam, router.as_ref(), &expected, &redraws))
    });
    sum_up(&format!("{} to {}", from.set, to.set), &[records.collect()])
}

/// A curve of quality over the number of labelled prompts.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LearningCurve {
    /// The router; `best single` is the single model that is best on those prompts.
    pub router: String,
    /// `(labelled prompts, mean score with money worth nothing, sd over splits)`.
    pub points: Vec<(usize, f64, f64)>,
}

/// Score on the test part after the first 50, 100, ... 3,200 training rows of `order(split-s)`.
#[must_use]
pub fn learning_curves(table: &Table, routers: &[Box<dyn Router>], effort: Effort<'_>) -> Vec<LearningCurve> {
    let sizes: Vec<usize> = (0..7).map(|i| 50 << i).filter(|n| *n <= table.len() * 7 / 10).collect();
    let names: Vec<String> =
        std::iter::once("best single".to_owned()).chain(routers.iter().map(|r| r.name().to_owned())).collect();
    let splits = spread(effort.seeds as usize, effort.threads, effort.done, |s| {
        let split = Split::numbered(table, s as u32);
        let drawn = order(&format!("split-{s}"), &table.ids, split.train.iter().copied());
        let truth = Outcomes::of(table, &split.test).score;
        let quality = |expected: &Outcomes| {
            let pick =
                |row: ndarray::ArrayView1<'_, f64>| super::metrics::many::pick(row, std::iter::repeat(&0.0), 0.0);
            let got = expected.score.rows().into_iter().map(pick).enumerate().map(|(row, model)| truth[[row, model]]);
            got.sum::<f64>() / truth.nrows() as f64
        };
        let one = |n: &usize| {
            let few = Split::in_id_order(drawn[..*n].to_vec(), split.test.clone());
            let lesson = Lesson::of(table, &few, s as u32);
            // On so few rows several are often best. The first is taken, as by every router that expects their means.
            let single = quality(&Outcomes::constant(truth.nrows(), &lesson.outcomes.mean_score(), None));
            let each = routers.iter().map(|router| router.expect(&lesson).as_ref().map(quality));
            std::iter::once(Some(single)).chain(each).collect::<Vec<_>>()
        };
        sizes.iter().map(one).collect::<Vec<_>>()
    });
    let curve = |(router, name): (usize, String)| {
        let point = |(i, n): (usize, &usize)| {
            let values: Vec<f64> = splits.iter().filter_map(|split| split[i][router]).collect();
            let spread = super::exam::Spread::of(&values);
            (*n, spread.mean, spread.sd)
        };
        LearningCurve { router: name, points: sizes.iter().enumerate().map(point).collect() }
    };
    names.into_iter().enumerate().map(curve).collect()
}
