//! Has a model silently become worse? A watch on how its answers turn out beside what was predicted of them.
//!
//! For every scored answer `z = (predicted - y) / s`, `s` the spread that such differences have had, the belief's own
//! included. Page's sum `g = max(0, g + z - 0.2)` wanders near zero while predictions hold, and rises by the shift less
//! .2 an answer once they are too high. At 27 it is an alarm. For normal noise a false one comes once in 600,000
//! answers (`(e^(2 d h) - 1 - 2 d h) / (2 d^2)`, `d = .2`, `h = 27`); a fall by .17 at a spread of .15 is found after
//! some 25 answers, one by .2 in scores of 0 and 1 after some 85.
//!
//! Where the sum was last zero is also when the change most likely was (Page 1954), so an alarm parts the rows in two.
//! Those decided since then are kept as they are: they say what the model is like now. Those of before weigh a
//! thousandth from then on, and so do those that are still to come late. More than that would hold the beliefs where
//! they were proven wrong, for as long as it takes to outnumber them: with a quarter left, a learner pays six times a
//! fresh one's regret after the arms have changed places. The rows since the change are summed apart from the day the
//! sum leaves zero. A power of two, because scaling by one is exact: when it is done makes no difference to a bit.

use super::Estimate;
use super::sums::Sums;
use crate::base::Timestamp;

/// Half the least shift worth finding, in spreads.
const SLACK: f64 = 0.2;
/// Where the sum is an alarm.
const ALARM: f64 = 27.0;
/// Answers before the watch begins: until then the predictions are still being learned.
const WARM: f64 = 30.0;
/// What is known beforehand of the spread: this variance, worth so many answers.
const USUAL: (f64, f64) = (0.09, 10.0);
/// A row that weighs less says too little to be watched.
const LEAST_WEIGHT: f64 = 0.25;
/// What an alarm leaves of the weight of what was learned.
const LEFT: f64 = 1.0 / 1024.0;

/// The watch on one model's answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// Answers watched since the last alarm.
    pub(super) answers: f64,
    /// Sum of the squared differences, the belief's own variance taken off.
    pub(super) squares: f64,
    /// Page's sum.
    pub(super) sum: f64,
    /// Since which decision the sum has been above zero: if there was a change, it was most likely then.
    pub(super) since: Timestamp,
    /// The rows decided from then on, which are in the model's sums too. Nothing while the sum is zero.
    pub(super) recent: Option<Sums>,
    /// Decisions before these moments were made before a change.
    pub(super) changes: Vec<Timestamp>,
}

/// A row as the sums take it: its weight there, its context, its score.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// Weight in the sums.
    pub weight: f64,
    /// Context.
    pub x: &'a [f64],
    /// Score.
    pub y: f64,
}

impl Watch {
    /// Notes a row that is added to the model's sums, or taken away, by when it was decided.
    pub fn note(&mut self, row: Added<'_>, decided_at: Timestamp) {
        if let Some(recent) = self.recent.as_mut().filter(|_| decided_at >= self.since) {
            recent.add(row.weight, row.x, row.y);
        }
    }

    /// Takes in an answer that is in the model's sums already: what was predicted of it, with what weight it counts,
    /// when it was decided on. `true`: an alarm; what was learned before the change now weighs less in `sums`.
    pub fn see(
        &mut self,
        predicted: Estimate,
        weight: f64,
        decided_at: Timestamp,
        row: Added<'_>,
        sums: &mut Sums,
    ) -> bool {
        if weight < LEAST_WEIGHT || !(predicted.mean.is_finite() && predicted.sd.is_finite() && row.y.is_finite()) {
            return false;
        }
        let difference = predicted.mean - row.y;
        let (variance, rows) = USUAL;
        let spread = (self.squares + variance * rows) / (self.answers + rows);
        if self.answers >= WARM {
            let z = difference / (spread + predicted.sd * predicted.sd).sqrt();
            self.sum = (self.sum + z - SLACK).max(0.0);
        }
        self.answers += 1.0;
        self.squares += (difference * difference - predicted.sd * predicted.sd).max(0.0);
        if self.sum <= 0.0 {
            self.recent = None;
        } else if self.recent.is_none() {
            self.since = decided_at;
            let mut recent = Sums::new(row.x.len());
            recent.add(row.weight, row.x, row.y);
            self.recent = Some(recent);
        }
        if self.sum < ALARM {
            return false;
        }
        // What came before the change becomes less; what came since stays.
        let recent = self.recent.take();
        sums.scale(LEFT);
        if let Some(recent) = recent {
            sums.add_scaled(&recent, 1.0 - LEFT);
        }
        *self = Self { changes: std::mem::take(&mut self.changes), since: self.since, ..Self::default() };
        self.changes.push(self.since);
        true
    }

