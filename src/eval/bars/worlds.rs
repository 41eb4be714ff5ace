//! Worlds whose truth is known: what a policy gets in them is held against the best that can be had.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Bar, mean};
use crate::base::{Seed, Timestamp};
use crate::eval::crew::spread;
use crate::policy::baselines::Fixed;
use crate::policy::regression::fit;
use crate::policy::sums::Sums;
use crate::policy::watch::Watch;
use crate::policy::{Algorithm, Bandit, Config, Estimate, Explore, OnlinePolicy, Round, draw};

const ARMS: usize = 5;
const DIMENSIONS: usize = 8;
const CONTEXT: usize = crate::features::CONTEXT;

/// What is played.
#[derive(Clone, Copy)]
struct Play {
    rounds: u64,
    /// How far from linear the truth is.
    bend: f64,
    /// From this round on, the arms' truths have changed places.
    swap: Option<u64>,
    /// Rewards come this many rounds late at least and at most.
    late: (u64, u64),
    /// Share of rewards that never come.
    missing: f64,
    /// Rewards are learned from after every so many rounds, those that are there by then together.
    every: u64,
}

const PLAIN: Play = Play { rounds: 2_000, bend: 0.0, swap: None, late: (0, 0), missing: 0.0, every: 1 };

fn normal(seed: Seed, purpose: &str) -> f64 {
    let radius = (-2.0 * (1.0 - seed.uniform(purpose)).ln()).sqrt();
    radius * (std::f64::consts::TAU * seed.uniform(&format!("{purpose}, angle"))).cos()
}

/// Regret of every round, in a world of five arms, eight dimensions and a noise of .1.
fn regret(policy: &mut dyn OnlinePolicy, seed: u64, play: Play) -> Vec<f64> {
    let theta: Vec<Vec<f64>> = (0..ARMS)
        .map(|arm| (0..DIMENSIONS).map(|j| normal(Seed(seed), &format!("world {arm} {j}"))).collect())
        .collect();
    let mut waiting: VecDeque<(u64, Vec<f32>, usize, f64)> = VecDeque::new();
    (0..play.rounds)
        .map(|round| {
            let chance = Seed(seed * 1_000_003 + round);
            let mut x = vec![0.0_f32; CONTEXT];
            x[0] = 1.0;
            for (j, value) in x[1..=DIMENSIONS].iter_mut().enumerate() {
                *value = (normal(chance, &j.to_string()) / (DIMENSIONS as f64).sqrt()) as f32;
            }
            let mut truth: Vec<f64> = theta
                .iter()
                .map(|theta| {
                    let linear: f64 = theta.iter().zip(&x[1..]).map(|(t, x)| t * f64::from(*x)).sum();
                    0.5 + 0.2 * linear + play.bend * (3.0 * linear).sin()
                })
                .collect();
            if play.swap.is_some_and(|swap| round >= swap) {
                truth.rotate_left(1);
            }
            let p = policy.score(&Round { x: &x, open: &[true; ARMS], penalty: &[0.0; ARMS] });
            let arm = draw(&p, chance.uniform("arm"));
            let best = truth.iter().copied().fold(f64::MIN, f64::max);
            if chance.uniform("missing") >= play.missing {
                let delay = play.late.0 + (chance.uniform("late") * (play.late.1 - play.late.0) as f64) as u64;
                waiting.push_back((round + delay, x, arm, truth[arm] + 0.1 * normal(chance, "noise")));
            }
            let learning = (round + 1) % play.every == 0;
            waiting.retain(|(due, x, arm, y)| {
                let due = if learning { due } else { &u64::MAX };
                if *due <= round {
                    policy.update(x, *arm, *y, 0.0);
                }
                *due > round
            });
            best - truth[arm]
        })
        .collect()
}

fn bandit(algorithm: Algorithm) -> Bandit {
    Bandit::new("bandit", Config { algorithm, exploration_share: 0.0, ..Config::default() }, Explore::Floor, ARMS)
}

/// Runs of a policy over so many seeds.
#[derive(Clone, Copy)]
struct Seeds {
    count: u64,
    threads: usize,
}

impl Seeds {
    fn run<P: OnlinePolicy>(self, make: impl Fn() -> P + Sync, play: Play) -> Vec<Vec<f64>> {
        spread(self.count as usize, self.threads, &|| {}, |seed| regret(&mut make(), seed as u64, play))
    }

