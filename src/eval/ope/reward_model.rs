//! The reward model of the estimates: what would each candidate's answer have been worth?
//!
//! It is the policy's own regression. Two are wanted. One was *frozen* before the first judged decision; the other is
//! *cross-fitted*: the decisions are halved by their names, and each half is predicted by what was frozen plus the
//! other half, so that no decision is predicted by its own reward.

use rayon::prelude::*;

use super::log::Logged;
use super::weigh::expected;
use crate::base::Seed;
use crate::policy::{Estimate, QualityRow, Snapshot, State};

/// What is expected of every arm of every judged decision.
pub(super) type Expected = Vec<Box<[f64]>>;

/// What a model expects of every decision.
pub(super) fn expectations(model: &Snapshot, judged: &[(&Logged, f64)]) -> Expected {
    judged.par_iter().map(|(logged, _)| expected(model, logged)).collect()
}

/// What the reward model expects of every decision, each half predicted with the help of the other.
pub(super) fn cross_fitted(frozen: &State, judged: &[(&Logged, f64)]) -> Expected {
    let half = |logged: &Logged| usize::from(Seed::of_decision(0, logged.id).uniform("half") < 0.5);
    let mut states = [frozen.clone(), frozen.clone()];
    for (logged, reward) in judged {
        states[1 - half(logged)].observe_quality(&QualityRow {
            model: &logged.arms[logged.chosen].model,
            context: &logged.context,
            y: *reward,
            weight: 1.0,
            decided_at: logged.at,
            predicted: Estimate { mean: *reward, sd: 0.0 },
        });
    }
    let models = states.map(|state| state.publish());
    judged.par_iter().map(|(logged, _)| expected(&models[half(logged)], logged)).collect()
}

/// The same on the scale of other scores of the same answers: the straight line that fits them best. `rows` is, for
/// every such score, the decision's place, the decision, and the score. Where all scores are alike, so is what is
/// expected, and a policy is not told to gain or lose what nobody saw.
pub(super) fn on_scale_of(expected: &Expected, rows: &[(usize, &Logged, f64)]) -> Expected {
    let said = |&(at, logged, _): &(usize, &Logged, f64)| expected[at][logged.chosen];
    let count = rows.len().max(1) as f64;
    let mean = |of: &dyn Fn(&(usize, &Logged, f64)) -> f64| rows.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&said), mean(&|row| row.2));
    let variance = mean(&|row| (said(row) - x).powi(2));
    let slope = if variance > 0.0 { mean(&|row| (said(row) - x) * (row.2 - y)) / variance } else { 0.0 };
    rows.iter().map(|&(at, ..)| expected[at].iter().map(|says| y + slope * (says - x)).collect()).collect()
}
