//! Worlds whose truth is known: what a policy gets in them is held against the best that can be had.

use std::collections::VecDeque;

use super::{Bar, mean};
use crate::base::{Seed, Timestamp};
use crate::eval::crew::spread;
use crate::policy::regression::{Sums, fit};
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
}

const PLAIN: Play = Play { rounds: 2_000, bend: 0.0, swap: None, late: (0, 0), missing: 0.0 };

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
            waiting.retain(|(due, x, arm, y)| {
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

/// Every bar of worlds whose truth is known, over so many seeds.
#[must_use]
pub fn bars(seeds: u64, threads: usize) -> Vec<Bar> {
    let over = |algorithm: Algorithm, play: Play| {
        spread(seeds as usize, threads, &|| {}, |seed| regret(&mut bandit(algorithm), seed as u64, play))
    };
    let total = |runs: &[Vec<f64>], from: usize, to: usize| {
        mean(&runs.iter().map(|run| run[from..to].iter().sum::<f64>()).collect::<Vec<_>>()).0
    };
    let n = 8_000;
    let long = over(Algorithm::Thompson, Play { rounds: n as u64, ..PLAIN });
    let chance = spread(seeds as usize, threads, &|| {}, |seed| {
        regret(&mut crate::policy::baselines::Fixed::uniform(ARMS), seed as u64, Play { rounds: n as u64, ..PLAIN })
    });
    let bent = Play { bend: 0.05, ..PLAIN };
    let (thompson, square) = (over(Algorithm::Thompson, bent), over(Algorithm::SquareCb, bent));
    // A learner that has known another world until now, beside one that knows nothing.
    let half = 2_000;
    let swapped = over(Algorithm::Thompson, Play { rounds: 2 * half as u64, swap: Some(half as u64), ..PLAIN });
    let fresh = over(Algorithm::Thompson, Play { rounds: half as u64, ..PLAIN });
    // One request a second: rewards after 1 to 60 minutes, and of three in ten nothing is heard.
    let day = 20_000;
    let prompt = over(Algorithm::Thompson, Play { rounds: day as u64, ..PLAIN });
    let tardy = over(Algorithm::Thompson, Play { rounds: day as u64, late: (60, 3_600), missing: 0.3, ..PLAIN });
    let hour = 3_600;
    vec![
        Bar::at_most(
            "linear world: regret to 8,000 over regret to 2,000",
            total(&long, 0, n) / total(&long, 0, n / 4),
            2.5,
        ),
        Bar::at_most("linear world: share of chance's regret", total(&long, 0, n) / total(&chance, 0, n), 0.25),
        Bar::at_most(
            "bent world: SquareCB's regret over Thompson's",
            total(&square, 0, 2_000) / total(&thompson, 0, 2_000),
            1.2,
        ),
        Bar::at_most(
            "swap of the arms: regret after it over a fresh learner's",
            total(&swapped, half, 2 * half) / total(&fresh, 0, half),
            2.0,
        ),
        Bar::shown(
            "late rewards, 1 to 60 min at one request a second, 30 % missing: regret over prompt rewards'",
            total(&tardy, 0, day) / total(&prompt, 0, day),
        ),
        Bar::at_most(
            "the same, from the moment the first hour's rewards are there: extra regret over the prompt learner's total",
            (total(&tardy, hour, day) - total(&prompt, hour, day)) / total(&prompt, 0, day),
            0.15,
        ),
        Bar::at_most("width of an intent unseen for 100,000 steps over its first", unseen(100_000), 1.0),
    ]
}

/// How wide a belief about a kind of request that is no longer seen becomes at most, beside its prior.
#[must_use]
pub fn unseen(steps: u64) -> f64 {
    let prior = crate::policy::state::quality_prior();
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
            let mut see = |i: u64, fallen: bool| {
                watch.see(belief(predicted), score(run * 1_000_003 + i, fallen), 1.0, Timestamp(i))
            };
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
        (0..plays).filter(|i| watch.see(belief(predicted), score(*i, false), 1.0, Timestamp(*i))).count() as f64 / 10.0
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
