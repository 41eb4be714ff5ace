//! A candidate on a part of the traffic: watched from the first answer on, rolled back or promoted on evidence.
//!
//! Which conversation the candidate serves is drawn by a hash, so those it serves and those it does not are alike, and
//! no weights are needed: what its answers are worth is held against what the others' are worth. Each judged answer
//! of the candidate is paired with the mean of the others since its last one, and an e-process bets on the difference
//! in each direction. Whatever changes for both alike, like the prompts of the day, changes nothing between the two;
//! and as both may be read at any time, the canary may end at any answer.
//!
//! The candidate has been through the gate, so it goes on when it is surely not worse by more than a margin, the first
//! time by a wide one from a small part to a large one, then by a narrow one from there to all.
//!
//! [`Watch`] is a function of the judged answers in the order of the ledger, so a restart comes to the same by reading
//! them again.

use serde::{Deserialize, Serialize};

use crate::base::Problem;
use crate::policy::evidence::{Lift, MeanInterval};

/// How a candidate is rolled out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The shares of the traffic it is given, one after the other; after the last, all.
    pub shares: Vec<f64>,
    /// By how much it may be worse, in points of quality, to go on from each of them.
    pub margins: Vec<f64>,
    /// The probability of rolling back one that is no worse, and that of going on with one that is worse by the margin.
    pub alpha: f64,
    /// The least weight of all channels together at which an answer counts as judged.
    pub least_weight: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { shares: vec![0.05, 0.5], margins: vec![0.05, 0.02], alpha: 0.05, least_weight: 0.3 }
    }
}

impl Config {
    /// What is wrong with these settings.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let rising = self.shares.windows(2).all(|pair| pair[0] < pair[1]);
        if self.shares.is_empty() || !rising || !self.shares.iter().all(|share| *share > 0.0 && *share < 1.0) {
            problems.push(Problem::new("shares", format!("{:?}", self.shares), "rising shares between 0 and 1"));
        }
        let sound = self.margins.iter().all(|margin| *margin > 0.0 && *margin < 1.0);
        if self.margins.len() != self.shares.len() || !sound {
            let expected = "one number between 0 and 1 for each share";
            problems.push(Problem::new("margins", format!("{:?}", self.margins), expected));
        }
        if !(self.alpha > 0.0 && self.alpha <= 0.5) {
            problems.push(Problem::new("alpha", self.alpha, "above 0, at most 0.5"));
        }
        if !(0.0..=1.0).contains(&self.least_weight) {
            problems.push(Problem::new("least_weight", self.least_weight, "0 to 1"));
        }
        problems
    }
}

/// What the watch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Nothing is certain yet.
    GoOn,
    /// It is worse.
    RollBack,
    /// It is surely not worse by more than the margin: on to the next share.
    Advance,
}

/// Parts of the capital that are bet against harm, each with its stake: the best for a harm of some .02, .03, .05 and
/// more where answers are right or wrong.
const STAKES: [(f64, f64); 4] = [(0.35, 0.12), (0.3, 0.2), (0.2, 0.32), (0.15, 0.5)];

/// An e-process for "the candidate is worse" that need not learn first how much worse. Each part of the capital bets
/// its stake on every difference; their sum is again fair while the candidate is no worse. A bet that follows the
/// differences seen so far (as [`Lift`]'s does) comes to the right stake late: of canaries worse by .03 it found three
/// in five within 2,000 answers, this one three in four.
#[derive(Clone, Debug, PartialEq)]
struct Harm {
    /// Natural logarithm of each part.
    parts: [f64; STAKES.len()],
}

impl Harm {
    fn new() -> Self {
        Self { parts: STAKES.map(|(part, _)| part.ln()) }
    }

    /// Takes in by how much the candidate's answer was worse, -1 to 1.
    fn add(&mut self, worse: f64) {
        for (part, (_, stake)) in self.parts.iter_mut().zip(STAKES) {
            *part += (stake * worse).ln_1p();
        }
    }

    fn proves(&self, alpha: f64) -> bool {
        self.parts.iter().map(|part| part.exp()).sum::<f64>() >= 1.0 / alpha
    }
}