    fn thompson(self, play: Play) -> Vec<Vec<f64>> {
        self.run(|| bandit(Algorithm::Thompson), play)
    }
}

/// Mean regret over these rounds.
fn total(runs: &[Vec<f64>], rounds: Range<usize>) -> f64 {
    mean(&runs.iter().map(|run| run[rounds.clone()].iter().sum::<f64>()).collect::<Vec<_>>()).0
}

/// Total regret of some runs over that of as many others, run by run on the same seeds, and its standard error by the
/// jackknife: a run that has settled on the wrong arm weighs as much as ten others, so few runs say little.
fn over(some: &[Vec<f64>], rounds: Range<usize>, others: &[Vec<f64>], their_rounds: Range<usize>) -> (f64, f64) {
    let sums = |runs: &[Vec<f64>], rounds: Range<usize>| -> Vec<f64> {
        runs.iter().map(|run| run[rounds.clone()].iter().sum()).collect()
    };
    let (some, others) = (sums(some, rounds), sums(others, their_rounds));
    let (above, below): (f64, f64) = (some.iter().sum(), others.iter().sum());
    let without: Vec<f64> = some.iter().zip(&others).map(|(a, b)| (above - a) / (below - b)).collect();
    // The jackknife's variance is (n - 1)^2 times that of the mean of the figures with one run left out.
    let (_, error) = mean(&without);
    (above / below, error * (without.len() as f64 - 1.0))
}

/// Seeds of the bent world for every one of the others: its figure is the most uncertain.
const MORE: u64 = 4;

/// Every bar of worlds whose truth is known, over so many seeds.
#[must_use]
pub fn bars(seeds: u64, threads: usize) -> Vec<Bar> {
    let mut bars = growing(seeds, threads, 1);
    for every in [1, BATCH] {
        bars.push(bent(MORE * seeds, threads, every));
        bars.push(swapped(seeds, threads, every));
    }
    bars.extend(late(seeds, threads));
    bars.push(Bar::at_most("width of an intent unseen for 100,000 steps over its first", unseen(100_000), 1.0));
    bars
}

/// Answers that are learned from together, as they are behind the endpoint.
pub const BATCH: u64 = 16;

fn named(subject: &str, every: u64) -> String {
    if every > 1 { format!("{subject}, answers learned {every} at a time") } else { subject.to_owned() }
}

/// How regret grows where the truth is linear, and what part of chance's it is.
#[must_use]
pub fn growing(count: u64, threads: usize, every: u64) -> Vec<Bar> {
    let (n, seeds) = (8_000, Seeds { count, threads });
    let play = Play { rounds: n as u64, every, ..PLAIN };
    let (long, chance) = (seeds.thompson(play), seeds.run(|| Fixed::uniform(ARMS), play));
    let (growth, doubt) = over(&long, 0..n, &long, 0..n / 4);
    let (share, error) = over(&long, 0..n, &chance, 0..n);
    vec![
        Bar::at_most("linear world: regret to 8,000 over regret to 2,000", growth, 2.5).with_error(doubt),
        Bar::at_most("linear world: share of chance's regret", share, 0.25).with_error(error),
    ]
}

/// What inverse gap weighting costs or brings where the truth is not linear. Seeds decide much: of ten, one or two
/// sit on a wrong arm for some hundred rounds, now under the one policy, now under the other.
#[must_use]
pub fn bent(count: u64, threads: usize, every: u64) -> Bar {
    let (n, seeds) = (2_000, Seeds { count, threads });
    let play = Play { rounds: n as u64, bend: 0.05, every, ..PLAIN };
    let (thompson, square) = (seeds.thompson(play), seeds.run(|| bandit(Algorithm::SquareCb), play));
    let (ratio, error) = over(&square, 0..n, &thompson, 0..n);
    let named = named("bent world: SquareCB's regret over Thompson's", every);
    Bar::at_most(named, ratio, 1.2).with_error(error)
}

/// A learner that has known another world until now, beside one that knows nothing.
#[must_use]
pub fn swapped(count: u64, threads: usize, every: u64) -> Bar {
    let (half, seeds) = (2_000, Seeds { count, threads });
    let changed = seeds.thompson(Play { rounds: 2 * half as u64, swap: Some(half as u64), every, ..PLAIN });
    let fresh = seeds.thompson(Play { rounds: half as u64, every, ..PLAIN });
    let (ratio, error) = over(&changed, half..2 * half, &fresh, 0..half);
    let named = named("swap of the arms: regret after it over a fresh learner's", every);
    Bar::at_most(named, ratio, 2.0).with_error(error)
}

