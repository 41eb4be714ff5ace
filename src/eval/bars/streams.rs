//! Public outcomes, one answer at a time: from cold, beside the best fixed arm and beside `LinUCB`; and while things
//! change.

use ndarray::{Array2, Axis};

use super::Bar;
use crate::embed::{Embedding, Origin};
use crate::eval::offline::Effort;
use crate::eval::stream::{CONTEXT, DriftRow, Maker, Online, OnlineRow, drift, online, policies};
use crate::eval::table::Table;
use crate::features::Extractor;

/// End regret and last quarter that a set is held to.
const HELD_TO: [(&str, f64); 3] = [("llmrouter-ulab", 50.0), ("zeroeval", 68.0), ("paretobandit", 6.0)];

/// The contexts of a table's rows as the endpoint would make them, `[n, 33]`.
#[must_use]
pub fn contexts(table: &Table) -> Array2<f32> {
    let extractor = Extractor::new();
    let mut x = Array2::zeros((table.len(), CONTEXT));
    for (row, vector) in table.vectors.rows().into_iter().enumerate() {
        let embedding = Embedding { vector: vector.iter().copied().collect(), origin: Origin::Encoder };
        let context = extractor.artefact().projection.project(&embedding);
        x.row_mut(row).iter_mut().zip(context).for_each(|(to, from)| *to = from);
    }
    x
}

/// The same outcomes with the models in the opposite order, so that another comes first: no policy may care.
///
/// The two figures differ all the same, by chance: the draws fall to other models. The regrets of single orders have a
/// long tail (an order in which the second best model is settled on for a thousand requests costs three or four times
/// the usual), so ten orders say little about their mean, and thirty not much.
#[must_use]
fn renamed(table: &Table) -> Table {
    let mut table = table.clone();
    table.models.reverse();
    table.score.invert_axis(Axis(1));
    if let Some(cost) = &mut table.cost {
        cost.invert_axis(Axis(1));
    }
    for tokens in table.tokens_in.iter_mut().chain(&mut table.tokens_out) {
        tokens.invert_axis(Axis(1));
    }
    table
}

/// The online columns of a set, and the bars on them.
#[must_use]
pub fn from_cold(table: &Table, effort: Effort<'_>) -> (Online, Vec<Bar>) {
    let mut makers: Vec<Maker<'static>> = policies::cold().into_iter().filter(|(name, _)| name != "UCB1").collect();
    makers.push(policies::unshared());
    let x = contexts(table);
    let shown = online(table, &x, &makers, false, effort);
    let mut bars = Vec::new();
    let row = |name: &str| shown.rows.iter().find(|row| row.policy == name);
    let held_to = HELD_TO.iter().find(|(set, _)| *set == table.set).map(|(_, bound)| *bound);
    if let (Some(ours), Some(bound)) = (row("pointsman, cold"), held_to) {
        if let Some((regret, error)) = end(ours, effort) {
            let subject =
                format!("{}: regret to the best fixed arm at the end, from cold, exploration share in it", table.set);
            bars.push(Bar::at_most(subject, regret, bound).with_error(error).digits(1));
        }
        let ours_alone = [policies::ours()];
        let again = online(&renamed(table), &x, &ours_alone, false, effort);
        let row_again = again.rows.iter().find(|row| row.policy == ours.policy);
        if let Some((regret, error)) = row_again.and_then(|row| end(row, effort)) {
            let subject = format!("{}: the same, the models in the opposite order", table.set);
            bars.push(Bar::at_most(subject, regret, bound).with_error(error).digits(1));
        }
        for other in ["pointsman, no exploration share", "pointsman, SquareCB", "LinUCB"] {
            if let Some((regret, error)) = row(other).and_then(|row| end(row, effort)) {
                bars.push(Bar::shown(format!("{}: the same, {other}", table.set), regret).with_error(error).digits(1));
            }
        }
        let at = |share: usize| ours.curve.get(ours.curve.len() * share / 4 - 1).map(|point| (point.0, point.1));
        if let (Some((from, before)), Some((to, after))) = (at(3), at(4)) {
            let gain = (before - after) / (to - from) as f64;
            let subject = format!("{}: last quarter, mean score less the best fixed arm's", table.set);
            bars.push(
                if table.set == "llmrouter-ulab" {
                    Bar::at_least(subject, gain, 0.0)
                } else {
                    Bar::shown(subject, gain)
                }
                .digits(4),
            );
        }
        for (name, row) in [("pointsman", Some(ours)), ("LinUCB", row("LinUCB"))] {
            if let Some(blocked) = row.and_then(|row| row.blocked) {
                bars.push(
                    Bar::shown(format!("{}: mean score on the blocked order, {name}", table.set), blocked).digits(4),
                );
            }
        }
    }
    (shown, bars)
}

/// Regret to the best fixed arm of the same order at the end, and its standard error over the orders.
fn end(row: &OnlineRow, effort: Effort<'_>) -> Option<(f64, f64)> {
    row.regret_to_fixed.last().map(|(_, spread)| (spread.mean, spread.sd / f64::from(effort.seeds).sqrt()))
}

/// The drift columns of a set, and the bars on them.
#[must_use]
pub fn changing(table: &Table, effort: Effort<'_>) -> (Vec<DriftRow>, Vec<Bar>) {
    let rows = drift(table, &contexts(table), &policies::drifting(), effort);
    let mut bars = Vec::new();
    for ours in rows.iter().filter(|row| row.policy == "pointsman, cold") {
        let Some(theirs) = rows.iter().find(|row| row.change == ours.change && row.policy == "LinUCB, forgetting .997")
        else {
            continue;
        };
        let subject = |what: &str| format!("{}, {}: {what}", table.set, ours.change);
        let reward =
            Bar::at_least(subject("reward, against the forgetting LinUCB's"), ours.reward.mean, theirs.reward.mean);
        bars.push(reward.with_error(ours.reward.sd / f64::from(effort.seeds).sqrt()).digits(4));
        bars.push(Bar::at_most(subject("requests until adapted"), ours.adaptation.mean, 250.0).digits(0));
    }
    (rows, bars)
}