    /// As [`Self::see`], of answers whose context says nothing.
    pub fn plain(&mut self, predicted: Estimate, y: f64, decided_at: Timestamp) -> bool {
        self.see(predicted, 1.0, decided_at, Added { weight: 1.0, x: &[1.0], y }, &mut Sums::new(1))
    }

    /// What alarms have left of the weight of a row decided at this time.
    #[must_use]
    pub fn left(&self, decided_at: Timestamp) -> f64 {
        let later = self.changes.iter().filter(|change| decided_at < **change).count();
        LEFT.powi(i32::try_from(later).unwrap_or(i32::MAX))
    }

    /// When it found the model to have changed: everything decided before weighs less.
    #[must_use]
    pub fn changes(&self) -> &[Timestamp] {
        &self.changes
    }

    /// Multiplies what it has summed, as the model's sums are.
    pub(super) fn scale(&mut self, factor: f64) {
        if let Some(recent) = &mut self.recent {
            recent.scale(factor);
        }
    }

    /// Two replicas' watches as one: the one that is nearer to an alarm goes on, with what it has seen since.
    pub(super) fn merge(&mut self, other: Self) {
        self.answers += other.answers;
        self.squares += other.squares;
        if (other.sum, other.since) > (self.sum, self.since) {
            (self.sum, self.since, self.recent) = (other.sum, other.since, other.recent);
        }
        self.changes.extend(other.changes);
        self.changes.sort_unstable();
        self.changes.dedup();
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
            watch.plain(belief, score(run * 1_000_000 + i, false), Timestamp(i));
        }
        (1..10_000)
            .find(|i| watch.plain(belief, score(run * 1_000_000 + before + i, true), Timestamp(before + i)))
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
            assert!(!graded.plain(Estimate { mean: 0.8, sd: 0.02 }, y, Timestamp(i)), "graded, {i}");
            let y = f64::from(u8::from(Seed(i).uniform("y") < 0.62));
            assert!(!binary.plain(Estimate { mean: 0.62, sd: 0.02 }, y, Timestamp(i)), "binary, {i}");
        }
    }

    #[test]
    fn what_came_before_the_change_fades_and_what_came_since_stays() {
        let (mut watch, mut sums) = (Watch::default(), Sums::new(1));
        let belief = Estimate { mean: 0.8, sd: 0.01 };
        let mut see = |i: u64, y: f64| {
            let row = Added { weight: 1.0, x: &[1.0], y };
            sums.add(1.0, row.x, y);
            watch.note(row, Timestamp(i));
            watch.see(belief, 1.0, Timestamp(i), row, &mut sums)
        };
        assert!((0..1_000).all(|i| !see(i, if i % 2 == 0 { 0.75 } else { 0.85 })));
        let alarm = (1_000..1_200).find(|i| see(*i, 0.5)).expect("an alarm");
        // The last answer of before was good, so the change is placed right: every row since counts whole.
        let since = (alarm - 999) as f64;
        assert_eq!(watch.changes(), [Timestamp(1_000)]);
        assert!((sums.n - since - 1_000.0 * LEFT).abs() < 1e-9, "{} {since}", sums.n);
        assert!((sums.b[0] - 0.5 * since - 800.0 * LEFT).abs() < 1e-9);
    }

    #[test]
    fn rows_of_before_weigh_less_and_those_of_after_do_not() {
        let mut watch = Watch { changes: vec![Timestamp(10), Timestamp(20)], ..Watch::default() };
        assert_eq!([5, 10, 19, 20].map(|at| watch.left(Timestamp(at))), [LEFT * LEFT, LEFT, LEFT, 1.0]);
        watch.merge(Watch { changes: vec![Timestamp(20), Timestamp(15)], ..Watch::default() });
        assert_eq!(watch.changes(), [Timestamp(10), Timestamp(15), Timestamp(20)]);
    }
}
