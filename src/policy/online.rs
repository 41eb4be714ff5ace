//! Learning one choice at a time among a fixed list of arms: what a replay drives, for this policy and for the
//! baselines it is measured against.
//!
//! A replay has a table of outcomes instead of a ledger: no models' names, no prices, no clock. [`Bandit`] is the
//! served policy without those: the same sums, the same fit, the same choice.

use super::choice::{self, Arm};
use super::prior::quality_prior;
use super::regression::{Fit, Prior, fit};
use super::sums::Sums;
use super::watch::{Added, Watch};
use super::{Config, Estimate, Explore};
use crate::base::Timestamp;

/// One choice to make.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// The context; the first number is 1.
    pub x: &'a [f32],
    /// Which arms may be chosen; at least one.
    pub open: &'a [bool],
    /// What choosing an arm costs, on the scale of quality, as far as it is known before the choice.
    pub penalty: &'a [f64],
}

/// Chooses among a fixed list of arms by probability, and learns from what the chosen one brought.
pub trait OnlinePolicy {
    /// Its name in reports.
    fn name(&self) -> &str;

    /// The probability of every arm: 0 for those not open, sum 1.
    fn score(&mut self, round: &Round<'_>) -> Vec<f64>;

    /// What the chosen arm brought: its quality, and the penalty that came true.
    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64);
}

/// The served policy on a fixed list of arms. It is fitted anew after every update.
#[derive(Clone, Debug)]
pub struct Bandit {
    name: String,
    config: Config,
    explore: Explore,
    prior: Prior,
    sums: Vec<Sums>,
    watches: Vec<Watch>,
    /// Answers so far: the bandit's clock.
    answers: u64,
    fit: Option<Fit>,
    /// Whether the fit holds all answers.
    fresh: bool,
}

impl Bandit {
    /// Nothing learned yet. The half-lives of the settings are not used: a replay has no clock.
    #[must_use]
    pub fn new(name: &str, config: Config, explore: Explore, arms: usize) -> Self {
        let prior = quality_prior();
        let sums = vec![Sums::new(prior.ridge.len()); arms];
        let watches = vec![Watch::default(); arms];
        let (answers, fit, fresh) = (0, None, false);
        Self { name: name.to_owned(), config, explore, prior, sums, watches, answers, fit, fresh }
    }
}

impl OnlinePolicy for Bandit {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let fit = match &mut self.fit {
            Some(fit) if self.fresh => fit,
            old => old.insert(fit(&self.prior, self.sums.iter(), 1.0)),
        };
        self.fresh = true;
        let x: Vec<f64> = round.x.iter().copied().map(f64::from).collect();
        let open: Vec<usize> = (0..self.sums.len()).filter(|&arm| round.open[arm]).collect();
        let arms: Vec<Arm<'_>> = open
            .iter()
            .map(|&arm| {
                let belief = &fit.arms[arm];
                Arm { belief, sd: belief.sd(&x), utility: belief.mean(&x) - round.penalty[arm] }
            })
            .collect();
        let mut probabilities = vec![0.0; self.sums.len()];
        for (&arm, p) in open.iter().zip(choice::probabilities(&self.config, self.explore, &arms)) {
            probabilities[arm] = p;
        }
        probabilities
    }

    fn update(&mut self, x: &[f32], arm: usize, quality: f64, _penalty: f64) {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        self.sums[arm].add(1.0, &x, quality);
        self.answers += 1;
        let (row, at) = (Added { weight: 1.0, x: &x, y: quality }, Timestamp(self.answers));
        self.watches[arm].note(row, at);
        if let Some(belief) = self.fit.as_ref().map(|fit| &fit.arms[arm]) {
            let predicted = Estimate { mean: belief.mean(&x), sd: belief.sd(&x) };
            let _ = self.watches[arm].see(predicted, 1.0, at, row, &mut self.sums[arm]);
        }
        self.fresh = false;
    }
}
