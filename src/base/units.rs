//! Amounts with a meaning. An unknown amount is `None` of one of these, never a zero.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub f64);

impl Usd {
    /// No money.
    pub const ZERO: Self = Self(0.0);

    /// The amount as a plain number of dollars.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Usd {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let amount = text.trim().strip_suffix("USD").and_then(|number| number.trim().parse::<f64>().ok());
        let positive = amount.filter(|amount| amount.is_finite() && *amount > 0.0);
        positive.map(Self).ok_or_else(|| NotMoney(text.to_owned()))
    }
}

/// A text that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount such as \"0.02 USD\", got {0:?}")]
pub struct NotMoney(pub String);

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Mul<f64> for Usd {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        Self(self.0 * factor)
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0.0 && self.0.abs() < 0.01 { write!(f, "${:.6}", self.0) } else { write!(f, "${:.2}", self.0) }
    }
}

/// A number that was expected in `0..=1` and was not (or was not a number at all).
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("expected a number from 0 to 1, got {0}")]
pub struct OutOfUnitRange(pub f64);

macro_rules! unit_interval {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0.0);
            /// One.
            pub const ONE: Self = Self(1.0);

            /// Checks that `value` is finite and in `0..=1`.
            ///
            /// # Errors
            /// [`OutOfUnitRange`] with the value that was refused.
            pub fn new(value: f64) -> Result<Self, OutOfUnitRange> {
                if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(OutOfUnitRange(value)) }
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfUnitRange;
            fn try_from(value: f64) -> Result<Self, OutOfUnitRange> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:.3}", self.0)
            }
        }
    };
}

unit_interval!(
    /// How good an answer was: 0 worthless, 1 perfect.
    Score
);
unit_interval!(
    /// A probability.
    Probability
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_outside_the_unit_interval_is_refused() {
        for bad in [f64::NAN, -0.001, 1.001, f64::INFINITY] {
            assert!(Score::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Score::new(1.0), Ok(Score::ONE));
    }

    #[test]
    fn a_score_read_from_json_is_checked() {
        assert!(serde_json::from_str::<Score>("1.5").is_err());
        assert_eq!(serde_json::from_str::<Score>("0.25").expect("in range").get(), 0.25);
    }
}
