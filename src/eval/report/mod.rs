//! Everything about one set, and about all of them: what `pointsman bench` prints, writes as JSON and draws.

mod anchors;
mod html;
mod promises;
pub(in crate::eval) mod svg;

use serde::Serialize;

pub use anchors::{ANCHORS, Anchor};
pub use html::page;
pub use promises::promises;

use super::bars::Bar;
use super::column::Column;
use super::new_arm::{NewArmRow, new_arm};
use super::offline::{Effort, LearningCurve, in_distribution, learning_curves, leave_group_out, transfer};
use super::routers::{GroupMean, KnnRidge, Length, Lexical, Neighbours, Pointsman, Random, Ridge, Router, Shuffled};
use super::split::Split;
use super::stream::{
    BudgetRow, Change, DriftRow, Online, Projection, TrainedRow, budgets, drift, online, policies, pupils, trained,
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
    let many = u64::from(!table.is_pair() && table.models.len() > 2);
    let priced = many * u64::from(table.costs_are_complete());
    let online = u64::from(table.groups.len() > 1) + seeds + seeds * Change::ALL.len() as u64;
    seeds + folds + pools * seeds + many * 2 * seeds + priced * (seeds.min(5) + seeds) + u64::from(streamed) * online
}

/// Everything about one set. `projection` makes the contexts of the streams.
#[must_use]
pub fn examine(table: &Table, projection: &Projection, routers: &[Box<dyn Router>], effort: Effort<'_>) -> SetReport {
    let mut columns = Vec::new();
    if table.set != NEVER_SCORED {
        columns.push(in_distribution(table, routers, effort));
        columns.extend(leave_group_out(table, routers, effort));
    }
    let (mut learning, mut arms, mut streams) = (vec![], vec![], None);
    let (mut learned, mut changes, mut paced) = (vec![], vec![], vec![]);
    if !table.is_pair() {
        let learners: Vec<Box<dyn Router>> = vec![Box::new(KnnRidge), Box::new(Pointsman)];
        learning = learning_curves(table, &learners, effort);
        let bases: Vec<Box<dyn Router>> = vec![Box::new(Ridge), Box::new(Pointsman)];
        arms = new_arm(table, &bases, effort);
        let contexts = projection.contexts(table);
        if table.len() >= SHORTEST_STREAM {
            streams = Some(online(table, &contexts, &policies::cold(), false, effort));
            changes = drift(table, &contexts, &policies::drifting(), effort);
        }
        if table.models.len() > 2 {
            let pupils = pupils(table, &contexts, &Pointsman, effort);
            learned = trained(table, &contexts, &pupils, effort);
            paced = budgets(table, &contexts, &pupils, effort);
        }
    }
    SetReport {
        set: table.set.clone(),
        rows: table.len(),
        models: table.models.clone(),
        groups: table.groups.len(),
        digest: table.digest(),
        notes: caveats(&table.set).iter().map(ToString::to_string).collect(),
        columns,
        learning,
        new_arm: arms,
        online: streams,
        trained: learned,
        drift: changes,
        budgets: paced,
    }
}

/// Between every two tables of two models with the same models, both ways.
#[must_use]
pub fn transfers(tables: &[Table], routers: &[Box<dyn Router>], effort: Effort<'_>) -> Vec<Column> {
    let scored = |table: &&Table| table.is_pair() && table.len() > 100;
    let pairs: Vec<&Table> = tables.iter().filter(scored).collect();
    let both = pairs.iter().flat_map(|from| pairs.iter().map(move |to| (*from, *to)));
    both.filter(|(from, to)| from.set != to.set && from.models == to.models)
        .map(|(from, to)| transfer(from, to, routers, effort))
        .collect()
}
