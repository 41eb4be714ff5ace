//! Forgetting by the clock, in a form that does not depend on when it is done.
//!
//! A row of hour `e` weighs `2^((e - now)/H)`, H the half-life in hours. The sums are kept not relative to *now*
//! but to a landmark, the last multiple of H that any row has reached: a row is added once with
//! `2^((e - landmark)/H)`, and when the landmark moves on, the sums are halved. Halving is exact in binary
//! floating point and so is the shift of the weights, so adding a row and forgetting commute to the last bit:
//! early or late, replayed or live, the same rows give the same sums.

use crate::base::Timestamp;

/// Seconds of an epoch: within it, rows weigh alike.
const EPOCH_SECONDS: u64 = 3600;

/// A half-life and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgetting {
    /// Half-life in epochs; 0 = nothing is forgotten.
    half_life: u32,
    /// The latest epoch seen.
    epoch: u64,
}

impl Forgetting {
    /// Half-life in hours; 0 = nothing is forgotten.
    #[must_use]
    pub const fn new(half_life_hours: u32) -> Self {
        Self { half_life: half_life_hours, epoch: 0 }
    }

    /// With the latest epoch seen, as [`Self::epoch`] gave it.
    #[must_use]
    pub const fn at(half_life_hours: u32, epoch: u64) -> Self {
        Self { half_life: half_life_hours, epoch }
    }

    /// The half-life in hours; 0 = nothing is forgotten.
    #[must_use]
    pub const fn half_life(&self) -> u32 {
        self.half_life
    }

    /// The latest epoch seen: hours since the Unix epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Moves to this time, if it is later. Gives the factor (a power of two) that all sums must be multiplied by.
    #[must_use]
    pub fn advance(&mut self, at: Timestamp) -> f64 {
        self.advance_to(at.seconds() / EPOCH_SECONDS)
    }

    /// Moves to the later of both times. Gives the factors of the sums kept at `self` and at `other`.
    #[must_use]
    pub fn meet(&mut self, mut other: Self) -> (f64, f64) {
        let own = self.advance_to(other.epoch);
        (own, other.advance_to(self.epoch))
    }

    fn advance_to(&mut self, epoch: u64) -> f64 {
        if epoch <= self.epoch {
            return 1.0;
        }
        let before = self.landmark();
        self.epoch = epoch;
        // 2^-1100 is zero already; the clamp keeps the exponent an i32.
        power_of_two(before.cast_signed() - self.landmark().cast_signed())
    }

    /// Weight of a row of this time, relative to the landmark.
    #[must_use]
    pub fn weight(&self, at: Timestamp) -> f64 {
        if self.half_life == 0 {
            return 1.0;
        }
        let epoch = at.seconds() / EPOCH_SECONDS;
        let half_life = u64::from(self.half_life);
        let within = (epoch % half_life) as f64 / f64::from(self.half_life);
        within.exp2() * power_of_two((epoch / half_life).cast_signed() - self.landmark().cast_signed())
    }

    /// What the sums must be multiplied by to weigh as of the latest epoch.
    #[must_use]
    pub fn now(&self) -> f64 {
        if self.half_life == 0 {
            return 1.0;
        }
        (-((self.epoch % u64::from(self.half_life)) as f64 / f64::from(self.half_life))).exp2()
    }

    fn landmark(&self) -> u64 {
        self.epoch.checked_div(u64::from(self.half_life)).unwrap_or(0)
    }
}

fn power_of_two(exponent: i64) -> f64 {
    2.0_f64.powi(exponent.clamp(-1100, 1000) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(hours: u64) -> Timestamp {
        Timestamp(hours * 3_600_000_000)
    }

    #[test]
    fn a_row_weighs_half_after_a_half_life() {
        let mut forgetting = Forgetting::new(10);
        assert_eq!(forgetting.advance(hours(57)), 2.0_f64.powi(-5));
        let fresh = forgetting.weight(hours(57)) * forgetting.now();
        let old = forgetting.weight(hours(47)) * forgetting.now();
        assert!((fresh - 1.0).abs() < 1e-15);
        assert!((old - 0.5).abs() < 1e-15);
    }

    #[test]
    fn adding_and_forgetting_commute_to_the_last_bit() {
        let rows: Vec<(u64, f64)> = (0..500).map(|i| (i * 7 % 400 + i / 2, 0.1 + 1.0 / (i as f64 + 3.0))).collect();
        let sum = |ahead: bool| {
            let mut forgetting = Forgetting::new(24);
            let mut total = 0.0;
            for (i, &(hour, value)) in rows.iter().enumerate() {
                total *= forgetting.advance(hours(hour));
                if ahead && i % 3 == 0 {
                    total *= forgetting.advance(hours(hour + 90));
                }
                total += forgetting.weight(hours(hour)) * value;
            }
            total *= forgetting.advance(hours(1_000));
            total
        };
        assert_eq!(sum(false).to_bits(), sum(true).to_bits());
        assert!(sum(true) > 0.0);
    }

    #[test]
    fn no_half_life_forgets_nothing() {
        let mut forgetting = Forgetting::new(0);
        assert_eq!(forgetting.advance(hours(1_000_000)), 1.0);
        assert_eq!(forgetting.weight(hours(3)) * forgetting.now(), 1.0);
    }
}
