//! What the offline-trained router is held to, set by set, with what it got: held or missed, in one table.
//!
//! Every bound was written down before the figure was known. A bound that is itself a figure of the same run (what a
//! constant gets on left-out tasks, what leaving a new model out gives) is taken from the run.

use super::SetReport;
use crate::eval::bars::Bar;
use crate::eval::column::{Column, OURS};

/// The way of treating a new model that is recommended.
const NEW_MODEL: &str = "shrunk slope on ease";
/// By how much the score may be under the best single model's where the task was left out and money is worth nothing.
const SLACK: f64 = 0.003;

/// Every bar of the sets that were run; what was not run has none.
#[must_use]
pub fn promises(sets: &[SetReport]) -> Vec<Bar> {
    sets.iter().flat_map(|set| [at_home(set), abroad(set), new_model(set)].concat()).collect()
}

fn column<'a>(set: &'a SetReport, name: &str) -> Option<&'a Column> {
    set.columns.iter().find(|column| column.name == name)
}

/// In distribution: figures for the sets whose tasks can be learned, no harm seen for those that rank nothing.
fn at_home(set: &SetReport) -> Vec<Bar> {
    let Some(column) = column(set, "in distribution") else { return Vec::new() };
    let Some(ours) = column.row(OURS) else { return Vec::new() };
    let name = &set.set;
    let digits = if column.headline == "apgr" { 3 } else { 1 };
    let no_harm = |goal: f64| {
        let against = ours.differences.iter().find(|difference| difference.against == "kNN+ridge");
        let subject = format!("{name}: less kNN+ridge, upper end of the interval");
        let harm = against.map(|difference| Bar::at_least(subject, difference.high, 0.0).digits(digits));
        let headline = if digits == 3 { "APGR" } else { "gap share, %" };
        let goal =
            Bar::at_least(format!("{name}: {headline}, the goal: lexical-10's"), ours.mean(column.headline), goal);
        harm.into_iter().chain([goal.digits(digits)]).collect()
    };
    match name.as_str() {
        "llmrouter-ulab" => vec![
            Bar::at_least(format!("{name}: gap share, %"), ours.mean("gap_share"), 27.0).digits(1),
            Bar::at_most(format!("{name}: QNC95, %"), ours.mean("qnc95"), 14.5).digits(1),
        ],
        "routellm-mmlu" => {
            vec![Bar::at_least(format!("{name}: APGR with 1,500 labels"), ours.mean("apgr"), 0.650)]
        }
        "zeroeval" => no_harm(6.2),
        "paretobandit" => no_harm(8.1),
        "routellm-gsm8k" => no_harm(0.617),
        _ => Vec::new(),
    }
}

/// On tasks that were left out: above the constant that knows the other tasks, and no worse than the best single model.
fn abroad(set: &SetReport) -> Vec<Bar> {
    let Some(column) = column(set, "leave group out") else { return Vec::new() };
    let (Some(ours), Some(constant)) = (column.row(OURS), column.row("constant")) else { return Vec::new() };
    let name = &set.set;
    if column.headline == "apgr" {
        return vec![
            Bar::at_least(format!("{name}, subjects left out: APGR"), ours.mean("apgr"), 0.584),
            Bar::at_least(format!("{name}, subjects left out: APGR, the goal"), ours.mean("apgr"), 0.595),
        ];
    }
    let share = format!("{name}, tasks left out: gap share, %, against the constant's");
    let alone =
        format!("{name}, tasks left out: score, money worth nothing, against the best single model's less {SLACK}");
    vec![
        Bar::at_least(share, ours.mean("gap_share"), constant.mean("gap_share")).digits(1),
        Bar::at_least(alone, ours.mean("quality_alone"), constant.mean("quality_alone") - SLACK).digits(4),
    ]
}

/// A new model with fifty labels is no worse than none.
fn new_model(set: &SetReport) -> Vec<Bar> {
    let share = |way: &str| {
        let row = set.new_arm.iter().find(|row| row.base == OURS && row.way == way)?;
        Some(row.gap_share.mean)
    };
    let both = share(NEW_MODEL).zip(share("left out"));
    let bar = |(with, without): (f64, f64)| {
        let subject = format!("{}, a new model with 50 labels: gap share, %, against leaving it out", set.set);
        Bar::at_least(subject, with, without).digits(1)
    };
    both.map(bar).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::eval::column::{Figure, Row};
    use crate::eval::exam::Spread;

    fn row(router: &str, figures: &[(&'static str, f64)]) -> Row {
        let figure = |(name, mean): &(&'static str, f64)| {
            (*name, Figure { spread: Spread { mean: *mean, sd: 0.0 }, not_reached: 0 })
        };
        let figures: BTreeMap<_, _> = figures.iter().map(figure).collect();
        Row { router: router.into(), yardstick: false, figures, differences: vec![], curve: vec![] }
    }

    #[test]
    fn a_missed_bound_is_said_and_a_set_that_was_not_run_has_none() {
        let column = |name: &str, rows| Column { name: name.into(), headline: "gap_share", parts: 1, rows };
        let set = SetReport {
            set: "llmrouter-ulab".into(),
            rows: 1,
            models: vec![],
            groups: 2,
            digest: String::new(),
            notes: vec![],
            columns: vec![
                column("in distribution", vec![row(OURS, &[("gap_share", 27.2), ("qnc95", 14.6)])]),
                column(
                    "leave group out",
                    vec![
                        row("constant", &[("gap_share", -2.9), ("quality_alone", 0.6249)]),
                        row(OURS, &[("gap_share", -1.7), ("quality_alone", 0.6158)]),
                    ],
                ),
            ],
            learning: vec![],
            new_arm: vec![],
            online: None,
            trained: vec![],
            drift: vec![],
            budgets: vec![],
        };
        let held: Vec<Option<bool>> = promises(&[set]).iter().map(Bar::holds).collect();
        assert_eq!(held, [Some(true), Some(false), Some(true), Some(false)]);
        assert!(promises(&[]).is_empty());
    }
}
