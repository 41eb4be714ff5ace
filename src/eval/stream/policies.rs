//! Who plays the streams: the served policy, as it is served, and what it must beat.

use std::mem;

use ndarray::Array2;

use super::{CONTEXT, Maker};
use crate::eval::routers::Lesson;
use crate::policy::baselines::{ContextFree, Ucb1};
use crate::policy::linucb::LinUcb;
use crate::policy::{Algorithm, Bandit, Config, Explore, OnlinePolicy, Round};

/// Answers after which the served policy is made anew. In service that is 64 events or a quarter of a second.
const PUBLISHED_EVERY: usize = 16;

/// A policy that learns in batches, as one does that serves from published snapshots.
#[derive(Clone, Debug)]
pub(super) struct Published<P> {
    inner: P,
    waiting: Vec<(Vec<f32>, usize, f64, f64)>,
}

impl<P: OnlinePolicy> OnlinePolicy for Published<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        self.inner.score(round)
    }

    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64) {
        self.waiting.push((x.to_vec(), arm, quality, penalty));
        if self.waiting.len() >= PUBLISHED_EVERY {
            for (x, arm, quality, penalty) in mem::take(&mut self.waiting) {
                self.inner.update(&x, arm, quality, penalty);
            }
        }
    }
}

fn maker<P: OnlinePolicy + 'static>(name: &str, make: impl Fn(usize) -> P + Send + Sync + 'static) -> Maker<'static> {
    (name.to_owned(), Box::new(move |arms| Box::new(make(arms))))
}

fn served(name: &'static str, algorithm: Algorithm) -> Maker<'static> {
    with(name, Config { algorithm, ..Config::default() })
}

fn with(name: &'static str, config: Config) -> Maker<'static> {
    maker(name, move |arms| Published {
        inner: Bandit::new(name, config.clone(), Explore::Floor, arms),
        waiting: Vec::new(),
    })
}

/// The served policy without the share of the traffic that is spread over all arms for evaluation's sake.
#[must_use]
pub fn unshared() -> Maker<'static> {
    with("pointsman, no exploration share", Config { exploration_share: 0.0, ..Config::default() })
}

/// The served policy, which starts knowing nothing.
#[must_use]
pub fn ours() -> Maker<'static> {
    served("pointsman, cold", Algorithm::Thompson)
}

/// The policies of the online columns. Pointsman's come first; they start knowing nothing.
#[must_use]
pub fn cold() -> Vec<Maker<'static>> {
    vec![
        ours(),
        served("pointsman, SquareCB", Algorithm::SquareCb),
        maker("LinUCB", |arms| LinUcb::new(1.0, arms, CONTEXT)),
        maker("Thompson, no context", ContextFree::new),
        maker("UCB1", Ucb1::narrow),
    ]
}

/// The policies of the drift columns.
#[must_use]
pub fn drifting() -> Vec<Maker<'static>> {
    vec![
        ours(),
        maker("LinUCB", |arms| LinUcb::new(1.0, arms, CONTEXT)),
        maker("LinUCB, forgetting .997", |arms| LinUcb::new(0.997, arms, CONTEXT)),
    ]
}

/// The served policy after the training rows of a lesson, every model's outcome of each told to it.
pub(super) fn warm(lesson: &Lesson, contexts: &Array2<f32>, rows: &[usize]) -> Published<Bandit> {
    let mut policy = Bandit::new("pointsman, warm", Config::default(), Explore::Floor, lesson.models.len());
    for (row, scores) in rows.iter().zip(lesson.outcomes.score.rows()) {
        let x = contexts.row(*row).to_vec();
        for (arm, score) in scores.iter().enumerate() {
            policy.update(&x, arm, *score, 0.0);
        }
    }
    Published { inner: policy, waiting: Vec::new() }
}
