//! Everything about one set, and about all of them: what `pointsman bench` prints, writes as JSON and draws.

mod anchors;
mod html;
mod promises;
pub(in crate::eval) mod svg;

use ndarray::Array2;
use serde::Serialize;

pub use anchors::{ANCHORS, Anchor};
pub use html::page;
pub use promises::promises;

use super::bars::Bar;
use super::column::{Column, sum_up};
use super::crew::{both, spread};
use super::new_arm::{NewArmRow, labels, new_arm, treated};
use super::offline::{
    Effort, IN_DISTRIBUTION, LearningCurve, Sitting, draws_each, learning_curves, leave_group_out, transfer,
};
use super::routers::{GroupMean, KnnRidge, Length, Lexical, Neighbours, Pointsman, Random, Ridge, Router, Shuffled};
use super::split::Split;
use super::stream::{
    BudgetRow, Change, DriftRow, Online, Projection, Pupil, TrainedRow, budgets, drift, online, policies, trained,
};
use super::table::Table;

/// Rows under which a stream has no thirds worth speaking of.
const SHORTEST_STREAM: usize = 600;

/// Everything about one set.
#[derive(Clone, Debug, Serialize)]
pub struct SetReport {
    /// Name of the set.
    pub set: String,
    /// Rows.
    pub rows: usize,
    /// Models.
    pub models: Vec<String>,
    /// Groups.
    pub groups: usize,
    /// Digest of the table.
    pub digest: String,
    /// What a reader has to know before believing a figure.
    pub notes: Vec<String>,
    /// In distribution, and left-out groups where there are any.
    pub columns: Vec<Column>,
    /// Score over the number of labelled prompts.
    pub learning: Vec<LearningCurve>,
    /// A model with fifty labels.
    pub new_arm: Vec<NewArmRow>,
    /// Streams that reveal one arm.
    pub online: Option<Online>,
    /// Test parts as streams, after the training parts.
    pub trained: Vec<TrainedRow>,
    /// Streams in which something changes.
    pub drift: Vec<DriftRow>,
    /// Streams under a budget.
    pub budgets: Vec<BudgetRow>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the program.
    pub version: String,
    /// Digest of version, settings and tables.
    pub digest: String,
    /// Digest of the frozen settings of the offline-trained router.
    pub settings: String,
    /// Splits and orders.
    pub seeds: u32,
    /// What the offline-trained router is held to, and whether it holds.
    pub bars: Vec<Promise>,
    /// Set by set.
    pub sets: Vec<SetReport>,
    /// Learned on one set, judged on another.
    pub transfers: Vec<Column>,
    /// Figures published by others, under other settings.
    pub anchors: &'static [Anchor],
}

/// A bar with its verdict, for whoever reads the report without the program.
#[derive(Clone, Debug, Serialize)]
pub struct Promise {
    /// What was measured, and the bound.
    #[serde(flatten)]
    pub bar: Bar,
    /// Whether it holds; `None` where it is held to nothing.
    pub held: Option<bool>,
}

impl From<Bar> for Promise {
    fn from(bar: Bar) -> Self {
        Self { held: bar.holds(), bar }
    }
}

/// Every router of the table, baselines first.
#[must_use]
pub fn routers() -> Vec<Box<dyn Router>> {
    vec![
        Box::new(Random),
        Box::new(Length),
        Box::new(Lexical),
        Box::new(GroupMean),
        Box::new(Neighbours),
        Box::new(Ridge),
        Box::new(KnnRidge),
        Box::new(Shuffled),
        Box::new(Pointsman),
    ]
}

/// The set that is too small to rank anything: its facts are shown, no router is judged on it.
const NEVER_SCORED: &str = "routellm-mtbench";

/// What cannot be read off a set's figures.
fn caveats(set: &str) -> &'static [&'static str] {
    match set {
        "llmrouter-ulab" => &[
            "costs are a proxy with three prices; trivia_qa and gpqa look wrongly scored in the source",
            "the settings of pointsman were chosen on the training part of this set's split 0",
        ],
        "zeroeval" => {
            &["costs are estimated from characters, good to 20%; three tasks, told apart by their form alone"]
        }
        "paretobandit" => &["scores are a judge's: use it for budgets and drift, not for claims of quality"],
        "routellm-mmlu" => &["the same protocol as the published figures on 79% of the rows, never a reproduction"],
        "routellm-gsm8k" => &["529 test rows rank nothing"],
        "routellm-mtbench" => &["shown, never scored: a random router has .36 to .64 here"],
        _ => &[],
    }
}

