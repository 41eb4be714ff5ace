//! The table of the bench: our rule beside static thresholds and the published one, with labels as they are had.

use serde::Serialize;

use super::suites::{ClassCount, Suites};
use super::{IN_FORCE, Judged, MEASURED, Neighbours, Policy, Tally, Teaching, run};
use crate::cache::semantic::decision::{Prior, Rule};

/// One row: a policy under one kind of teaching, over all orders.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The policy, in words.
    pub policy: String,
    /// Whether the vetoes were asked.
    pub vetoes: bool,
    /// How the labels come, in words.
    pub labels: String,
    /// Hits a request: mean, least, greatest over the orders.
    pub hit: [f64; 3],
    /// Wrong hits a request.
    pub wrong: [f64; 3],
    /// Wrong hits a hit; `None` where nothing was served.
    pub wrong_per_hit: Option<[f64; 3]>,
    /// Labels used, mean.
    pub labelled: f64,
    /// What was counted in each order.
    pub runs: Vec<Tally>,
}

/// Whether the errors of all requests stay under delta.
#[derive(Clone, Debug, Serialize)]
pub struct Compliance {
    /// Delta.
    pub delta: f64,
    /// Floor.
    pub floor: f64,
    /// Wrong hits a request, mean.
    pub wrong: f64,
    /// Delta and two standard deviations of a count of that rate.
    pub allowed: f64,
    /// Whether it holds.
    pub holds: bool,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Prompts of the stream.
    pub requests: usize,
    /// Hits of a cache that knows everything, a request.
    pub best_possible: f64,
    /// The table.
    pub lines: Vec<Line>,
    /// Wrong hits of the default over those of a static threshold with as many hits (between two lines of the table).
    pub to_static: Option<f64>,
    /// Errors of all requests against delta.
    pub compliance: Vec<Compliance>,
    /// Near-misses.
    pub classes: Vec<ClassCount>,
}

/// The default: one number, the largest share of wrong hits.
pub(super) const DEFAULT: Rule = Rule::for_wrong_share(0.05);

struct Table<'a> {
    stream: &'a Neighbours,
    seeds: usize,
    done: &'a (dyn Fn() + Sync),
}

impl Table<'_> {
    fn line(&self, name: &str, forbidding: u8, policy: &Policy, labels: &str, teaching: Teaching) -> Line {
        self.line_of(name, forbidding, policy, labels, teaching, |_| true)
    }

    fn line_of(
        &self,
        name: &str,
        forbidding: u8,
        policy: &Policy,
        labels: &str,
        teaching: Teaching,
        plays: impl Fn(usize) -> bool,
    ) -> Line {
        let runs: Vec<Tally> =
            (0..self.seeds).map(|seed| run(self.stream, seed, forbidding, policy, teaching, &plays).0).collect();
        (self.done)();
        let share = |of: &dyn Fn(&Tally) -> f64| spread(runs.iter().map(of));
        let all = |tally: &Tally| tally.requests.max(1) as f64;
        Line {
            policy: name.to_owned(),
            vetoes: forbidding != 0,
            labels: labels.to_owned(),
            hit: share(&|tally| tally.hits as f64 / all(tally)),
            wrong: share(&|tally| tally.wrong as f64 / all(tally)),
            wrong_per_hit: runs
                .iter()
                .all(|tally| tally.hits > 0)
                .then(|| share(&|tally| tally.wrong as f64 / tally.hits as f64)),
            labelled: runs.iter().map(|tally| tally.labels as f64).sum::<f64>() / runs.len().max(1) as f64,
            runs,
        }
    }
}

/// Mean, least, greatest.
fn spread(values: impl Iterator<Item = f64> + Clone) -> [f64; 3] {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    [mean, values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max)]
}

/// How many lines [`examine`] reports with `done`.
pub const STEPS: u64 = 35;

