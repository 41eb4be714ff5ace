//! Bayesian linear regression for several arms that resemble each other, from additive sums.
//!
//! Arm `a` has rows `(x, y)` with `y = theta_a'x + noise`, and its coefficients are one draw around shared ones:
//! `theta_a ~ N(theta_0, sigma^2 L^-1)`, `theta_0 ~ N(m_0, sigma^2 L_0^-1)`. All of it follows exactly from the
//! sums `G = sum w x x'`, `b = sum w y x`, `sum w y^2` and `sum w` of each arm:
//!
//! - `A_a = G_a + L`,
//! - `theta_0 = Q^-1 (L_0 m_0 + sum_a L A_a^-1 b_a)` with `Q = L_0 + sum_a (L - L A_a^-1 L)`,
//! - `theta_a = A_a^-1 (b_a + L theta_0)`,
//! - the sum of squared one-step-ahead errors, each divided by its predictive variance, is
//!   `R_a = sum w y^2 + theta_0'L theta_0 - theta_a'A_a theta_a`. It is the quadratic form of the marginal
//!   likelihood, so it needs no errors logged while learning, and is the same whenever it is computed.
//!
//! How much a context tells differs from one stream of requests to another, and so does the `L` that fits. Where a
//! [`Prior`] names looser ridges, they are tried one after the other for as long as the marginal likelihood of all rows
//! rises, and the one under which it is greatest is taken, if it is greater than under the usual one by more than
//! chance: `-1/2 sum_a ln(|A_a|/|L|) - 1/2 ln(|Q|/|L_0|) - (n + n_0)/2 ln(R + n_0 s_0^2)`, up to a constant, with the
//! `R` of all arms together, `sum_a (sum w y^2 - b_a'A_a^-1 b_a) + m_0'L_0 m_0 - theta_0'Q theta_0`. It too is a function
//! of the sums alone, and needs no arm's own coefficients.
//!
//! The ridge `L` stays outside the sums and is never forgotten: a direction that is no longer seen becomes as
//! uncertain as it was at first, and never more. Nothing inverse is carried from one fit to the next.

use super::lanes::{Four, LANES, Number as _, wide};
use super::linalg::{self, packed};
use super::quad::{Quad, Residuals, Solved, column};
use super::sums::Sums;
use super::triangle::Triangle;

/// What is believed before any row.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// Diagonal of `L`: how closely an arm follows the shared coefficients, in rows.
    pub ridge: Vec<f64>,
    /// Other diagonals, ever looser, one of which is taken where the rows speak for it.
    pub looser_ridges: Vec<Vec<f64>>,
    /// Diagonal of `L_0`: how closely the shared coefficients follow `mean`, in rows.
    pub shared_ridge: Vec<f64>,
    /// `m_0`.
    pub mean: Vec<f64>,
    /// Noise variance expected before any row.
    pub noise: f64,
    /// How many rows that expectation is worth, for all arms together.
    pub noise_rows: f64,
    /// How many rows the common noise variance is worth to one arm.
    pub arm_noise_rows: f64,
}

/// What is believed of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// Expected coefficients.
    pub theta: Vec<f64>,
    /// Inverse of the Cholesky factor of `A`, packed.
    factor: Vec<f64>,
    /// First diagonal element of `A^-1`.
    corner: f64,
    /// Noise variance.
    pub noise: f64,
    /// Rows behind it (weights).
    pub n: f64,
    /// Whether a looser ridge was taken: the contexts tell the arms apart.
    pub looser: bool,
}

impl Posterior {
    /// Expected `y` at `x`.
    #[must_use]
    pub fn mean(&self, x: &[f64]) -> f64 {
        linalg::inner(&self.theta, x)
    }

    /// Standard deviation of the expected `y` at `x` (the noise of a single row is not in it).
    #[must_use]
    pub fn sd(&self, x: &[f64]) -> f64 {
        (self.noise * linalg::squared_length(&self.factor, x)).sqrt()
    }

    /// Standard deviation of the first coefficient, the bias.
    #[must_use]
    pub fn bias_sd(&self) -> f64 {
        (self.noise * self.corner).sqrt()
    }
}