/// One request a second: rewards after 1 to 60 minutes, and of three in ten nothing is heard.
#[must_use]
pub fn late(count: u64, threads: usize) -> Vec<Bar> {
    let (day, hour, seeds) = (20_000, 3_600, Seeds { count, threads });
    let prompt = seeds.thompson(Play { rounds: day as u64, ..PLAIN });
    let tardy = seeds.thompson(Play { rounds: day as u64, late: (60, 3_600), missing: 0.3, ..PLAIN });
    let whole = total(&prompt, 0..day);
    let (ratio, error) = over(&tardy, 0..day, &prompt, 0..day);
    vec![
        Bar::shown(
            "late rewards, 1 to 60 min at one request a second, 30 % missing: regret over prompt rewards'",
            ratio,
        )
        .with_error(error),
        Bar::at_most(
            "the same, from the moment the first hour's rewards are there: extra regret over the prompt learner's total",
            (total(&tardy, hour..day) - total(&prompt, hour..day)) / whole,
            0.15,
        ),
    ]
}

/// How wide a belief about a kind of request that is no longer seen becomes at most, beside its prior.
#[must_use]
pub fn unseen(steps: u64) -> f64 {
    let prior = crate::policy::prior::quality_prior();
    let x = |i: usize| -> Vec<f64> { (0..CONTEXT).map(|j| if j == 0 || j == i { 1.0 } else { 0.0 }).collect() };
    let (old, new) = (x(1), x(2));
    let mut sums = Sums::new(CONTEXT);
    let width = |sums: &Sums| {
        let arm = &fit(&prior, std::iter::once(sums), 1.0).arms[0];
        arm.sd(&old) / arm.noise.sqrt()
    };
    let first = width(&sums);
    (0..500).for_each(|_| sums.add(1.0, &old, 0.7));
    let mut widest = 0.0_f64;
    for step in 0..steps {
        sums.scale(0.997);
        sums.add(1.0, &new, Seed(step).uniform("y"));
        if step % 1_000 == 999 {
            widest = widest.max(width(&sums));
        }
    }
    widest / first
}

/// The watch on a model's answers: how soon a fall is found, how often there is a false alarm.
#[must_use]
pub fn watching(runs: u64) -> Vec<Bar> {
    let belief = |mean: f64| Estimate { mean, sd: 0.01 };
    let graded = |i: u64, fallen: bool| 0.8 - if fallen { 0.17 } else { 0.0 } + 0.15 * normal(Seed(i), "graded");
    let binary =
        |i: u64, fallen: bool| f64::from(u8::from(Seed(i).uniform("binary") < if fallen { 0.42 } else { 0.62 }));
    let after = |score: &dyn Fn(u64, bool) -> f64, predicted: f64| {
        let run = |run: u64| {
            let mut watch = Watch::default();
            let mut see =
                |i: u64, fallen: bool| watch.plain(belief(predicted), score(run * 1_000_003 + i, fallen), Timestamp(i));
            for i in 0..1_000 {
                see(i, false);
            }
            (1_000..6_000).find(|i| see(*i, true)).map_or(5_000.0, |i| (i - 999) as f64)
        };
        mean(&(0..runs).map(run).collect::<Vec<_>>()).0
    };
    let plays = 1_000_000;
    let false_alarms = |score: &dyn Fn(u64, bool) -> f64, predicted: f64| {
        let mut watch = Watch::default();
        (0..plays).filter(|i| watch.plain(belief(predicted), score(*i, false), Timestamp(*i))).count() as f64 / 10.0
    };
    vec![
        Bar::at_most("silent fall by .17 at a spread of .15: plays until found", after(&graded, 0.8), 200.0).digits(0),
        Bar::at_most(
            "silent fall from .62 to .42 in scores of 0 and 1: plays until found",
            after(&binary, 0.62),
            200.0,
        )
        .digits(0),
        Bar::at_most("false alarms in 100,000 plays, graded", false_alarms(&graded, 0.8), 1.0).digits(1),
        Bar::at_most("false alarms in 100,000 plays, scores of 0 and 1", false_alarms(&binary, 0.62), 1.0).digits(1),
    ]
}