/// Plays the stream in every way of the table; `done` is told after each line.
#[must_use]
pub fn examine(stream: &Neighbours, suites: &Suites, seeds: usize, done: &(dyn Fn() + Sync)) -> Report {
    let seeds = seeds.min(stream.orders.len());
    let table = Table { stream, seeds, done };
    let full = Teaching::FULL;
    let ours = |rule: Rule| Policy::Floor(rule, Prior::default(), 1);
    let of_four = |prior: Prior| Policy::Floor(DEFAULT, prior, 4);
    let mut lines = Vec::new();
    for threshold in [0.94, 0.95, 0.955, 0.96, 0.965, 0.97, 0.98] {
        let name = format!("static {threshold}");
        lines.push(table.line(&name, IN_FORCE, &Policy::Static(threshold), "-", full));
    }
    for delta in [0.02, 0.05] {
        lines.push(table.line(&format!("vCache {delta}"), IN_FORCE, &Policy::Vcache(delta), "every miss", full));
    }
    lines.push(table.line("vCache 0.05", 0, &Policy::Vcache(0.05), "every miss", full));
    let name = "floor .95";
    lines.push(table.line(name, IN_FORCE, &ours(DEFAULT), "every miss", full));
    let to_static = against_static(&lines);
    lines.push(table.line(name, 0, &ours(DEFAULT), "every miss", full));
    lines.push(table.line("floor .90", IN_FORCE, &ours(Rule::for_wrong_share(0.10)), "every miss", full));
    lines.push(table.line("floor .98", IN_FORCE, &ours(Rule::for_wrong_share(0.02)), "every miss", full));
    lines.push(table.line("floor .95, of four", IN_FORCE, &of_four(Prior::default()), "every miss", full));
    let noise = |called_wrong, called_right| Teaching { called_wrong, called_right, ..full };
    for (teaching, words) in [
        (noise(0.1, 0.0), "every miss, a tenth of right called wrong"),
        (noise(0.0, 0.1), "every miss, a tenth of wrong called right"),
        (noise(0.1, 0.1), "every miss, a tenth flipped either way"),
    ] {
        lines.push(table.line(name, IN_FORCE, &ours(DEFAULT), words, teaching));
    }
    let judged = |judged| Teaching { judged, ..full };
    let (half, tenth, best) = (judged(Judged::Share(0.5)), judged(Judged::Share(0.1)), judged(Judged::Best(0.1)));
    lines.push(table.line(name, IN_FORCE, &ours(DEFAULT), "half of the misses, by lot", half));
    lines.push(table.line(name, IN_FORCE, &ours(DEFAULT), "a tenth, by lot", tenth));
    let of_best = "floor .95, of four";
    lines.push(table.line(of_best, IN_FORCE, &of_four(Prior::default()), "a tenth, the most telling", best));
    let served = judged(Judged::Served(0.1));
    let words = "as served: a tenth, the most telling, and checks";
    for promised in [0.05, 0.10] {
        let policy = Policy::Floor(Rule::for_wrong_share(promised), Prior::default(), 4);
        lines.push(table.line(&format!("floor {:.2}, of four", 1.0 - promised), IN_FORCE, &policy, words, served));
    }
    // The rule for what tells most was chosen on the even classes, which also teach a prior; the odd ones are played.
    let even = |i: usize| stream.class[i].is_multiple_of(2);
    if let (_, Some(taught)) = run(stream, 0, IN_FORCE, &ours(DEFAULT), full, even) {
        let odd = |policy: &Policy, labels: &str, teaching: Teaching| {
            table.line_of("floor .95, odd classes", IN_FORCE, policy, labels, teaching, |i| !even(i))
        };
        let taught_one = Policy::Floor(DEFAULT, taught.clone(), 1);
        lines.push(odd(&ours(DEFAULT), "a tenth, by lot", tenth));
        lines.push(odd(&taught_one, "a tenth, by lot, prior of the even", tenth));
        lines.push(odd(&of_four(Prior::default()), "a tenth, the most telling of four", best));
        lines.push(odd(&of_four(taught.clone()), "a tenth, the most telling of four, prior of the even", best));
        let tenth_wrong = |prior: Prior| Policy::Floor(Rule::for_wrong_share(0.10), prior, 4);
        for (prior, labels) in [(Prior::default(), words.to_owned()), (taught, format!("{words}, prior of the even"))] {
            let (name, policy) = ("floor .90, of four, odd classes", tenth_wrong(prior));
            lines.push(table.line_of(name, IN_FORCE, &policy, &labels, served, |i| !even(i)));
        }
    }
    let mut compliance = Vec::new();
    for delta in [0.01, 0.02, 0.05] {
        for floor in [0.0, 0.9] {
            let line = table.line("", MEASURED, &ours(Rule { floor, delta }), "every miss", full);
            let allowed = delta + 2.0 * (delta * (1.0 - delta) / stream.len() as f64).sqrt();
            compliance.push(Compliance {
                delta,
                floor,
                wrong: line.wrong[0],
                allowed,
                holds: line.wrong[0] <= allowed,
            });
        }
    }
    let classes = stream.class.iter().copied().collect::<std::collections::BTreeSet<u16>>().len();
    Report {
        requests: stream.len(),
        best_possible: (stream.len() - classes) as f64 / stream.len() as f64,
        lines,
        to_static,
        compliance,
        classes: suites.counts(),
    }
}

/// The default's wrong hits over those of a static threshold of as many hits, between the two nearest lines.
fn against_static(lines: &[Line]) -> Option<f64> {
    let ours = lines.iter().find(|line| line.policy.starts_with("floor"))?;
    let fixed: Vec<&Line> = lines.iter().filter(|line| line.policy.starts_with("static")).collect();
    let two = fixed.windows(2).find(|two| two[0].hit[0] >= ours.hit[0] && ours.hit[0] >= two[1].hit[0])?;
    let [more, fewer] = [two[0], two[1]];
    let share = (ours.hit[0] - fewer.hit[0]) / (more.hit[0] - fewer.hit[0]);
    Some(ours.wrong[0] / (fewer.wrong[0] + share * (more.wrong[0] - fewer.wrong[0])))
}
