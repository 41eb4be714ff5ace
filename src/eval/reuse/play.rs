//! One stream played to one policy.

use std::collections::HashMap;

use serde::Serialize;

use super::Neighbours;
use super::vcache::Curve;
use crate::base::Seed;
use crate::cache::semantic::decision::{Evidence, LEAST_SIMILARITY, Pair, Prior, Rule};

/// What decides on reuse.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Everything at or above this cosine.
    Static(f64),
    /// The published rule with this delta (arXiv 2502.03771).
    Vcache(f64),
    /// The rule that serves here, and the prior it starts from.
    Floor(Rule, Prior),
}

/// Which misses are judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asking {
    /// This share of them, drawn by lot.
    Share(f64),
    /// This share of them, those from which most is learned: see [`Chooser`].
    Best(f64),
}

/// Where labels come from, and how good they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Teaching {
    /// Which misses are judged.
    pub asking: Asking,
    /// Share of right pairs that the judge calls wrong.
    pub called_wrong: f64,
    /// Share of wrong pairs that it calls right.
    pub called_right: f64,
}

impl Teaching {
    /// Every miss is judged, and rightly.
    pub const FULL: Self = Self { asking: Asking::Share(1.0), called_wrong: 0.0, called_right: 0.0 };
}

/// What came of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Requests.
    pub requests: usize,
    /// Answered from memory.
    pub hits: usize,
    /// Of these, with another question's answer.
    pub wrong: usize,
    /// Verdicts on pairs of at least .6.
    pub labels: usize,
    /// Entries at the end.
    pub entries: usize,
}

/// Chooses the misses that are worth a judge's call: the likelier a pair is right, the more it can teach, for a right
/// pair of high cosine is what moves a curve over the floor, and the wrong ones among them are those that must be
/// known. The bar is moved so that the wanted share passes.
#[derive(Clone, Copy, Debug)]
struct Chooser {
    share: f64,
    bar: f64,
}

impl Chooser {
    fn takes(&mut self, worth: f64) -> bool {
        let takes = worth >= self.bar;
        self.bar += 0.02 * (f64::from(u8::from(takes)) - self.share);
        takes
    }
}

/// The requests' order and dice are the stream's of this seed; prompts for which `plays` says no are left out.
#[must_use]
pub fn run(
    stream: &Neighbours,
    seed: usize,
    forbidding: u8,
    policy: &Policy,
    teaching: Teaching,
    plays: impl Fn(usize) -> bool,
) -> (Tally, Option<Prior>) {
    let mut tally = Tally::default();
    let mut arrived: Vec<Option<usize>> = vec![None; stream.len()];
    let mut prior = match policy {
        Policy::Floor(_, prior) => Some(prior.clone()),
        _ => None,
    };
    let mut known: HashMap<usize, Evidence> = HashMap::new();
    let mut curves: HashMap<usize, Curve> = HashMap::new();
    let mut chooser = match teaching.asking {
        Asking::Best(share) => Some(Chooser { share, bar: 0.9 }),
        Asking::Share(_) => None,
    };
    for (place, (x, dice)) in stream.orders[seed].iter().zip(&stream.dice[seed]).enumerate() {
        let x = usize::from(*x);
        if !plays(x) {
            continue;
        }
        tally.requests += 1;
        // Of entries with one cosine the one that came first.
        let mut nearest: Option<(usize, f64, u8, usize)> = None;
        for (j, s, veto) in stream.near(x) {
            if nearest.is_some_and(|(_, best, ..)| s < best) {
                break;
            }
            if let Some(came) = arrived[j]
                && nearest.is_none_or(|(.., earlier)| came < earlier)
            {
                nearest = Some((j, s, veto, came));
            }
        }
        let Some((j, s, veto, _)) = nearest else {
            arrived[x] = Some(place);
            continue;
        };
        let vetoed = s > LEAST_SIMILARITY && veto & forbidding != 0;
        let right = stream.class[j] == stream.class[x];
        let uniform = f64::from(*dice) / 4_294_967_296.0;
        let (serves, estimate) = match (policy, &prior) {
            (_, _) if vetoed => (false, 0.0),
            (Policy::Static(threshold), _) => (s >= *threshold, 0.0),
            (Policy::Vcache(delta), _) => {
                (curves.get_mut(&j).is_some_and(|curve| curve.serves(s, *delta, uniform)), 0.0)
            }
            (Policy::Floor(rule, _), Some(prior)) if s >= LEAST_SIMILARITY => {
                let estimate = prior.right(known.entry(j).or_default(), s);
                (rule.serves(s, estimate, uniform), estimate)
            }
            _ => (false, 0.0),
        };
        if serves {
            tally.hits += 1;
            tally.wrong += usize::from(!right);
            continue;
        }
        let may_learn = !vetoed && !matches!(policy, Policy::Static(_));
        let lots = |purpose: &str| Seed((seed as u64) << 32 | place as u64).uniform(purpose);
        let judged = may_learn
            && match (teaching.asking, &mut chooser) {
                (Asking::Share(share), _) => lots("label") < share,
                (Asking::Best(_), Some(chooser)) => s >= LEAST_SIMILARITY && chooser.takes(estimate),
                (Asking::Best(_), None) => false,
            };
        let mut verdict = None;
        if judged {
            let flipped = lots("flip") < if right { teaching.called_wrong } else { teaching.called_right };
            let said = right != flipped;
            verdict = Some(said);
            tally.labels += usize::from(s >= LEAST_SIMILARITY);
            match (policy, &mut prior) {
                (Policy::Vcache(_), _) => curves.entry(j).or_default().learn(s, said),
                (_, Some(prior)) => prior.learn(known.entry(j).or_default(), Pair { similarity: s, right: said }),
                _ => {}
            }
        }
        if verdict != Some(true) {
            arrived[x] = Some(place);
        }
    }
    tally.entries = arrived.iter().flatten().count();
    (tally, prior)
}
