//! What is believed before any row, of every quantity that is learned.

use super::regression::Prior;
use crate::features::CONTEXT;

/// What is believed of quality before any score. The usual ridge is the one measured on public sets, in the contexts of
/// the served feature map, where prompts hardly tell the models apart; the looser ones are for traffic whose kinds have
/// specialists.
#[must_use]
pub fn quality_prior() -> Prior {
    let with_bias = |bias: f64, context: f64| {
        let mut diagonal = vec![context; CONTEXT];
        diagonal[0] = bias;
        diagonal
    };
    Prior {
        ridge: with_bias(1.0, 60.0),
        looser_ridges: [30.0, 10.0, 3.0, 1.0].map(|context| with_bias(1.0, context)).to_vec(),
        shared_ridge: with_bias(1.0, 3.0),
        mean: with_bias(0.5, 0.0),
        noise: 0.16,
        noise_rows: 10.0,
        arm_noise_rows: 100.0,
    }
}

/// Of the natural logarithm of an answer's tokens: some 250, growing a little with the prompt.
pub(super) fn tokens_prior() -> Prior {
    Prior {
        ridge: vec![2.0, 20.0],
        looser_ridges: Vec::new(),
        shared_ridge: vec![1.0, 5.0],
        mean: vec![5.5, 0.2],
        noise: 1.0,
        noise_rows: 4.0,
        arm_noise_rows: 10.0,
    }
}

/// Of the natural logarithm of the seconds to the first token.
pub(super) fn first_token_prior() -> Prior {
    Prior {
        ridge: vec![1.0, 20.0, 20.0],
        looser_ridges: Vec::new(),
        shared_ridge: vec![1.0, 5.0, 5.0],
        mean: vec![-0.7, 0.1, 0.1],
        noise: 0.25,
        noise_rows: 4.0,
        arm_noise_rows: 10.0,
    }
}

/// Of the natural logarithm of the seconds to the last token.
pub(super) fn total_prior() -> Prior {
    Prior {
        ridge: vec![1.0, 20.0, 20.0, 10.0],
        looser_ridges: Vec::new(),
        shared_ridge: vec![1.0, 5.0, 5.0, 5.0],
        mean: vec![0.7, 0.05, 0.1, 0.7],
        noise: 0.25,
        noise_rows: 4.0,
        arm_noise_rows: 10.0,
    }
}
