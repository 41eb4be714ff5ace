//! From what is believed of the eligible arms to the probability of each: the heart of the policy.

use super::propensity::{inverse_gap, raise_to_floor, win_probabilities};
use super::regression::Posterior;
use super::{Algorithm, Config, Explore, Spread};

/// Width of the sampling distribution by trials, as a multiple of the belief's standard deviation.
const TRIALS_WIDTH: f64 = 0.8;
/// The same by context.
const CONTEXT_WIDTH: f64 = 0.6;
/// By trials: an arm rests while its mean is this many standard errors of both behind another's.
const REST: f64 = 2.0;

/// An eligible arm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arm<'a> {
    /// What is believed of its quality.
    pub(super) belief: &'a Posterior,
    /// Expected quality less what cost and latency are worth.
    pub(super) utility: f64,
    /// What cost and latency are worth.
    pub(super) penalty: f64,
}

/// The arm of greatest expected utility; the first of equals.
pub(super) fn greedy(arms: &[Arm<'_>]) -> usize {
    (0..arms.len()).fold(0, |best, arm| if arms[arm].utility > arms[best].utility { arm } else { best })
}

/// The probability of every arm at context `x`; they sum to 1. `arms` is not empty.
pub(super) fn probabilities(config: &Config, explore: Explore, x: &[f64], arms: &[Arm<'_>]) -> Vec<f64> {
    match explore {
        Explore::Never => {
            let mut certain = vec![0.0; arms.len()];
            certain[greedy(arms)] = 1.0;
            certain
        }
        Explore::Full => vec![1.0 / arms.len() as f64; arms.len()],
        Explore::Floor => {
            let mut probabilities = match config.algorithm {
                Algorithm::Thompson => thompson(config, x, arms),
                Algorithm::SquareCb => square_cb(config, arms),
            };
            let floor = vec![config.exploration_share / arms.len() as f64; arms.len()];
            raise_to_floor(&mut probabilities, &floor);
            probabilities
        }
    }
}

fn square_cb(config: &Config, arms: &[Arm<'_>]) -> Vec<f64> {
    let utilities: Vec<f64> = arms.iter().map(|arm| arm.utility).collect();
    // The rows are those not yet forgotten, so gamma stops growing where forgetting holds it.
    let rows: f64 = arms.iter().map(|arm| arm.belief.n).sum();
    inverse_gap(&utilities, config.square_cb_gamma * rows.sqrt())
}

fn thompson(config: &Config, x: &[f64], arms: &[Arm<'_>]) -> Vec<f64> {
    match config.spread {
        Spread::Context => {
            let means: Vec<f64> = arms.iter().map(|arm| arm.utility).collect();
            let sds: Vec<f64> = arms.iter().map(|arm| CONTEXT_WIDTH * arm.belief.sd(x)).collect();
            win_probabilities(&means, &sds)
        }
        Spread::Trials => {
            let awake = awake(arms);
            let means: Vec<f64> = awake.iter().map(|&arm| arms[arm].utility).collect();
            let sds: Vec<f64> = awake.iter().map(|&arm| TRIALS_WIDTH * arms[arm].belief.bias_sd()).collect();
            let mut probabilities = vec![0.0; arms.len()];
            for (arm, p) in awake.into_iter().zip(win_probabilities(&means, &sds)) {
                probabilities[arm] = p;
            }
            probabilities
        }
    }
}

/// The arms whose mean over all requests, less the penalty of this one, is not clearly behind another's.
fn awake(arms: &[Arm<'_>]) -> Vec<usize> {
    let bounds: Vec<(f64, f64)> = arms
        .iter()
        .map(|arm| {
            let middle = arm.belief.plain_mean - arm.penalty;
            let error = REST * arm.belief.plain_error();
            (middle - error, middle + error)
        })
        .collect();
    let behind = bounds.iter().map(|bound| bound.0).fold(f64::NEG_INFINITY, f64::max);
    (0..arms.len()).filter(|&arm| bounds[arm].1 >= behind).collect()
}
