//! The published rule, vCache, from the formulas of its paper (arXiv 2502.03771); to compare with.
//!
//! An entry's chance of being right is a logistic curve of the similarity, fitted without a penalty; its threshold's
//! variance, by the delta method or from a table where the data are separable, gives an upper bound of the risk, and a
//! request explores with the least probability that keeps the whole risk under delta.
//!
//! On separable data the fit has no maximum, and where the search stops decides how often is served. Newton's steps
//! from (0, 0), stopped at a mean gradient under 1e-8, give the hit rates of the published program; that is what is
//! done here.

/// Variances of the threshold on separable data by the number of observations, six and more, as published with the
/// rule (`vcache-project/vCache` at `e616dac3`, Apache-2.0); the last stands for all greater numbers.
const SEPARABLE: [f64; 43] = [
    0.035_445, 0.028_285, 0.026_436, 0.021_349, 0.019_371, 0.012_615, 0.011_433, 0.010_228, 0.009_963, 0.009_253,
    0.011_674, 0.013_015, 0.010_897, 0.011_841, 0.013_081, 0.010_585, 0.014_255, 0.012_058, 0.013_002, 0.011_715,
    0.008_390, 0.008_839, 0.010_628, 0.009_899, 0.008_033, 0.004_570, 0.007_335, 0.008_932, 0.007_290, 0.007_445,
    0.007_610, 0.011_423, 0.011_233, 0.006_783, 0.005_233, 0.008_720, 0.010_005, 0.011_990, 0.009_770, 0.018_910,
    0.015_130, 0.021_090, 0.015_310,
];

/// Fewer observations than these (two of them given) always explore.
const FEWEST: usize = 6;

/// What is known of one entry.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    seen: Vec<(f64, bool)>,
    /// Threshold, slope, variance of the threshold; made when first needed.
    fit: Option<(f64, f64, f64)>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { seen: vec![(0.0, false), (1.0, true)], fit: None }
    }
}

fn rounded(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

impl Curve {
    pub(super) fn learn(&mut self, similarity: f64, right: bool) {
        self.seen.push((rounded(similarity), right));
        self.fit = None;
    }

    /// Whether to serve; `uniform` is the request's draw in `[0, 1)`.
    pub(super) fn serves(&mut self, similarity: f64, delta: f64, uniform: f64) -> bool {
        if self.seen.len() < FEWEST {
            return false;
        }
        let s = rounded(similarity);
        let (t, g, variance) = *self.fit.get_or_insert_with(|| fit(&self.seen));
        let tau = (0..50)
            .map(|i| {
                let e = 1e-6 + (1.0 - 2e-6) * f64::from(i) / 49.0;
                let bound = (t + normal_quantile(1.0 - e) * variance.sqrt()).clamp(0.0, 1.0);
                let alpha = (1.0 - e) * logistic(g * (s - bound));
                1.0 - delta / (1.0 - alpha)
            })
            .fold(f64::INFINITY, f64::min);
        uniform > tau
    }
}

fn fit(seen: &[(f64, bool)]) -> (f64, f64, f64) {
    let (mut b, mut g) = (0.0, 0.0);
    let n = seen.len() as f64;
    for _ in 0..100 {
        let (mut db, mut dg, mut h) = (0.0, 0.0, [0.0; 3]);
        for &(s, right) in seen {
            let p = logistic(b + g * s);
            let (error, weight) = (f64::from(u8::from(right)) - p, p * (1.0 - p));
            db += error;
            dg += error * s;
            h = [h[0] + weight, h[1] + weight * s, h[2] + weight * s * s];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        if db.hypot(dg) / n < 1e-8 || determinant <= 0.0 || !determinant.is_finite() {
            break;
        }
        b += (h[2] * db - h[1] * dg) / determinant;
        g += (h[0] * dg - h[1] * db) / determinant;
    }
    let g = g.max(1e-6);
    let t = (-b / g).clamp(0.0, 1.0);
    let variance = if separable(seen) { table(seen.len()) } else { by_delta(seen, b, g) };
    (rounded(t), rounded(g), variance)
}

fn separable(seen: &[(f64, bool)]) -> bool {
    let right = seen.iter().filter(|(_, right)| *right).map(|(s, _)| *s).fold(f64::INFINITY, f64::min);
    let wrong = seen.iter().filter(|(_, right)| !right).map(|(s, _)| *s).fold(f64::NEG_INFINITY, f64::max);
    right > wrong
}

fn table(count: usize) -> f64 {
    SEPARABLE[count.saturating_sub(FEWEST).min(SEPARABLE.len() - 1)]
}

fn by_delta(seen: &[(f64, bool)], b: f64, g: f64) -> f64 {
    let mut h = [0.0; 3];
    for &(s, _) in seen {
        let p = logistic(b + g * s);
        let weight = p * (1.0 - p);
        h = [h[0] + weight, h[1] + weight * s, h[2] + weight * s * s];
    }
    let determinant = h[0] * h[2] - h[1] * h[1];
    let (db, dg) = (-1.0 / g, b / (g * g));
    let variance = (h[2] * db * db - 2.0 * h[1] * db * dg + h[0] * dg * dg) / determinant;
    if variance.is_finite() { variance.max(0.0) } else { 1.0 }
}

/// The standard normal's quantile.
fn normal_quantile(p: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().inverse_cdf(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_explores_until_it_has_seen_enough_and_serves_where_it_was_right() {
        let mut curve = Curve::default();
        for (s, right) in [(0.7, false), (0.75, false), (0.95, true)] {
            curve.learn(s, right);
        }
        assert!(!curve.serves(0.99, 0.05, 0.999_999));
        for (s, right) in [(0.96, true), (0.97, true), (0.8, false), (0.98, true)] {
            curve.learn(s, right);
        }
        assert!(curve.serves(1.0, 0.05, 0.999));
        assert!(!curve.serves(0.7, 0.01, 0.5));
    }

    #[test]
    fn the_table_begins_at_six_observations_and_its_last_value_stays() {
        assert_eq!([6, 7, 13, 48, 90].map(table), [0.035_445, 0.028_285, 0.010_228, 0.015_31, 0.015_31]);
    }

    #[test]
    fn mixed_labels_have_a_finite_fit() {
        let seen = [(0.0, false), (1.0, true), (0.8, true), (0.9, false), (0.7, false), (0.95, true)];
        let (t, g, variance) = fit(&seen);
        assert!((0.6..1.0).contains(&t) && g > 1.0 && variance > 0.0, "{t} {g} {variance}");
    }
}
