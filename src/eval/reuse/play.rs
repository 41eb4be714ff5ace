//! One stream played to one policy.

use serde::Serialize;

use super::Neighbours;
use super::vcache::Curve;
use crate::base::{Seed, Timestamp};
use crate::cache::SemanticConfig;
use crate::cache::semantic::asking::Asking;
use crate::cache::semantic::compare::Verdict;
use crate::cache::semantic::decision::{Evidence, LEAST_SIMILARITY, Pair, Prior, Rule};
use crate::cache::semantic::standing::{Standing, State};

/// What decides on reuse.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Everything at or above this cosine.
    Static(f64),
    /// The published rule with this delta (arXiv 2502.03771).
    Vcache(f64),
    /// The rule that serves here, the prior it starts from, and how many of the nearest entries it decides between.
    Floor(Rule, Prior, usize),
}

/// Which misses are judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// This share of them, drawn by lot.
    Share(f64),
    /// This share of them, those from which most is learned: see [`Asking`].
    Best(f64),
    /// The same, as a namespace is served: nothing is until the checks allow it ([`Standing`]), all that would be is
    /// checked until then, and a share of it afterwards.
    Served(f64),
}

/// Where labels come from, and how good they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Teaching {
    /// Which misses are judged.
    pub judged: Judged,
    /// Share of right pairs that the judge calls wrong.
    pub called_wrong: f64,
    /// Share of wrong pairs that it calls right.
    pub called_right: f64,
}

impl Teaching {
    /// Every miss is judged, and rightly.
    pub const FULL: Self = Self { judged: Judged::Share(1.0), called_wrong: 0.0, called_right: 0.0 };
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
    /// Of these, checks of what was or would have been served.
    pub checks: usize,
    /// Entries at the end.
    pub entries: usize,
}

/// An entry that may answer.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    entry: usize,
    similarity: f64,
    vetoed: bool,
    came: usize,
}

/// What a cache holds.
struct Held {
    /// When each prompt became an entry.
    arrived: Vec<Option<usize>>,
    /// Entries that were judged to be different from what was nearest to them when they came.
    distinct: Vec<bool>,
    /// How often each entry was the best candidate of a miss.
    times: Vec<u32>,
    evidence: Vec<Evidence>,
    curves: Vec<Curve>,
}

impl Held {
    /// The nearest entries, of equally near ones the earlier first.
    fn nearest(&self, stream: &Neighbours, x: usize, most: usize, forbidding: u8) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::with_capacity(most + 1);
        for (entry, similarity, veto) in stream.near(x) {
            if found.len() >= most && found.last().is_some_and(|last| similarity < last.similarity) {
                break;
            }
            if let Some(came) = self.arrived[entry] {
                let vetoed = similarity > LEAST_SIMILARITY && veto & forbidding != 0;
                found.push(Candidate { entry, similarity, vetoed, came });
            }
        }
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.came.cmp(&b.came)));
        found.truncate(most);
        found
    }

    /// Of the candidates the one that is likeliest right, and its estimate.
    fn likeliest(&self, prior: &Prior, found: &[Candidate]) -> Option<(Candidate, f64)> {
        let open = found.iter().filter(|one| !one.vetoed);
        let known = |one: &Candidate| (*one, &self.evidence[one.entry], one.similarity, self.distinct[one.entry]);
        prior.likeliest(open.map(known))
    }
}

/// How far a namespace is trusted that is played as it is served.
struct Shadow {
    settings: SemanticConfig,
    standing: Standing,
}

impl Shadow {
    fn of(policy: &Policy) -> Self {
        let promised = if let Policy::Floor(rule, ..) = policy { Some(rule.delta) } else { None };
        let settings = SemanticConfig { max_wrong: promised, ..SemanticConfig::default() };
        Self { settings, standing: Standing::default() }
    }

    fn now(&mut self, now: Timestamp) -> State {
        self.standing.now(&self.settings, now)
    }

    fn taught(&mut self, now: Timestamp) {
        self.standing.taught(&self.settings, now);
    }