/// What is believed of all arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// One for each arm, in order.
    pub arms: Vec<Posterior>,
    /// What is believed of an arm without rows.
    pub fresh: Posterior,
}

/// How many nats of evidence a looser ridge must be ahead. Real specialists reach it within some hundred answers; with
/// less, chance reaches it too, and a stream whose contexts tell little then settles early, now and then on the wrong arm.
const MARGIN: f64 = 20.0;

/// Fits all arms at once. `factor` multiplies all sums first (to weigh them as of now).
#[must_use]
pub fn fit<'a>(prior: &Prior, sums: impl Iterator<Item = &'a Sums>, factor: f64) -> Fit {
    let sums: Vec<&Sums> = sums.collect();
    let quads: Vec<Quad> = sums.chunks(LANES).map(|arms| Quad::new(arms, prior.ridge.len(), factor)).collect();
    let mut chosen = Joint::new(prior, &prior.ridge, &quads);
    let (mut bar, mut before) = (chosen.evidence + MARGIN, chosen.evidence);
    for ridge in &prior.looser_ridges {
        let looser = Joint::new(prior, ridge, &quads);
        let evidence = looser.evidence;
        if evidence > bar {
            bar = evidence;
            chosen = Joint { looser: true, ..looser };
        }
        if evidence < before {
            break;
        }
        before = evidence;
    }
    chosen.fit(prior)
}

/// All arms under one ridge.
struct Joint<'a> {
    ridge: &'a [f64],
    quads: Vec<Solved>,
    shared: Vec<f64>,
    rows: f64,
    /// Log marginal likelihood, up to a constant that all ridges share.
    evidence: f64,
    looser: bool,
}

impl<'a> Joint<'a> {
    fn new(prior: &Prior, ridge: &'a [f64], quads: &[Quad]) -> Self {
        let d = ridge.len();
        let (mut room, mut inverses) = (Triangle::zeros(d), Triangle::zeros(d));
        let quads: Vec<Solved> = quads.iter().map(|quad| Solved::new(ridge, quad, &mut room, &mut inverses)).collect();
        let places = (quads.len() * LANES) as f64;
        let mut q = inverses.packed(d, |inverse| inverse.sum());
        let mut target = Vec::with_capacity(d);
        let mut at = 0;
        for (i, l) in ridge.iter().enumerate() {
            for (q, other) in q[at..=at + i].iter_mut().zip(ridge) {
                *q *= -(l * other);
            }
            at += i + 1;
            q[at - 1] += prior.shared_ridge[i] + places * l;
            let bases = quads.iter().fold(Four::of(0.0), |sum, quad| sum + quad.base[i]).sum();
            target.push(prior.shared_ridge[i] * prior.mean[i] + l * bases);
        }
        let rows: f64 = quads.iter().map(|quad| quad.n.sum()).sum();
        let mut joint = Self { ridge, quads, shared: target, rows, evidence: f64::NEG_INFINITY, looser: false };
        // L_0 keeps Q positive definite; rounding could spoil that only with sums near the largest numbers.
        if !linalg::cholesky(&mut q, d) {
            joint.shared.clone_from(&prior.mean);
            return joint;
        }
        linalg::solve_lower(&q, &mut joint.shared);
        let explained = linalg::inner(&joint.shared, &joint.shared);
        linalg::solve_upper(&q, &mut joint.shared);
        let half_log = |diagonal: &[f64]| diagonal.iter().map(|x| 0.5 * x.ln()).sum::<f64>();
        let log_volume = places * half_log(ridge)
            + joint.quads.iter().map(|quad| quad.log_volume(d)).sum::<f64>()
            + half_log(&prior.shared_ridge)
            - (0..d).map(|i| q[packed(i + 1) - 1].ln()).sum::<f64>();
        let expected: f64 = prior.shared_ridge.iter().zip(&prior.mean).map(|(l, m)| l * m * m).sum();
        let squares = joint.quads.iter().map(Solved::squares).sum::<f64>() + expected - explained;
        let residual = squares.max(0.0) + prior.noise * prior.noise_rows;
        joint.evidence = log_volume - (rows + prior.noise_rows) / 2.0 * residual.ln();
        joint
    }

