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
const REST: f64 = 1.5;

/// Scored answers below which an arm is a newcomer, and how many an arm the others must have on average for that to
/// matter: while all are new, nobody is.
const NEW: f64 = 20.0;
const TRIED: f64 = 50.0;

/// An eligible arm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arm<'a> {
    /// What is believed of its quality.
    pub(super) belief: &'a Posterior,
    /// Standard deviation of its expected quality on this request.
    pub(super) sd: f64,
    /// Expected quality less what cost and latency are worth.
    pub(super) utility: f64,
}

/// The arm of greatest expected utility; the first of equals.
pub(super) fn greedy(arms: &[Arm<'_>]) -> usize {
    (0..arms.len()).fold(0, |best, arm| if arms[arm].utility > arms[best].utility { arm } else { best })
}

/// The probability of every arm; they sum to 1. `arms` is not empty.
pub(super) fn probabilities(config: &Config, explore: Explore, arms: &[Arm<'_>]) -> Vec<f64> {
    match explore {
        Explore::Never => {
            let mut certain = vec![0.0; arms.len()];
            certain[greedy(arms)] = 1.0;
            certain
        }
        Explore::Full => vec![1.0 / arms.len() as f64; arms.len()],
        Explore::Floor => {
            let playing = awake(arms);
            let utilities: Vec<f64> = playing.iter().map(|&arm| arms[arm].utility).collect();
            let mut among = match config.algorithm {
                Algorithm::Thompson => {
                    let sds: Vec<f64> = playing.iter().map(|&arm| spread(config.spread, &arms[arm])).collect();
                    win_probabilities(&utilities, &sds)
                }
                Algorithm::SquareCb => inverse_gap(&utilities, gamma(config, arms)),
            };
            hold_back_newcomers(config.newcomer_share, &playing, arms, &mut among);
            let mut probabilities = vec![0.0; arms.len()];
            for (arm, p) in playing.into_iter().zip(among) {
                probabilities[arm] = p;
            }
            raise_to_floor(&mut probabilities, &vec![config.exploration_share / arms.len() as f64; arms.len()]);
            probabilities
        }
    }
}

/// Newcomers among arms that are well tried get no more than their share together.
fn hold_back_newcomers(share: f64, playing: &[usize], arms: &[Arm<'_>], among: &mut [f64]) {
    let rows: f64 = arms.iter().map(|arm| arm.belief.n).sum();
    let new = |place: usize| arms[playing[place]].belief.n < NEW;
    let wanted: f64 = (0..among.len()).filter(|&place| new(place)).map(|place| among[place]).sum();
    if rows < TRIED * arms.len() as f64 || wanted <= share || (0..among.len()).all(new) {
        return;
    }
    let rest = 1.0 - wanted;
    let known = (0..among.len()).filter(|&place| !new(place)).count() as f64;
    for (place, p) in among.iter_mut().enumerate() {
        *p = match (new(place), rest > 0.0) {
            (true, _) => *p * share / wanted,
            (false, true) => *p * (1.0 - share) / rest,
            (false, false) => (1.0 - share) / known,
        };
    }
}

/// How strongly inverse gap weighting prefers the best. It grows with the rows not yet forgotten, so it stops
/// growing where forgetting holds them.
fn gamma(config: &Config, arms: &[Arm<'_>]) -> f64 {
    config.square_cb_gamma * arms.iter().map(|arm| arm.belief.n).sum::<f64>().sqrt()
}

fn spread(spread: Spread, arm: &Arm<'_>) -> f64 {
    match spread {
        Spread::Trials if !arm.belief.looser => TRIALS_WIDTH * arm.belief.bias_sd(),
        Spread::Trials | Spread::Context => CONTEXT_WIDTH * arm.sd,
    }
}

/// The arms that are not clearly behind another here. Never empty: the greedy one is always among them.
fn awake(arms: &[Arm<'_>]) -> Vec<usize> {
    let ahead = arms.iter().map(|arm| arm.utility - REST * arm.sd).fold(f64::NEG_INFINITY, f64::max);
    (0..arms.len()).filter(|&arm| arms[arm].utility + REST * arms[arm].sd >= ahead).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::prior::quality_prior;
    use crate::policy::regression::fit;
    use crate::policy::sums::Sums;

    #[test]
    fn a_newcomer_among_the_well_tried_has_its_share_and_no_more() {
        let x: Vec<f64> = std::iter::once(1.0).chain([0.0; 32]).collect();
        let share = |rows: usize| {
            let mut sums = vec![Sums::new(33); 3];
            for i in 0..rows {
                sums[0].add(1.0, &x, if i % 2 == 0 { 0.3 } else { 0.5 });
                sums[1].add(1.0, &x, if i % 2 == 0 { 0.35 } else { 0.45 });
            }
            let fit = fit(&quality_prior(), sums.iter(), 1.0);
            let arm = |(arm, utility): (usize, f64)| Arm { belief: &fit.arms[arm], sd: fit.arms[arm].sd(&x), utility };
            let arms: Vec<Arm<'_>> = [0.4, 0.4, 0.5].into_iter().enumerate().map(arm).collect();
            probabilities(&Config::default(), Explore::Floor, &arms)[2]
        };
        assert!(share(20) > 0.5, "while all are new, nobody is: {}", share(20));
        assert!((share(400) - Config::default().newcomer_share).abs() < 0.01, "{}", share(400));
    }
}
