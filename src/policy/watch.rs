//! Has a model silently become worse? A watch on how its answers turn out beside what was predicted of them.
//!
//! For every scored answer `z = (predicted - y) / s`, `s` the spread that such differences have had, the belief's own
//! included. Page's sum `g = max(0, g + z - 0.2)` wanders near zero while predictions hold, and rises by the shift less
//! .2 an answer once they are too high. At 30 it is an alarm. For normal noise a false one comes once in two million
//! answers (`(e^(2 d h) - 1 - 2 d h) / (2 d^2)`, `d = .2`, `h = 30`); a fall by .17 at a spread of .15 is found after
//! some 35 answers, one by .2 in scores of 0 and 1 after some 140.
//!
//! After an alarm everything learned of that model's quality weighs a quarter: rows decided until then, those that are
//! still to come late included. It is tried more and learned anew, and never shut out. A quarter, because scaling by a
//! power of two is exact: it makes no difference to a bit when it is done.

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::base::Timestamp;

/// Half the least shift worth finding, in spreads.
const SLACK: f64 = 0.2;
/// Where the sum is an alarm.
const ALARM: f64 = 30.0;
/// Answers before the watch begins: until then the predictions are still being learned.
const WARM: f64 = 30.0;
/// What is known beforehand of the spread: this variance, worth so many answers.
const USUAL: (f64, f64) = (0.09, 10.0);
/// A row that weighs less says too little to be watched.
const LEAST_WEIGHT: f64 = 0.25;
/// What an alarm leaves of the weight of what was learned.
pub const LEFT: f64 = 0.25;

/// The watch on one model's answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Answers watched since the last alarm.
    pub(super) answers: f64,
    /// Sum of the squared differences, the belief's own variance taken off.
    pub(super) squares: f64,
    /// Page's sum.
    pub(super) sum: f64,
    /// The latest decision whose answer was scored.
    pub(super) latest: Timestamp,
    /// Decisions up to these moments were made before an alarm.
    pub(super) alarms: Vec<Timestamp>,
}

impl Watch {
    /// Takes in an answer: what was predicted of it, how it was scored, with what weight, and when it was decided on.
    /// `true`: an alarm. Then all that was learned of the model must be scaled by [`LEFT`].
    pub fn see(&mut self, predicted: Estimate, y: f64, weight: f64, decided_at: Timestamp) -> bool {
        self.latest = self.latest.max(decided_at);
        if weight < LEAST_WEIGHT || !(predicted.mean.is_finite() && predicted.sd.is_finite() && y.is_finite()) {
            return false;
        }
        let difference = predicted.mean - y;
        let (variance, rows) = USUAL;
        let spread = (self.squares + variance * rows) / (self.answers + rows);
        if self.answers >= WARM {
            let z = difference / (spread + predicted.sd * predicted.sd).sqrt();
            self.sum = (self.sum + z - SLACK).max(0.0);
        }
        self.answers += 1.0;
        self.squares += (difference * difference - predicted.sd * predicted.sd).max(0.0);
        if self.sum < ALARM {
            return false;
        }
        *self = Self { alarms: std::mem::take(&mut self.alarms), latest: self.latest, ..Self::default() };
        self.alarms.push(self.latest);
        true
    }

    /// What alarms have left of the weight of a row decided at this time.
    #[must_use]
    pub fn left(&self, decided_at: Timestamp) -> f64 {
        let later = self.alarms.iter().filter(|alarm| decided_at <= **alarm).count();
        LEFT.powi(i32::try_from(later).unwrap_or(i32::MAX))
    }

    /// When it gave alarm: everything decided up to then weighs less.
    #[must_use]
    pub fn alarms(&self) -> &[Timestamp] {
        &self.alarms
    }

    /// Two replicas' watches as one.
    pub(super) fn merge(&mut self, other: &Self) {
        self.answers += other.answers;
        self.squares += other.squares;
        self.sum = self.sum.max(other.sum);
        self.latest = self.latest.max(other.latest);
        self.alarms.extend(&other.alarms);
        self.alarms.sort_unstable();
        self.alarms.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    fn normal(seed: u64) -> f64 {
        let seed = Seed(seed);
        (-2.0 * (1.0 - seed.uniform("radius")).ln()).sqrt() * (std::f64::consts::TAU * seed.uniform("angle")).cos()
    }

    /// Answers from the fall to the alarm.
    fn found_after(before: u64, run: u64, score: impl Fn(u64, bool) -> f64, predicted: f64) -> u64 {
        let mut watch = Watch::default();
        let belief = Estimate { mean: predicted, sd: 0.01 };
        // How rare false alarms are is held elsewhere: over many more answers than these.
        for i in 0..before {
            watch.see(belief, score(run * 1_000_000 + i, false), 1.0, Timestamp(i));
        }
        (1..10_000)
            .find(|i| watch.see(belief, score(run * 1_000_000 + before + i, true), 1.0, Timestamp(before + i)))
            .unwrap_or(10_000)
    }

    #[test]
    fn a_fall_is_found_in_under_two_hundred_answers() {
        for run in 0..20 {
            let graded = |i: u64, fallen: bool| 0.8 - if fallen { 0.17 } else { 0.0 } + 0.15 * normal(i);
            let late = found_after(1_000, run, graded, 0.8);
            assert!(late < 80, "graded, run {run}: {late}");
        }
        let binary =
            |i: u64, fallen: bool| f64::from(u8::from(Seed(i).uniform("y") < if fallen { 0.42 } else { 0.62 }));
        let mut found: Vec<u64> = (0..20).map(|run| found_after(1_000, run, binary, 0.62)).collect();
        found.sort_unstable();
        assert!(found[10] < 200, "{found:?}");
    }

    #[test]
    fn where_predictions_hold_there_is_no_alarm_in_a_hundred_thousand_answers() {
        let (mut graded, mut binary) = (Watch::default(), Watch::default());
        for i in 0..100_000 {
            let y = 0.8 + 0.15 * normal(i);
            assert!(!graded.see(Estimate { mean: 0.8, sd: 0.02 }, y, 1.0, Timestamp(i)), "graded, {i}");
            let y = f64::from(u8::from(Seed(i).uniform("y") < 0.62));
            assert!(!binary.see(Estimate { mean: 0.62, sd: 0.02 }, y, 1.0, Timestamp(i)), "binary, {i}");
        }
    }

    #[test]
    fn rows_of_before_weigh_less_and_those_of_after_do_not() {
        let mut watch = Watch { alarms: vec![Timestamp(10), Timestamp(20)], ..Watch::default() };
        assert_eq!([5, 10, 11, 20, 21].map(|at| watch.left(Timestamp(at))), [0.0625, 0.0625, 0.25, 0.25, 1.0]);
        watch.merge(&Watch { alarms: vec![Timestamp(20), Timestamp(15)], ..Watch::default() });
        assert_eq!(watch.alarms(), [Timestamp(10), Timestamp(15), Timestamp(20)]);
    }
}
