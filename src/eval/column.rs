//! One column of the results: every router under one way of dividing the rows, summed up over splits.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exam::{Marks, Spread, interval};
use super::metrics::Point;

/// A figure over the splits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Mean and standard deviation over the splits where it was reached.
    #[serde(flatten)]
    pub spread: Spread,
    /// Splits where it was not reached (or is not defined).
    pub not_reached: usize,
}

/// A paired difference of the headline figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Against whom.
    pub against: String,
    /// Mean over redrawn test parts.
    pub mean: f64,
    /// 2.5 percentile.
    pub low: f64,
    /// 97.5 percentile.
    pub high: f64,
}

impl Difference {
    /// Whether the interval holds 0.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.low <= 0.0 && 0.0 <= self.high
    }
}

/// One router in a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The router.
    pub router: String,
    /// Whether it needs what a served request does not carry.
    pub yardstick: bool,
    /// Every figure by name.
    pub figures: BTreeMap<&'static str, Figure>,
    /// Differences of the headline figure from the baselines.
    pub differences: Vec<Difference>,
    /// The curve of split 0, from cheap to dear; empty where there are no costs.
    pub curve: Vec<Point>,
}

impl Row {
    /// Mean of a figure; NaN if it is unknown or never reached.
    #[must_use]
    pub fn mean(&self, figure: &str) -> f64 {
        self.figures.get(figure).map_or(f64::NAN, |figure| figure.spread.mean)
    }
}

/// Every router under one way of dividing the rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Which way: `in distribution`, `leave group out` ...
    pub name: String,
    /// Name of the figure that heads the column: `gap_share` or `apgr`.
    pub headline: &'static str,
    /// Splits or folds.
    pub parts: usize,
    /// Routers in the order they were given, reference lines first.
    pub rows: Vec<Row>,
}

impl Column {
    /// The row of this router.
    #[must_use]
    pub fn row(&self, router: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.router == router)
    }

    /// Who is ahead of this router, in words; `None` if it is not in the column.
    #[must_use]
    pub fn who_beats(&self, router: &str) -> Option<String> {
        let own = self.row(router)?;
        let mean = |row: &Row| row.mean(self.headline);
        let ahead = self.rows.iter().filter(|row| row.router != "oracle" && mean(row) > mean(own));
        let digits = if self.headline == "apgr" { 3 } else { 1 };
        let named: Vec<String> = ahead
            .map(|row| {
                let seen = own.differences.iter().find(|d| d.against == row.router).filter(|d| !d.is_unseen());
                let how = if seen.is_some() { ", clear of chance" } else { "" };
                format!("{} (+{:.digits$}{how})", row.router, mean(row) - mean(own))
            })
            .collect();
        Some(if named.is_empty() {
            format!("nothing but the oracle is ahead of {router} here")
        } else {
            format!("ahead of {router} here: {}", named.join(", "))
        })
    }
}

/// What one router got in one split, before it is summed up.
#[derive(Clone, Debug)]
pub struct Record {
    /// The router.
    pub router: String,
    /// Whether it needs what a served request does not carry.
    pub yardstick: bool,
    /// Its marks.
    pub marks: Marks,
    /// Its headline figure on every redrawn test part.
    pub redrawn: Vec<f64>,
    /// Its curve.
    pub curve: Vec<Point>,
}

/// The router of this house, as the tables name it.
pub const OURS: &str = "pointsman";

/// The baselines every router is held against.
pub const AGAINST: [&str; 4] = ["length", "lexical-10", "kNN+ridge", "constant"];

/// Sums up the records of all splits: `splits[s]` has one record a router, in the same order.
#[must_use]
pub fn sum_up(name: &str, splits: &[Vec<Record>]) -> Column {
    let Some(first) = splits.first() else {
        return Column { name: name.to_owned(), headline: "gap_share", parts: 0, rows: Vec::new() };
    };
    let headline = if first.iter().any(|r| matches!(r.marks, Marks::Pair(_))) { "apgr" } else { "gap_share" };
    let redrawn = |router: usize| splits.iter().flat_map(move |split| split[router].redrawn.iter().copied());
    let rows = (0..first.len()).map(|router| {
        let mut values: BTreeMap<&'static str, Vec<Option<f64>>> = BTreeMap::new();
        for split in splits {
            for (name, value) in named(&split[router].marks) {
                values.entry(name).or_default().push(value);
            }
        }
        let against = |(other, record): (usize, &Record)| {
            if other == router || !AGAINST.contains(&record.router.as_str()) || first[router].redrawn.is_empty() {
                return None;
            }
            let differences: Vec<f64> = redrawn(router).zip(redrawn(other)).map(|(a, b)| a - b).collect();
            let mean = differences.iter().sum::<f64>() / differences.len() as f64;
            let (low, high) = interval(differences);
            Some(Difference { against: record.router.clone(), mean, low, high })
        };
        Row {
            router: first[router].router.clone(),
            yardstick: first[router].yardstick,
            figures: values.into_iter().map(|(name, values)| (name, figure(&values))).collect(),
            differences: first.iter().enumerate().filter_map(against).collect(),
            curve: first[router].curve.clone(),
        }
    });
    Column { name: name.to_owned(), headline, parts: splits.len(), rows: rows.collect() }
}

/// A figure summed up; `None` = not reached.
#[must_use]
pub fn figure(values: &[Option<f64>]) -> Figure {
    let reached: Vec<f64> = values.iter().flatten().copied().collect();
    Figure { spread: Spread::of(&reached), not_reached: values.len() - reached.len() }
}

fn named(marks: &Marks) -> Vec<(&'static str, Option<f64>)> {
    match marks {
        Marks::Pool(f) => vec![
            ("aiq", Some(f.aiq)),
            ("gap_share", Some(f.gap_share)),
            ("aiq_log", Some(f.aiq_log)),
            ("gap_share_log", Some(f.gap_share_log)),
            ("qnc95", f.qnc95.map(|x| 100.0 * x)),
            ("qnc100", f.qnc100.map(|x| 100.0 * x)),
            ("q_at_quarter", Some(f.q_at_quarter)),
            ("max_minus_best", Some(f.max_minus_best)),
            ("quality_alone", Some(f.quality_alone)),
            ("router_arena", Some(f.router_arena)),
        ],
        Marks::Pair(f) => {
            vec![("apgr", Some(f.apgr)), ("apgr10", f.apgr10), ("cpt50", f.cpt50), ("cpt80", f.cpt80)]
        }
        Marks::Scores(f) => vec![("quality_alone", Some(f.quality)), ("gap_share", Some(f.gap_share))],
    }
}
