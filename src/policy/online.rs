//! Learning one choice at a time among a fixed list of arms: what a replay drives, for this policy and for the
//! baselines it is measured against.

/// One choice to make.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// The context; the first number is 1.
    pub x: &'a [f32],
    /// Which arms may be chosen.
    pub open: &'a [bool],
    /// What choosing an arm costs, on the scale of quality, as far as it is known before the choice.
    pub penalty: &'a [f64],
}

/// Chooses among a fixed list of arms by probability, and learns from what the chosen one brought.
pub trait OnlinePolicy {
    /// Its name in reports.
    fn name(&self) -> String;

    /// The probability of every arm: 0 for those not open, sum 1.
    fn score(&mut self, round: &Round<'_>) -> Vec<f64>;

    /// What the chosen arm brought: its quality and the penalty that came true.
    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64);
}
