//! Which misses are worth a judge's call.
//!
//! Verdicts are the fuel of the decision and cost a call each, so that only a share of the misses can be judged. Drawn by
//! lot, most verdicts are wasted: on pairs that are surely not right, and on entries that nobody will ask for again. A
//! verdict is worth what it will save, and that grows with two things known at the miss: how often the entry was the
//! best candidate already (what was asked for will be asked for), and how likely the pair is right (only a right one
//! brings an entry over the floor). The square of the estimate was chosen on half of the classes of the evaluation
//! stream; on the other half one verdict in ten then serves three times what a lot serves.
//!
//! Verdicts that were chosen are no fair sample. They teach their own entry
//! ([`Evidence::learn`](super::decision::Evidence::learn)) and leave the prior alone; a prior that follows them believes
//! too much, and more wrong answers pass than the floor allows.

/// By how much the bar moves when a pair passes it.
const STEP: f64 = 0.05;

/// Spends a share of the misses on the pairs that are worth most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asking {
    share: f64,
    misses: u64,
    taken: u64,
    /// Moves so that about the wanted share passes; the count of the taken sees to it that no more do.
    bar: f64,
}

impl Asking {
    /// Judges at most this share of the misses.
    #[must_use]
    pub const fn of_misses(share: f64) -> Self {
        Self { share, misses: 0, taken: 0, bar: 0.5 }
    }

    /// A miss, of which the best candidate (`None` if there is none that may be judged) is right with this estimated
    /// probability, and was the best candidate of so many misses, this one included. Whether it is to be judged.
    pub fn takes(&mut self, best: Option<(f64, u32)>) -> bool {
        self.misses += 1;
        let Some((right, times)) = best else { return false };
        let passes = right * right * f64::from(times) >= self.bar;
        // Not every miss has a candidate: of those that have one, twice the share may pass.
        self.bar *= if passes { 1.0 + STEP } else { 1.0 - 2.0 * self.share * STEP };
        let takes = passes && (self.taken as f64) < self.share * self.misses as f64;
        self.taken += u64::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_spends_its_share_and_never_more() {
        let mut asking = Asking::of_misses(0.1);
        let mut taken = 0;
        for miss in 1..=10_000_u32 {
            let right = f64::from(miss * 7_919 % 100) / 100.0;
            taken += u32::from(asking.takes((miss % 3 != 0).then_some((right, 1 + miss % 5))));
            assert!(f64::from(taken) < 0.1 * f64::from(miss) + 1.0);
        }
        assert!(taken > 900, "{taken}");
    }

    #[test]
    fn what_is_asked_for_often_and_likely_right_goes_first() {
        let mut asking = Asking::of_misses(0.1);
        let mut taken = [0; 2];
        for miss in 0..10_000 {
            let telling = miss % 5 == 0;
            let best = if telling { (0.9, 6) } else { (0.5, 2) };
            taken[usize::from(telling)] += u32::from(asking.takes(Some(best)));
        }
        assert!(taken[1] > 4 * taken[0], "{taken:?}");
    }
}