    fn fit(self, prior: &Prior) -> Fit {
        let d = self.ridge.len();
        let pull: Vec<f64> = self.ridge.iter().zip(&self.shared).map(|(l, t)| l * t).collect();
        let shared_quadratic = linalg::inner(&pull, &self.shared);
        let pull = column(d, |i| Four::of(pull[i]));
        let residuals: Vec<(Vec<Four>, [f64; LANES])> =
            self.quads.iter().map(|solved| wide(Residuals { solved, pull: &pull, shared_quadratic })).collect();
        let squares: f64 = self.quads.iter().zip(&residuals).flat_map(|(quad, (_, of))| &of[..quad.arms]).sum();
        let noise = (squares + prior.noise * prior.noise_rows) / (self.rows + prior.noise_rows);
        let mut arms = Vec::new();
        for (quad, (theta, residual)) in self.quads.iter().zip(&residuals) {
            for (arm, residual) in residual.iter().enumerate().take(quad.arms) {
                let (n, factor) = (quad.n.0[arm], quad.factor.packed(d, |four| four.0[arm]));
                arms.push(Posterior {
                    theta: theta[..d].iter().map(|four| four.0[arm]).collect(),
                    corner: (0..d).map(|i| factor[packed(i)].powi(2)).sum(),
                    factor,
                    noise: (residual + prior.arm_noise_rows * noise) / (n + prior.arm_noise_rows),
                    n,
                    looser: self.looser,
                });
            }
        }
        let factor = diagonal(&self.ridge.iter().map(|l| 1.0 / l.sqrt()).collect::<Vec<_>>());
        let fresh =
            Posterior { theta: self.shared, factor, corner: 1.0 / self.ridge[0], noise, n: 0.0, looser: self.looser };
        Fit { arms, fresh }
    }
}

