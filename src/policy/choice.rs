//! From what is believed of the eligible arms to the probability of each: the heart of the policy.
//!
//! Thompson sampling, with two additions. An arm that is clearly behind another *on requests like this one* rests:
//! the sampling gives it nothing, yet where it is good it plays, however bad it is on the whole. And the exploration
//! share puts a floor under every eligible arm, resting or not: so what was logged can judge any policy, and an arm
//! that was misjudged early, or has become better since, is found out.

use super::propensity::{inverse_gap, raise_to_floor, win_probabilities};
use super::regression::Posterior;
use super::{Algorithm, Config, Explore, Spread};

/// Width of the sampling distribution by trials, as a multiple of the belief's standard deviation.
const TRIALS_WIDTH: f64 = 0.8;
/// The same by context.
const CONTEXT_WIDTH: f64 = 0.6;
/// An arm rests while its belief, this many standard deviations up, is below another's as many down.
const REST: f64 = 2.0;

/// An eligible arm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arm<'a> {
    /// What is believed of its quality.
    pub(super) belief: &'a Posterior,
    /// Expected quality less what cost and latency are worth.
    pub(super) utility: f64,
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
            let playing = match config.algorithm {
                Algorithm::Thompson => awake(x, arms),
                Algorithm::SquareCb => (0..arms.len()).collect(),
            };
            let utilities: Vec<f64> = playing.iter().map(|&arm| arms[arm].utility).collect();
            let among = match config.algorithm {
                Algorithm::Thompson => {
                    let sds: Vec<f64> = playing.iter().map(|&arm| spread(config.spread, x, &arms[arm])).collect();
                    win_probabilities(&utilities, &sds)
                }
                Algorithm::SquareCb => inverse_gap(&utilities, gamma(config, arms)),
            };
            let mut probabilities = vec![0.0; arms.len()];
            for (arm, p) in playing.into_iter().zip(among) {
                probabilities[arm] = p;
            }
            raise_to_floor(&mut probabilities, &vec![config.exploration_share / arms.len() as f64; arms.len()]);
            probabilities
        }
    }
}

/// How strongly inverse gap weighting prefers the best. It grows with the rows not yet forgotten, so it stops
/// growing where forgetting holds them.
fn gamma(config: &Config, arms: &[Arm<'_>]) -> f64 {
    config.square_cb_gamma * arms.iter().map(|arm| arm.belief.n).sum::<f64>().sqrt()
}

fn spread(spread: Spread, x: &[f64], arm: &Arm<'_>) -> f64 {
    match spread {
        Spread::Trials if !arm.belief.looser => TRIALS_WIDTH * arm.belief.bias_sd(),
        Spread::Trials | Spread::Context => CONTEXT_WIDTH * arm.belief.sd(x),
    }
}

/// The arms that are not clearly behind another at `x`. Never empty: the greedy one is always among them.
fn awake(x: &[f64], arms: &[Arm<'_>]) -> Vec<usize> {
    let errors: Vec<f64> = arms.iter().map(|arm| REST * arm.belief.sd(x)).collect();
    let ahead = arms.iter().zip(&errors).map(|(arm, error)| arm.utility - error).fold(f64::NEG_INFINITY, f64::max);
    (0..arms.len()).filter(|&arm| arms[arm].utility + errors[arm] >= ahead).collect()
}