/// Pieces of work that [`examine`] reports through [`Effort::done`].
#[must_use]
pub fn pieces(table: &Table, seeds: u32) -> u64 {
    if table.set == NEVER_SCORED {
        return 0;
    }
    let seeds = u64::from(seeds);
    let folds = Split::by_group(table).len() as u64;
    let streamed = table.len() >= SHORTEST_STREAM && !table.is_pair();
    let pools = u64::from(!table.is_pair());
    let many = u64::from(has_pupils(table));
    let priced = many * u64::from(table.costs_are_complete());
    let online = u64::from(table.groups.len() > 1) + seeds + seeds * Change::ALL.len() as u64;
    seeds + folds + pools * seeds + (many + priced) * seeds + u64::from(streamed) * online
}

fn has_pupils(table: &Table) -> bool {
    !table.is_pair() && table.models.len() > 2
}

/// What the splits show: the column in distribution, and what is played or made new on their test parts.
#[derive(Default)]
struct Splits {
    column: Option<Column>,
    new_arm: Vec<NewArmRow>,
    trained: Vec<TrainedRow>,
    budgets: Vec<BudgetRow>,
}

impl Splits {
    fn of(table: &Table, contexts: &Array2<f32>, routers: &[Box<dyn Router>], effort: Effort<'_>) -> Self {
        let bases: Vec<Box<dyn Router>> = vec![Box::new(Ridge), Box::new(Pointsman)];
        let (mut records, mut arms, mut pupils) = (vec![], vec![], vec![]);
        for (record, arm, pupil) in spread(effort.seeds as usize, effort.threads, effort.done, |s| {
            let labels = labels(table, s as u32);
            let sitting = Sitting::new(table, s as u32, labels);
            let records = sitting.records(table, routers, draws_each(effort));
            let arms = (labels > 0).then(|| treated(table, &sitting, &bases));
            (records, arms, has_pupils(table).then(|| Pupil::new(sitting, contexts, &Pointsman)))
        }) {
            records.push(record);
            arms.extend(arm);
            pupils.extend(pupil);
        }
        let played = || trained(table, contexts, &pupils, effort);
        let (trained, budgets) = both(effort.threads, played, || budgets(table, contexts, &pupils, effort));
        Self { column: Some(sum_up(IN_DISTRIBUTION, &records)), new_arm: new_arm(&bases, &arms), trained, budgets }
    }
}

/// Streams from cold, and streams in which something changes.
fn streams(table: &Table, contexts: &Array2<f32>, effort: Effort<'_>) -> (Option<Online>, Vec<DriftRow>) {
    if table.is_pair() || table.len() < SHORTEST_STREAM {
        return (None, vec![]);
    }
    let cold = || Some(online(table, contexts, &policies::cold(), false, effort));
    both(effort.threads, cold, || drift(table, contexts, &policies::drifting(), effort))
}

/// Everything about one set. `projection` makes the contexts of the streams.
#[must_use]
pub fn examine(table: &Table, projection: &Projection, routers: &[Box<dyn Router>], effort: Effort<'_>) -> SetReport {
    let scored = table.set != NEVER_SCORED;
    let contexts = projection.contexts(table);
    let learners: Vec<Box<dyn Router>> = vec![Box::new(KnnRidge), Box::new(Pointsman)];
    let groups = || scored.then(|| leave_group_out(table, routers, effort)).flatten();
    let splits = || if scored { Splits::of(table, &contexts, routers, effort) } else { Splits::default() };
    let curves = || if table.is_pair() { vec![] } else { learning_curves(table, &learners, effort) };
    let streams = || streams(table, &contexts, effort);
    let two = effort.threads;
    let ((groups, splits), (learning, (online, drift))) =
        both(two, || both(two, groups, splits), || both(two, curves, streams));
    SetReport {
        set: table.set.clone(),
        rows: table.len(),
        models: table.models.clone(),
        groups: table.groups.len(),
        digest: table.digest(),
        notes: caveats(&table.set).iter().map(ToString::to_string).collect(),
        columns: splits.column.into_iter().chain(groups).collect(),
        learning,
        new_arm: splits.new_arm,
        online,
        trained: splits.trained,
        drift,
        budgets: splits.budgets,
    }
}

/// Between every two tables of two models with the same models, both ways.
#[must_use]
pub fn transfers(tables: &[Table], routers: &[Box<dyn Router>], effort: Effort<'_>) -> Vec<Column> {
    let scored = |table: &&Table| table.is_pair() && table.len() > 100;
    let pairs: Vec<&Table> = tables.iter().filter(scored).collect();
    let every = pairs.iter().flat_map(|from| pairs.iter().map(move |to| (*from, *to)));
    let alike: Vec<_> = every.filter(|(from, to)| from.set != to.set && from.models == to.models).collect();
    spread(alike.len(), effort.threads, &|| (), |i| transfer(alike[i].0, alike[i].1, routers, effort))
}
