//! All that an arm's rows leave behind: sums, from which every belief follows ([`super::regression`]).
//!
//! Sums are added, scaled and taken apart again, in any order and on any machine; so replicas merge, rows are corrected
//! and old ones fade without anything else being kept.

use super::linalg::{self, packed};

/// The sums of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// `sum w x x'`, packed.
    pub g: Vec<f64>,
    /// `sum w y x`.
    pub b: Vec<f64>,
    /// `sum w y^2`.
    pub yy: f64,
    /// `sum w`.
    pub n: f64,
}

impl Sums {
    /// No rows of `d` numbers.
    #[must_use]
    pub fn new(d: usize) -> Self {
        Self { g: vec![0.0; packed(d)], b: vec![0.0; d], yy: 0.0, n: 0.0 }
    }

    /// Adds a row; a negative weight takes it away again.
    pub fn add(&mut self, weight: f64, x: &[f64], y: f64) {
        linalg::add_outer(&mut self.g, weight, x);
        for (value, &xi) in self.b.iter_mut().zip(x) {
            *value += weight * y * xi;
        }
        self.yy += weight * y * y;
        self.n += weight;
    }

    /// Multiplies all sums.
    pub fn scale(&mut self, factor: f64) {
        self.numbers_mut().for_each(|value| *value *= factor);
    }

    /// Adds `factor` times another arm's sums.
    pub fn add_scaled(&mut self, other: &Self, factor: f64) {
        for (value, &more) in self.numbers_mut().zip(other.numbers()) {
            *value += factor * more;
        }
    }

    /// Every number, in a fixed order.
    pub fn numbers(&self) -> impl Iterator<Item = &f64> {
        self.g.iter().chain(&self.b).chain([&self.yy, &self.n])
    }

    /// Every number, in the same order.
    pub fn numbers_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.g.iter_mut().chain(&mut self.b).chain([&mut self.yy, &mut self.n])
    }
}
