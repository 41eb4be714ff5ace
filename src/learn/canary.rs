//! A candidate on a part of the traffic: watched from the first answer on, rolled back or promoted on evidence.
//!
//! Which conversation the candidate serves is drawn by a hash, so those it serves and those it does not are alike, and
//! no weights are needed: what its answers are worth is held against what the others' are worth. Each judged answer
//! of the candidate is paired with the mean of the others since its last one, and an e-process bets on the difference
//! in each direction. Whatever changes for both alike, like the prompts of the day, changes nothing between the two;
//! and as both may be read at any time, the canary may end at any answer.
//!
//! [`Watch`] is a function of the judged answers in the order of the ledger, so a restart comes to the same by reading
//! them again.

use serde::{Deserialize, Serialize};

use crate::policy::evidence::{Lift, MeanInterval};

/// What the watch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Nothing is certain yet.
    GoOn,
    /// It is worse.
    RollBack,
    /// It is better.
    Promote,
}

/// How a candidate does beside what serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    alpha: f64,
    /// Evidence that the candidate is worse, and that it is better.
    harm: Lift,
    gain: Lift,
    /// What either is worth, at all times at once.
    candidate: MeanInterval,
    others: MeanInterval,
    /// The others' answers since the candidate's last: their number and the sum of their worth.
    since: (f64, f64),
    /// The candidate's answers that wait for one of the others.
    waiting: Vec<f64>,
    judged: (u64, u64),
}

impl Watch {
    /// Nothing seen yet; one that is no worse is rolled back with probability at most `alpha`, and one that is no
    /// better is promoted with probability at most `alpha`.
    #[must_use]
    pub fn new(alpha: f64) -> Self {
        Self {
            alpha,
            harm: Lift::new(1.0),
            gain: Lift::new(1.0),
            candidate: MeanInterval::new(alpha / 2.0),
            others: MeanInterval::new(alpha / 2.0),
            since: (0.0, 0.0),
            waiting: Vec::new(),
            judged: (0, 0),
        }
    }

    /// Takes in the worth, 0 to 1, of an answer of the candidate or of what serves.
    pub fn add(&mut self, of_candidate: bool, worth: f64) {
        if of_candidate {
            self.judged.0 += 1;
            self.candidate.add(worth);
            self.waiting.push(worth);
        } else {
            self.judged.1 += 1;
            self.others.add(worth);
            self.since = (self.since.0 + 1.0, self.since.1 + worth);
        }
        if self.since.0 > 0.0 && !self.waiting.is_empty() {
            let own = self.waiting.iter().sum::<f64>() / self.waiting.len() as f64;
            let difference = own - self.since.1 / self.since.0;
            self.gain.add(difference);
            self.harm.add(-difference);
            self.since = (0.0, 0.0);
            self.waiting.clear();
        }
    }

    /// What is certain by now.
    #[must_use]
    pub fn call(&self) -> Call {
        if self.harm.proves(self.alpha) {
            Call::RollBack
        } else if self.gain.proves(self.alpha) {
            Call::Promote
        } else {
            Call::GoOn
        }
    }

    /// Between which bounds the difference of the two lies, at all times at once.
    #[must_use]
    pub fn difference(&self) -> (f64, f64) {
        let ((low, high), (others_low, others_high)) = (self.candidate.bounds(), self.others.bounds());
        (low - others_high, high - others_low)
    }

    /// Judged answers of the candidate, and of what serves.
    #[must_use]
    pub const fn judged(&self) -> (u64, u64) {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    /// How a canary ends that is right so often beside one that is right in eight of ten, at 5 %: what is called,
    /// after how many of its judged answers.
    fn ends(stream: u64, right: f64) -> (Call, u64) {
        let mut watch = Watch::new(0.05);
        for n in 0..40_000 {
            let seed = Seed(stream << 32 | n);
            let candidate = seed.uniform("canary") < 0.05;
            let good = seed.uniform("right") < if candidate { right } else { 0.8 };
            watch.add(candidate, f64::from(u8::from(good)));
            if watch.call() != Call::GoOn {
                break;
            }
        }
        (watch.call(), watch.judged().0)
    }

    #[test]
    fn one_that_is_worse_is_rolled_back_soon_and_one_that_is_better_is_promoted() {
        for stream in 0..3 {
            let (call, served) = ends(stream, 0.6);
            assert!(call == Call::RollBack && served < 600, "{call:?} after {served}");
        }
        let (call, _) = ends(7, 0.95);
        assert_eq!(call, Call::Promote);
    }

    #[test]
    fn the_difference_is_bounded_on_both_sides_of_the_truth() {
        let mut watch = Watch::new(0.05);
        for n in 0..600 {
            let seed = Seed(n);
            let candidate = seed.uniform("canary") < 0.5;
            watch.add(candidate, f64::from(u8::from(seed.uniform("right") < if candidate { 0.5 } else { 0.8 })));
        }
        let (low, high) = watch.difference();
        assert!(low < -0.3 && -0.3 < high && high < 0.05, "{low} {high}");
    }
}
