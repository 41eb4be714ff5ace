//! How far an estimate may be off: bounds on a mean from its terms.
//!
//! `n` terms `z`, error probability `delta`. The normal and Student bounds hold for large `n` only and are close;
//! Hoeffding's and the empirical Bernstein bounds hold for every `n` given the range of the terms, and are wide.
//! The range must be known beforehand: a sample's own maximum is none. For DR terms of rewards in `0..=1` and
//! weights up to `w_max` it is `1 + w_max`, the terms going down to `-w_max`.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::estimate::mean;
use crate::base::Seed;

/// An interval for a mean.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Its lower end.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
}

/// `z_q`, the quantile of the standard normal distribution.
#[must_use]
pub fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// `mean - z_(1 - delta) sd / sqrt n`. `None` for fewer than two terms.
#[must_use]
pub fn normal_lower(terms: &[f64], delta: f64) -> Option<f64> {
    Some(mean_of(terms) - normal_quantile(1.0 - delta) * standard_error(terms)?)
}

/// The two-sided normal interval of this error probability. `None` for fewer than two terms.
#[must_use]
pub fn normal_interval(terms: &[f64], delta: f64) -> Option<Interval> {
    let half = normal_quantile(1.0 - delta / 2.0) * standard_error(terms)?;
    let mean = mean_of(terms);
    Some(Interval { lower: mean - half, upper: mean + half })
}

/// `mean - t_(1 - delta, n - 1) sd / sqrt n`. `None` for fewer than two terms.
#[must_use]
pub fn student_lower(terms: &[f64], delta: f64) -> Option<f64> {
    let error = standard_error(terms)?;
    let student = StudentsT::new(0.0, 1.0, terms.len() as f64 - 1.0).ok()?;
    Some(mean_of(terms) - student.inverse_cdf(1.0 - delta) * error)
}

/// Hoeffding's bound for terms in `0..=largest`: `mean - largest sqrt(ln(1/delta) / 2n)`. `None` for no terms.
#[must_use]
pub fn hoeffding_lower(terms: &[f64], largest: f64, delta: f64) -> Option<f64> {
    let n = terms.len() as f64;
    (n > 0.0).then(|| mean_of(terms) - largest * ((1.0 / delta).ln() / (2.0 * n)).sqrt())
}

/// The empirical Bernstein bound of Maurer and Pontil for terms in an interval of this width:
/// `mean - sqrt(2 var ln(2/delta) / n) - 7 width ln(2/delta) / 3(n-1)`. `None` for fewer than two terms.
#[must_use]
pub fn maurer_pontil_lower(terms: &[f64], width: f64, delta: f64) -> Option<f64> {
    let n = terms.len() as f64;
    let log = (2.0 / delta).ln();
    let variance = variance(terms)?;
    Some(mean_of(terms) - (2.0 * variance * log / n).sqrt() - 7.0 * width * log / (3.0 * (n - 1.0)))
}

/// The form of the empirical Bernstein bound in the Open Bandit Pipeline, for terms in `0..=largest`; the
/// variance there has the divisor `n`, its factor `n - 1`. For IPS terms only. `None` for fewer than two terms.
#[must_use]
pub fn bernstein_lower(terms: &[f64], largest: f64, delta: f64) -> Option<f64> {
    let n = terms.len() as f64;
    let log = (2.0 / delta).ln();
    let variance = variance(terms)? * (n - 1.0) / n;
    Some(mean_of(terms) - (2.0 * log * variance / (n - 1.0)).sqrt() - 7.0 * largest * log / (3.0 * (n - 1.0)))
}

/// The percentile bootstrap: the interval that holds `1 - delta` of the means of so many resamples, drawn from
/// this seed. `None` for no terms or no resamples.
#[must_use]
pub fn bootstrap(terms: &[f64], delta: f64, resamples: usize, seed: Seed) -> Option<Interval> {
    use rand::{RngExt, SeedableRng};
    if terms.is_empty() || resamples == 0 {
        return None;
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed.0);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| {
            let drawn: f64 = (0..terms.len()).map(|_| terms[rng.random_range(0..terms.len())]).sum();
            drawn / terms.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    Some(Interval { lower: percentile(&means, delta / 2.0), upper: percentile(&means, 1.0 - delta / 2.0) })
}

/// The quantile of sorted values, between neighbours by proportion.
fn percentile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

fn mean_of(terms: &[f64]) -> f64 {
    mean(terms.iter().copied())
}

/// With the divisor `n - 1`; `None` for fewer than two terms.
fn variance(terms: &[f64]) -> Option<f64> {
    if terms.len() < 2 {
        return None;
    }
    let mean = mean_of(terms);
    let squares: f64 = terms.iter().map(|term| (term - mean) * (term - mean)).sum();
    Some(squares / (terms.len() as f64 - 1.0))
}

/// `sd / sqrt n`; `None` for fewer than two terms.
pub(super) fn standard_error(terms: &[f64]) -> Option<f64> {
    Some((variance(terms)? / terms.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_stand_in_their_order() {
        let terms: Vec<f64> = (0..50).map(|n| Seed(n).uniform("term")).collect();
        let normal = normal_lower(&terms, 0.05).expect("enough terms");
        let student = student_lower(&terms, 0.05).expect("enough terms");
        let hoeffding = hoeffding_lower(&terms, 1.0, 0.05).expect("enough terms");
        let bernstein = maurer_pontil_lower(&terms, 1.0, 0.05).expect("enough terms");
        assert!(mean_of(&terms) > normal && normal > student && student > hoeffding && hoeffding > bernstein);
    }

    #[test]
    fn what_needs_a_spread_needs_two_terms() {
        assert_eq!(normal_lower(&[1.0], 0.05), None);
        assert_eq!(maurer_pontil_lower(&[1.0], 1.0, 0.05), None);
        assert_eq!(bootstrap(&[], 0.05, 100, Seed(1)), None);
    }

    #[test]
    fn known_quantiles_and_a_known_bound() {
        // Tables: z = 1.6448536, t with 9 degrees = 1.8331129.
        assert!((normal_quantile(0.95) - 1.644_853_626_951_472_7).abs() < 1e-12);
        let terms: Vec<f64> = (0..10).map(f64::from).collect();
        let error = (82.5_f64 / 9.0 / 10.0).sqrt();
        let student = student_lower(&terms, 0.05).expect("enough terms");
        assert!((student - (4.5 - 1.833_112_932_656_236_5 * error)).abs() < 1e-9, "{student}");
    }

    #[test]
    fn a_bootstrap_is_repeatable_and_about_as_wide_as_the_normal_interval() {
        let terms: Vec<f64> = (0..400).map(|n| Seed(n).uniform("term")).collect();
        let interval = bootstrap(&terms, 0.05, 2_000, Seed(1)).expect("enough terms");
        assert_eq!(Some(interval), bootstrap(&terms, 0.05, 2_000, Seed(1)));
        let normal = normal_interval(&terms, 0.05).expect("enough terms");
        assert!((interval.lower - normal.lower).abs() < 0.004, "{interval:?} {normal:?}");
        assert!((interval.upper - normal.upper).abs() < 0.004);
    }
}