    fn checked(&mut self, right: bool, now: Timestamp) {
        let verdict = if right { Verdict::Right } else { Verdict::Wrong };
        self.taught(now);
        self.standing.checked(verdict, &self.settings, now);
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
    let n = stream.len();
    let mut held = Held {
        arrived: vec![None; n],
        distinct: vec![false; n],
        times: vec![0; n],
        evidence: vec![Evidence::default(); n],
        curves: vec![Curve::default(); n],
    };
    let (mut prior, most) = match policy {
        Policy::Floor(_, prior, most) => (Some(prior.clone()), *most),
        _ => (None, 1),
    };
    let mut asking = match teaching.judged {
        Judged::Best(share) | Judged::Served(share) => Some(Asking::of_misses(share)),
        Judged::Share(_) => None,
    };
    let mut shadow = Shadow::of(policy);
    for (place, (x, dice)) in stream.orders[seed].iter().zip(&stream.dice[seed]).enumerate() {
        let x = usize::from(*x);
        if !plays(x) {
            continue;
        }
        tally.requests += 1;
        let found = held.nearest(stream, x, most, forbidding);
        let open = found.iter().find(|candidate| !candidate.vetoed).copied();
        let likeliest = prior.as_ref().and_then(|prior| held.likeliest(prior, &found));
        let uniform = f64::from(*dice) / 4_294_967_296.0;
        let served = match policy {
            Policy::Static(threshold) => open.filter(|one| one.similarity >= *threshold),
            Policy::Vcache(delta) => open.filter(|one| held.curves[one.entry].serves(one.similarity, *delta, uniform)),
            Policy::Floor(rule, ..) => likeliest
                .filter(|(one, right)| rule.serves(one.similarity, *right, uniform))
                .map(|(candidate, _)| candidate),
        };
        let is_right = |one: &Candidate| stream.class[one.entry] == stream.class[x];
        let lots = |purpose: &str| Seed((seed as u64) << 32 | place as u64).uniform(purpose);
        if let (Some(one), Judged::Served(_)) = (served, teaching.judged) {
            let right = is_right(&one);
            let now = Timestamp(1_000_000 * place as u64);
            let serving = shadow.now(now) == State::Serving;
            if !serving || lots("check") < shadow.settings.check_share {
                tally.labels += 1;
                tally.checks += 1;
                held.evidence[one.entry].learn(Pair { similarity: one.similarity, right });
                shadow.checked(right, now);
            }
            tally.hits += usize::from(serving);
            tally.wrong += usize::from(serving && !right);
            if !serving && !right {
                (held.arrived[x], held.distinct[x]) = (Some(place), true);
            }
            continue;
        }
        if let Some(served) = served {
            tally.hits += 1;
            tally.wrong += usize::from(!is_right(&served));
            continue;
        }
        let judged = match (policy, teaching.judged, &mut asking) {
            (Policy::Vcache(_) | Policy::Floor(..), Judged::Share(share), _) => open.filter(|_| lots("label") < share),
            (Policy::Vcache(_) | Policy::Floor(..), Judged::Best(_) | Judged::Served(_), Some(asking)) => {
                let best = likeliest.map(|(one, right)| {
                    held.times[one.entry] += 1;
                    (right, held.times[one.entry])
                });
                if asking.takes(best) { likeliest.map(|(one, _)| one) } else { None }
            }
            _ => None,
        };
        let verdict = judged.map(|one| {
            let right = is_right(&one);
            let flipped = lots("flip") < if right { teaching.called_wrong } else { teaching.called_right };
            tally.labels += usize::from(one.similarity >= LEAST_SIMILARITY);
            (one, right != flipped)
        });
        if let Some((Candidate { entry, similarity, .. }, right)) = verdict {
            let (pair, evidence) = (Pair { similarity, right }, &mut held.evidence[entry]);
            match (policy, &mut prior, teaching.judged) {
                (Policy::Vcache(_), ..) => held.curves[entry].learn(similarity, right),
                (_, Some(prior), Judged::Share(_)) => prior.learn(evidence, pair),
                (_, Some(_), Judged::Best(_) | Judged::Served(_)) => {
                    evidence.learn(pair);
                    shadow.taught(Timestamp(1_000_000 * place as u64));
                }
                _ => {}
            }
        }
        let verdict = verdict.map(|(_, right)| right);
        if verdict != Some(true) {
            held.arrived[x] = Some(place);
            held.distinct[x] = verdict == Some(false);
        }
    }
    tally.entries = held.arrived.iter().flatten().count();
    (tally, prior)
}