fn diagonal(values: &[f64]) -> Vec<f64> {
    let mut matrix = vec![0.0; packed(values.len())];
    for (i, &value) in values.iter().enumerate() {
        matrix[packed(i + 1) - 1] = value;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Seed;

    fn prior(d: usize) -> Prior {
        let mut mean = vec![0.0; d];
        mean[0] = 0.5;
        Prior {
            ridge: (0..d).map(|i| 2.0 + i as f64).collect(),
            looser_ridges: Vec::new(),
            shared_ridge: vec![1.5; d],
            mean,
            noise: 0.16,
            noise_rows: 10.0,
            arm_noise_rows: 20.0,
        }
    }

    /// The same model as one large regression on (shared, arm 1's own, arm 2's own) coefficients, solved densely.
    fn in_one_piece(prior: &Prior, arms: &[Vec<(Vec<f64>, f64)>]) -> Vec<Vec<f64>> {
        let d = prior.ridge.len();
        let all = d * (arms.len() + 1);
        let mut a = vec![0.0; packed(all)];
        let mut b = vec![0.0; all];
        for i in 0..d {
            a[packed(i + 1) - 1] = prior.shared_ridge[i];
            b[i] = prior.shared_ridge[i] * prior.mean[i];
            for arm in 1..=arms.len() {
                a[packed(arm * d + i + 1) - 1] = prior.ridge[i];
            }
        }
        for (arm, rows) in arms.iter().enumerate() {
            for (x, y) in rows {
                let mut long = vec![0.0; all];
                long[..d].copy_from_slice(x);
                long[(arm + 1) * d..(arm + 2) * d].copy_from_slice(x);
                linalg::add_outer(&mut a, 1.0, &long);
                b.iter_mut().zip(&long).for_each(|(to, x)| *to += y * x);
            }
        }
        assert!(linalg::cholesky(&mut a, all));
        linalg::solve_lower(&a, &mut b);
        linalg::solve_upper(&a, &mut b);
        (1..=arms.len()).map(|arm| (0..d).map(|i| b[i] + b[arm * d + i]).collect()).collect()
    }

    fn sums_of(arms: &[Vec<(Vec<f64>, f64)>]) -> Vec<Sums> {
        let sums = |rows: &Vec<(Vec<f64>, f64)>| {
            let mut sums = Sums::new(3);
            rows.iter().for_each(|(x, y)| sums.add(1.0, x, *y));
            sums
        };
        arms.iter().map(sums).collect()
    }

    fn rows() -> impl Strategy<Value = Vec<(Vec<f64>, f64)>> {
        let x = prop::collection::vec(-1.5..1.5_f64, 3).prop_map(|mut x| {
            x[0] = 1.0;
            x
        });
        prop::collection::vec((x, 0.0..1.0_f64), 0..25)
    }

    proptest! {
        #[test]
        fn the_fit_from_sums_is_the_fit_of_all_arms_in_one_piece(one in rows(), two in rows()) {
            let arms = [one, two];
            let prior = prior(3);
            let fit = fit(&prior, sums_of(&arms).iter(), 1.0);
            for (arm, expected) in fit.arms.iter().zip(in_one_piece(&prior, &arms)) {
                for (found, expected) in arm.theta.iter().zip(&expected) {
                    prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
                }
                prop_assert!(arm.noise > 0.0 && arm.noise < 1.0);
            }
        }

        #[test]
        fn the_evidence_from_sums_is_the_evidence_of_all_rows_in_one_piece(one in rows(), two in rows()) {
            let arms = [one, two];
            let prior = prior(3);
            let sums = sums_of(&arms);
            let quads = [Quad::new(&sums.iter().collect::<Vec<_>>(), 3, 1.0)];
            for ridge in [&prior.ridge, &vec![0.5, 3.0, 0.1]] {
                let (found, expected) =
                    (Joint::new(&prior, ridge, &quads).evidence, evidence_in_one_piece(&prior, ridge, &arms));
                prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }

        #[test]
        fn the_noise_comes_from_one_step_ahead_errors(rows in rows()) {
            // With the shared coefficients held at their mean, R is the sum of e^2 / (1 + h) along the rows.
            let prior = Prior { shared_ridge: vec![1e9; 3], ..prior(3) };
            let mut sums = Sums::new(3);
            let mut expected = 0.0;
            for (x, y) in &rows {
                let before = &fit(&prior, std::iter::once(&sums), 1.0).arms[0];
                let h = before.sd(x).powi(2) / before.noise;
                expected += (y - before.mean(x)).powi(2) / (1.0 + h);
                sums.add(1.0, x, *y);
            }
            let n = rows.len() as f64;
            let common = (expected + 1.6) / (n + 10.0);
            let arm = &fit(&prior, std::iter::once(&sums), 1.0).arms[0];
            prop_assert!((arm.noise - (expected + 20.0 * common) / (n + 20.0)).abs() < 1e-6);
        }
    }

    /// Log marginal likelihood up to a constant, by the covariance of all rows.
    fn evidence_in_one_piece(prior: &Prior, ridge: &[f64], arms: &[Vec<(Vec<f64>, f64)>]) -> f64 {
        let rows: Vec<_> =
            arms.iter().enumerate().flat_map(|(arm, rows)| rows.iter().map(move |row| (arm, row))).collect();
        let mut v = Vec::new();
        for (i, (arm, (x, _))) in rows.iter().enumerate() {
            for (j, (other, (z, _))) in rows[..=i].iter().enumerate() {
                let own = f64::from(u8::from(arm == other));
                let terms = (0..x.len()).map(|k| x[k] * z[k] * (1.0 / prior.shared_ridge[k] + own / ridge[k]));
                v.push(terms.sum::<f64>() + f64::from(u8::from(i == j)));
            }
        }
        let mut errors: Vec<f64> = rows.iter().map(|(_, (x, y))| y - linalg::inner(x, &prior.mean)).collect();
        assert!(linalg::cholesky(&mut v, rows.len()));
        linalg::solve_lower(&v, &mut errors);
        let residual = linalg::inner(&errors, &errors) + prior.noise * prior.noise_rows;
        let log_volume: f64 = (0..rows.len()).map(|i| v[packed(i + 1) - 1].ln()).sum();
        -log_volume - (rows.len() as f64 + prior.noise_rows) / 2.0 * residual.ln()
    }

    /// What a fit says of every arm, as one number: FNV-1a over all bits.
    fn digest(fit: &Fit, x: &[f64]) -> u64 {
        let numbers =
            fit.arms.iter().chain([&fit.fresh]).flat_map(|arm| {
                arm.theta.iter().copied().chain([arm.noise, arm.n, arm.bias_sd(), arm.sd(x), arm.mean(x)])
            });
        numbers.fold(0xcbf2_9ce4_8422_2325, |hash, number| (hash ^ number.to_bits()).wrapping_mul(0x0100_0000_01b3))
    }

    #[test]
    fn the_bits_of_a_fit_are_these_on_every_machine_and_in_every_version() {
        // Knuth's generator: the numbers must not change either.
        let mut state = 12_345_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / 16_777_216.0 - 0.5
        };
        let mut sums = vec![Sums::new(33); 10];
        let mut x = vec![0.0; 33];
        for i in 0..600_u32 {
            let arm = i as usize % 10;
            x.iter_mut().for_each(|x| *x = uniform() * 0.6);
            x[0] = 1.0;
            let good = uniform() < 0.1 + x[1] * (f64::from(i % 10) - 4.0);
            sums[arm].add(1.0, &x, f64::from(u8::from(good)));
        }
        // One that no rows could have made is left out, and the last place of three fours stays empty.
        sums[5].g[0] = -1e9;
        // The served prior may change with what is measured; these bits may not.
        let ridge = std::iter::once(1.0).chain([100.0; 32]).collect();
        let prior = Prior { ridge, arm_noise_rows: 20.0, ..crate::policy::prior::quality_prior() };
        let found = [1, 4, 7, 10].map(|arms| digest(&fit(&prior, sums[..arms].iter(), 0.75), &x));
        assert_eq!(found, [0xfcdc_3d15_d6b5_d92b, 0xb664_f5c4_dc5c_d451, 0xe1de_c843_1bc0_fe8e, 0xf419_bf82_3200_39f3]);
    }

    /// Two arms that differ in their bias alone, or on every context.
    fn told_apart_by_context(slope: f64) -> f64 {
        let looser = Prior {
            looser_ridges: vec![vec![2.0, 20.0, 20.0], vec![2.0, 1.0, 1.0]],
            ridge: vec![2.0, 200.0, 200.0],
            ..prior(3)
        };
        let mut sums = vec![Sums::new(3); 2];
        for i in 0..400 {
            let x = [1.0, Seed(i).uniform("x") - 0.5, Seed(i).uniform("z") - 0.5];
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            sums[i as usize % 2].add(1.0, &x, 0.5 + sign * slope * x[1] + 0.2 * (Seed(i).uniform("noise") - 0.5));
        }
        fit(&looser, sums.iter(), 1.0).arms[0].theta[1]
    }

    #[test]
    fn the_looser_ridge_is_taken_only_where_the_rows_speak_for_it() {
        assert!((told_apart_by_context(0.6) - 0.6).abs() < 0.1, "{}", told_apart_by_context(0.6));
        assert!(told_apart_by_context(0.0).abs() < 0.02, "{}", told_apart_by_context(0.0));
    }

    #[test]
    fn a_kind_of_request_that_is_no_longer_seen_is_never_less_certain_than_at_first() {
        let prior = prior(5);
        let (old, new) = ([1.0, 1.0, 0.0, 0.5, 0.0], [1.0, 0.0, 1.0, 0.0, -0.5]);
        let width = |arm: &Posterior| arm.sd(&old) / arm.noise.sqrt();
        let mut sums = Sums::new(5);
        let fresh = fit(&prior, std::iter::once(&sums), 1.0);
        let at_first = width(&fresh.fresh);
        assert!((width(&fresh.arms[0]) - at_first).abs() < 1e-12);
        for _ in 0..500 {
            sums.add(1.0, &old, 0.7);
        }
        for step in 0..100_000_u64 {
            sums.scale(0.997);
            sums.add(1.0, &new, Seed(step).uniform("y"));
            if step % 997 == 0 {
                let arm = &fit(&prior, std::iter::once(&sums), 1.0).arms[0];
                assert!(width(arm) <= at_first + 1e-9 && arm.mean(&old).abs() < 2.0, "{step}: {}", width(arm));
            }
        }
    }
}
