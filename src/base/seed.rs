//! Chance, as a value. A seed is logged with what was drawn from it, so every draw can be made again.

use serde::{Deserialize, Serialize};

use super::ids::DecisionId;

/// 64 bits from which draws are made by hashing; equal seeds and purposes give equal draws, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of one decision: a hash of the process-wide seed and the decision's name.
    #[must_use]
    pub fn of_decision(global: u64, id: DecisionId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&global.to_le_bytes());
        hasher.update(id.0.as_bytes());
        Self(first_u64(&hasher))
    }

    /// A number in `[0, 1)` with 53 random bits. Draws for different purposes are independent.
    #[must_use]
    pub fn uniform(self, purpose: &str) -> f64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(purpose.as_bytes());
        (first_u64(&hasher) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn first_u64(hasher: &blake3::Hasher) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_repeatable_and_spread_evenly() {
        let mut low = 0;
        for i in 0..10_000 {
            let u = Seed(i).uniform("arm");
            assert_eq!(u, Seed(i).uniform("arm"));
            assert!((0.0..1.0).contains(&u));
            low += usize::from(u < 0.5);
        }
        // Five standard deviations of a fair coin.
        assert!((4_750..5_250).contains(&low), "{low}");
    }
}
