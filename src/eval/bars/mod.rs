//! What the policy is held to: every promise made of it, measured, beside its bar.
//!
//! Worlds whose truth is known ([`worlds`]), public outcomes played one answer at a time ([`streams`]) and budgets
//! ([`paced`]). Contexts are those of the served feature map. Figures that need a clock (how long things take) are the
//! command's own.

pub mod paced;
pub mod streams;
pub mod worlds;

use serde::Serialize;

/// One figure and what it is held to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is measured.
    pub subject: String,
    /// The figure.
    pub figure: f64,
    /// Its standard error over orders or seeds; `None` = it is exact or has none.
    pub error: Option<f64>,
    /// Whether it must be at most (`true`) or at least the bound.
    pub at_most: bool,
    /// The bound; `None` = shown beside, held to nothing.
    pub bound: Option<f64>,
    /// Digits worth printing.
    pub digits: usize,
}

impl Bar {
    /// A figure that must not pass its bound.
    #[must_use]
    pub fn at_most(subject: impl Into<String>, figure: f64, bound: f64) -> Self {
        Self { at_most: true, bound: Some(bound), ..Self::shown(subject, figure) }
    }

    /// A figure that must reach its bound.
    #[must_use]
    pub fn at_least(subject: impl Into<String>, figure: f64, bound: f64) -> Self {
        Self { bound: Some(bound), ..Self::shown(subject, figure) }
    }

    /// A figure that stands beside.
    #[must_use]
    pub fn shown(subject: impl Into<String>, figure: f64) -> Self {
        Self { subject: subject.into(), figure, error: None, at_most: false, bound: None, digits: 3 }
    }

    /// With this standard error.
    #[must_use]
    pub fn with_error(self, error: f64) -> Self {
        Self { error: Some(error), ..self }
    }

    /// With so many digits.
    #[must_use]
    pub fn digits(self, digits: usize) -> Self {
        Self { digits, ..self }
    }

    /// Whether it holds; `None` where it is held to nothing. A figure that is no number does not hold.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        let bound = self.bound?;
        Some(if self.at_most { self.figure <= bound } else { self.figure >= bound })
    }
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}
