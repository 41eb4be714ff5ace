//! From beliefs to probabilities, exactly: the draw is made from these numbers, so they are the propensities.

/// Width of a panel of the integration, in standard deviations of the narrowest arm that has a slope there.
const PANEL: f64 = 1.2;
/// How far from its mean an arm has a slope worth following, in standard deviations.
const SLOPE: f64 = 5.5;
/// Gauss-Legendre nodes on [-1, 1] and their weights.
const NODES: [(f64, f64); 4] = [
    (-0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
    (-0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
    (0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
    (0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
];
/// How far from a mean there is still something to integrate, in standard deviations.
const REACH: f64 = 6.5;
/// An arm this many standard deviations (of the difference) behind another wins with probability below 1e-6.
const HOPELESS: f64 = 4.9;

/// The probability that each arm's draw is the greatest, for independent normal draws of these means and
/// standard deviations. Sums to 1; accurate to about 1e-6, also where the deviations differ a hundredfold.
///
/// `P(a) = integral of phi((z - m_a)/s_a)/s_a prod_{j != a} Phi((z - m_j)/s_j) dz`, by Gauss-Legendre on panels
/// as wide as the narrowest arm that matters there allows: a uniform grid misses narrow arms beside wide ones.
#[must_use]
pub fn win_probabilities(means: &[f64], sds: &[f64]) -> Vec<f64> {
    let mut probabilities = vec![0.0; means.len()];
    if means.is_empty() {
        return probabilities;
    }
    let leader = (0..means.len()).fold(0, |best, arm| if means[arm] > means[best] { arm } else { best });
    let scale = means.iter().chain(sds).fold(0.0_f64, |most, value| most.max(value.abs()));
    let narrowest = (scale * 1e-9).max(f64::MIN_POSITIVE);
    let mut arms = Vec::with_capacity(means.len());
    for arm in 0..means.len() {
        let sd = sds[arm].max(narrowest);
        let apart = sd.hypot(sds[leader].max(narrowest));
        if means[leader] - means[arm] <= HOPELESS * apart {
            arms.push(Normal { arm, mean: means[arm], sd, precision: 1.0 / sd });
        }
    }
    if let [only] = arms.as_slice() {
        probabilities[only.arm] = 1.0;
        return probabilities;
    }
    integrate(&arms, &mut probabilities);
    let total: f64 = probabilities.iter().sum();
    if total > 0.0 {
        for p in &mut probabilities {
            *p /= total;
        }
    } else {
        probabilities[leader] = 1.0;
    }
    probabilities
}

struct Normal {
    arm: usize,
    mean: f64,
    sd: f64,
    /// `1 / sd`.
    precision: f64,
}

fn integrate(arms: &[Normal], probabilities: &mut [f64]) {
    let low = arms.iter().map(|a| a.mean - REACH * a.sd).fold(f64::NEG_INFINITY, f64::max);
    let high = arms.iter().map(|a| a.mean + REACH * a.sd).fold(f64::NEG_INFINITY, f64::max);
    let least = (high - low) * 1e-12;
    let mut at = [const { Slope { density: 0.0, below: 0.0, above: 0.0 } }; FEW];
    let mut many = Vec::new();
    let slopes = if arms.len() <= FEW {
        &mut at[..arms.len()]
    } else {
        many.resize_with(arms.len(), || Slope { density: 0.0, below: 0.0, above: 0.0 });
        &mut many[..]
    };
    let mut from = low;
    while from < high {
        let width = arms.iter().fold(high - from, |width, arm| width.min(arm.panel(from)));
        let half = width.max(least) / 2.0;
        let middle = from + half;
        from += 2.0 * half;
        for (node, weight) in NODES {
            let z = middle + half * node;
            // The product over the others, by what stands before and what stands after: no division by a tiny Phi.
            let mut after = 1.0;
            for (arm, slope) in arms.iter().zip(slopes.iter_mut()).rev() {
                let (density, below) = normal((z - arm.mean) * arm.precision);
                *slope = Slope { density: density * arm.precision, below, above: after };
                after *= below;
            }
            let mut before = half * weight;
            for (arm, slope) in arms.iter().zip(slopes.iter()) {
                probabilities[arm.arm] += before * slope.density * slope.above;
                before *= slope.below;
            }
        }
    }
}

/// Arms for which no memory need be asked for.
const FEW: usize = 16;

/// One arm at one node: its density, its distribution function, and the product of those of the arms after it.
#[derive(Clone)]
struct Slope {
    density: f64,
    below: f64,
    above: f64,
}

impl Normal {
    /// How wide a panel may be that starts here, for this arm's sake.
    fn panel(&self, from: f64) -> f64 {
        let begin = self.mean - SLOPE * self.sd;
        if from < begin {
            begin - from
        } else if from < self.mean + SLOPE * self.sd {
            PANEL * self.sd
        } else {
            f64::INFINITY
        }
    }
}

/// Density and distribution function of the standard normal; the latter to 7.5e-8 (Abramowitz and Stegun, 26.2.17).
fn normal(z: f64) -> (f64, f64) {
    let density = (-0.5 * z * z).exp() * 0.398_942_280_401_432_7;
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let polynomial =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = density * polynomial;
    (density, if z >= 0.0 { 1.0 - tail } else { tail })
}

/// Inverse gap weighting (`SquareCB`): every arm but the best has `1 / (K + gamma (u_best - u_a))`, the best the
/// rest. The first of equal bests counts as the best.
#[must_use]
pub fn inverse_gap(utilities: &[f64], gamma: f64) -> Vec<f64> {
    let best = (0..utilities.len()).fold(0, |best, arm| if utilities[arm] > utilities[best] { arm } else { best });
    let mut probabilities: Vec<f64> =
        utilities.iter().map(|u| 1.0 / (utilities.len() as f64 + gamma * (utilities[best] - u))).collect();
    if let Some(first) = probabilities.get_mut(best) {
        *first = 0.0;
        probabilities[best] = 1.0 - probabilities.iter().sum::<f64>();
    }
    probabilities
}

/// Raises every probability to at least its floor, and takes what that needs from those above theirs, in
/// proportion to how far they are above. An arm the algorithm tries often enough of itself costs nothing.
pub fn raise_to_floor(probabilities: &mut [f64], floor: &[f64]) {
    let (mut missing, mut spare) = (0.0, 0.0);
    for (p, f) in probabilities.iter().zip(floor) {
        missing += (f - p).max(0.0);
        spare += (p - f).max(0.0);
    }
    if missing <= 0.0 || spare <= 0.0 {
        return;
    }
    let keep = 1.0 - missing / spare;
    for (p, f) in probabilities.iter_mut().zip(floor) {
        *p = f + (*p - f).max(0.0) * keep;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= tolerance, "{found:?} is not {expected:?}");
        }
    }

    /// Two arms have a closed form: `P(first wins) = Phi((m_1 - m_2) / hypot(s_1, s_2))`.
    #[test]
    fn two_arms_agree_with_the_closed_form() {
        for (m, s, t) in [(0.02, 0.02, 0.02), (0.1, 0.001, 0.3), (-0.05, 0.3, 0.001), (0.0, 1e-6, 1.0)] {
            let first = normal(m / f64::hypot(s, t)).1;
            close(&win_probabilities(&[m, 0.0], &[s, t]), &[first, 1.0 - first], 3e-6);
        }
    }

    #[test]
    fn equal_beliefs_share_alike_and_certain_ones_take_all() {
        close(&win_probabilities(&[0.5; 5], &[0.1; 5]), &[0.2; 5], 1e-6);
        close(&win_probabilities(&[0.5, 0.6, 0.4], &[0.0; 3]), &[0.0, 1.0, 0.0], 0.0);
        close(&win_probabilities(&[0.5; 3], &[0.0; 3]), &[1.0 / 3.0; 3], 1e-6);
        assert_eq!(win_probabilities(&[0.3], &[0.1]), [1.0]);
        assert!(win_probabilities(&[], &[]).is_empty());
    }

    #[test]
    fn inverse_gap_weighting_has_its_closed_form() {
        close(&inverse_gap(&[-0.2, -0.5, -0.9], 10.0), &[1.0 - 1.0 / 6.0 - 1.0 / 10.0, 1.0 / 6.0, 1.0 / 10.0], 1e-12);
        close(&inverse_gap(&[0.3; 4], 50.0), &[0.25; 4], 1e-12);
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_order_follows_the_means(
            arms in prop::collection::vec((-1.0..1.0_f64, -7.0..0.0_f64), 1..20),
        ) {
            let means: Vec<f64> = arms.iter().map(|arm| arm.0).collect();
            let sds: Vec<f64> = arms.iter().map(|arm| arm.1.exp()).collect();
            let p = win_probabilities(&means, &sds);
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{p:?}");
            let alike = win_probabilities(&means, &vec![0.1; means.len()]);
            for a in 0..means.len() {
                for b in 0..means.len() {
                    prop_assert!(means[a] <= means[b] || alike[a] >= alike[b] - 1e-6);
                }
            }
        }

        #[test]
        fn the_floor_holds_and_the_sum_stays(
            raw in prop::collection::vec(0.0..1.0_f64, 2..12),
            share in 0.0..0.5_f64,
        ) {
            let total: f64 = raw.iter().sum::<f64>() + 1e-9;
            let mut p: Vec<f64> = raw.iter().map(|value| (value + 1e-9 / raw.len() as f64) / total).collect();
            let floor = vec![share / p.len() as f64; p.len()];
            raise_to_floor(&mut p, &floor);
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            for (p, f) in p.iter().zip(&floor) {
                prop_assert!(*p >= f - 1e-15, "{p} {f}");
            }
        }
    }
}