/// How a candidate does beside what serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    alpha: f64,
    /// Evidence that the candidate is worse.
    harm: Harm,
    /// The margins, each with the evidence that it is not worse by more.
    sound: Vec<(f64, Lift)>,
    /// What either is worth, the candidate first, at all times at once; `None` = nobody will ask.
    worth: Option<(MeanInterval, MeanInterval)>,
    /// The others' answers since the candidate's last: their number and the sum of their worth.
    since: (f64, f64),
    /// The candidate's answers that wait for one of the others.
    waiting: Vec<f64>,
    judged: (u64, u64),
}

impl Watch {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let interval = || MeanInterval::new(config.alpha / 2.0);
        Self { worth: Some((interval(), interval())), ..Self::calling(config) }
    }

    /// One that only calls: many times quicker, as rehearsals want it.
    #[must_use]
    pub fn calling(config: &Config) -> Self {
        Self {
            alpha: config.alpha,
            harm: Harm::new(),
            sound: config.margins.iter().map(|margin| (*margin, Lift::new(1.0))).collect(),
            worth: None,
            since: (0.0, 0.0),
            waiting: Vec::new(),
            judged: (0, 0),
        }
    }

    /// Takes in the worth, 0 to 1, of an answer of the candidate or of what serves.
    pub fn add(&mut self, of_candidate: bool, worth: f64) {
        if let Some((own, others)) = &mut self.worth {
            if of_candidate { own.add(worth) } else { others.add(worth) }
        }
        if of_candidate {
            self.judged.0 += 1;
            self.waiting.push(worth);
        } else {
            self.judged.1 += 1;
            self.since = (self.since.0 + 1.0, self.since.1 + worth);
        }
        if self.since.0 > 0.0 && !self.waiting.is_empty() {
            let own = self.waiting.iter().sum::<f64>() / self.waiting.len() as f64;
            let difference = own - self.since.1 / self.since.0;
            self.harm.add(-difference);
            self.sound.iter_mut().for_each(|(margin, lift)| lift.add(difference + *margin));
            self.since = (0.0, 0.0);
            self.waiting.clear();
        }
    }

    /// What is certain by now, at this step of the roll-out (from 0).
    #[must_use]
    pub fn call(&self, step: usize) -> Call {
        if self.harm.proves(self.alpha) {
            Call::RollBack
        } else if self.sound.get(step).is_some_and(|(_, lift)| lift.proves(self.alpha)) {
            Call::Advance
        } else {
            Call::GoOn
        }
    }

    /// Between which bounds the difference of the two lies, at all times at once.
    #[must_use]
    pub fn difference(&self) -> (f64, f64) {
        let Some((own, others)) = &self.worth else { return (-1.0, 1.0) };
        let ((low, high), (others_low, others_high)) = (own.bounds(), others.bounds());
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
        let mut watch = Watch::calling(&Config::default());
        for n in 0..40_000 {
            let seed = Seed(stream << 32 | n);
            let candidate = seed.uniform("canary") < 0.05;
            let good = seed.uniform("right") < if candidate { right } else { 0.8 };
            watch.add(candidate, f64::from(u8::from(good)));
            if watch.call(1) != Call::GoOn {
                break;
            }
        }
        (watch.call(1), watch.judged().0)
    }

    #[test]
    fn one_that_is_worse_is_rolled_back_soon_and_one_that_is_better_goes_on() {
        for stream in 0..3 {
            let (call, served) = ends(stream, 0.6);
            assert!(call == Call::RollBack && served < 600, "{call:?} after {served}");
        }
        assert_eq!(ends(7, 0.95).0, Call::Advance);
    }

    #[test]
    fn the_difference_is_bounded_on_both_sides_of_the_truth() {
        let mut watch = Watch::new(&Config::default());
        for n in 0..600 {
            let seed = Seed(n);
            let candidate = seed.uniform("canary") < 0.5;
            watch.add(candidate, f64::from(u8::from(seed.uniform("right") < if candidate { 0.5 } else { 0.8 })));
        }
        let (low, high) = watch.difference();
        assert!(low < -0.3 && -0.3 < high && high < 0.05, "{low} {high}");
    }

    #[test]
    fn senseless_settings_are_named() {
        assert_eq!(Config::default().problems(), []);
        let wrong = Config { shares: vec![0.5, 0.1], margins: vec![0.1], alpha: 0.0, least_weight: 2.0 };
        let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["shares", "margins", "alpha", "least_weight"]);
    }
}
