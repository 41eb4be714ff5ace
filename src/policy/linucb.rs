//! The contextual baseline of the published tables: an upper confidence bound on a linear model an arm.
//!
//! Like the other [`baselines`](super::baselines) it does not serve. Where nothing is forgotten, a row is one step of rank
//! one on the inverse; an arm that forgets is solved anew after each row of its own.

use super::baselines::{certain, double};
use super::linalg;
use super::online::{OnlinePolicy, Round};
use super::sums::Sums;

/// Disjoint LinUCB (Li, Chu, Langford and Schapire 2010), forgetting if told to.
///
/// `A = G + ridge I` with `G = sum g^age x x'`, bound `x'A^-1 b + alpha sqrt(x'A^-1 x)`. An arm's rows age by the rows
/// that come after them on the same arm, so that one that is not played forgets nothing.
#[derive(Clone, Debug)]
pub struct LinUcb {
    name: String,
    forgetting: f64,
    arms: Vec<LinUcbArm>,
}

/// The width of the bound, in standard deviations of a unit of noise.
const ALPHA: f64 = 0.3;
const RIDGE: f64 = 1.0;
/// What an untried arm is worth: its first rows outweigh it as they do the ridge.
const PRIOR: f64 = 1.0;

#[derive(Clone, Debug)]
struct LinUcbArm {
    solved: Solved,
    /// What a forgetting arm is solved from. Where nothing is forgotten, one row more is one step more.
    fading: Option<Sums>,
}

/// `A^-1`, all rows of it written out, and the coefficients `A^-1 b`.
#[derive(Clone, Debug)]
struct Solved {
    inverse: Vec<f64>,
    theta: Vec<f64>,
}

impl LinUcb {
    /// As the offline benchmark plays it. `forgetting` 1 forgets nothing.
    #[must_use]
    pub fn new(forgetting: f64, arms: usize, dimensions: usize) -> Self {
        let d = dimensions;
        let mut solved = Solved { inverse: vec![0.0; d * d], theta: vec![0.0; d] };
        solved.inverse.iter_mut().step_by(d + 1).for_each(|value| *value = 1.0 / RIDGE);
        solved.theta[0] = PRIOR;
        let arm = LinUcbArm { solved, fading: (forgetting < 1.0).then(|| Sums::new(d)) };
        let name = if forgetting < 1.0 { format!("LinUCB, forgetting {forgetting}") } else { "LinUCB".to_owned() };
        Self { name, forgetting, arms: vec![arm; arms] }
    }
}

impl Solved {
    /// From sums that have faded; the ridge and the prior do not.
    fn of(sums: &Sums, ridge: f64, prior: f64) -> Self {
        let (mut factor, mut target, d) = (sums.g.clone(), sums.b.clone(), sums.b.len());
        for i in 0..d {
            factor[linalg::packed(i + 1) - 1] += ridge;
        }
        target[0] += ridge * prior;
        // A sum of squares with a ridge is positive definite.
        let _ = linalg::cholesky(&mut factor, d);
        let half = linalg::inverse(&factor, d);
        let value = |i: usize, j: usize| half[linalg::packed(i.max(j)) + i.min(j)];
        let inverse: Vec<f64> = (0..d * d).map(|place| value(place / d, place % d)).collect();
        let theta = product(&inverse, &target);
        Self { inverse, theta }
    }

    fn bound(&self, x: &[f64]) -> f64 {
        linalg::inner(&self.theta, x) + ALPHA * linalg::inner(&product(&self.inverse, x), x).sqrt()
    }

    /// One row more (Sherman and Morrison): with `k = A^-1 x / (1 + x'A^-1 x)`, `A^-1` loses `k x'A^-1` and the
    /// coefficients gain `k` times the error.
    fn learn(&mut self, x: &[f64], reward: f64) {
        let towards = product(&self.inverse, x);
        let scale = 1.0 / (1.0 + linalg::inner(&towards, x));
        let error = reward - linalg::inner(&self.theta, x);
        for (theta, step) in self.theta.iter_mut().zip(&towards) {
            *theta += scale * error * step;
        }
        for (row, y) in self.inverse.chunks_exact_mut(x.len()).zip(&towards) {
            row.iter_mut().zip(&towards).for_each(|(value, step)| *value -= scale * y * step);
        }
    }
}

/// A symmetric matrix, all rows written out, times a vector: row by row, so that neighbours go side by side.
fn product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for (row, x) in matrix.chunks_exact(x.len()).zip(x) {
        product.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * x);
    }
    product
}

impl OnlinePolicy for LinUcb {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let x = double(round.x);
        certain(&self.arms.iter().map(|arm| arm.solved.bound(&x)).collect::<Vec<_>>(), round.open)
    }

    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64) {
        let (x, reward, arm) = (double(x), quality - penalty, &mut self.arms[arm]);
        match &mut arm.fading {
            Some(sums) => {
                sums.scale(self.forgetting);
                sums.add(1.0, &x, reward);
                arm.solved = Solved::of(sums, RIDGE, PRIOR);
            }
            None => arm.solved.learn(&x, reward),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    /// Rows by chance, with the reward that one of them brings.
    fn rows(n: u64) -> impl Iterator<Item = (Vec<f32>, f64)> {
        let draw = |i: u64, j: usize| Seed(i).uniform(&j.to_string()) - 0.5;
        (0..n).map(move |i| {
            let x: Vec<f32> = (0..5).map(|j| if j == 0 { 1.0 } else { draw(i, j) as f32 }).collect();
            let reward = 0.5 + draw(i, 1) + 0.1 * draw(i, 9);
            (x, reward)
        })
    }

    #[test]
    fn a_step_at_a_time_is_what_the_sums_of_all_rows_give() {
        let mut stepwise = LinUcb::new(1.0, 1, 5);
        let mut sums = Sums::new(5);
        for (x, reward) in rows(200) {
            stepwise.update(&x, 0, reward, 0.0);
            sums.add(1.0, &double(&x), reward);
        }
        let (found, whole) = (&stepwise.arms[0].solved, Solved::of(&sums, RIDGE, PRIOR));
        for (a, b) in found.inverse.iter().chain(&found.theta).zip(whole.inverse.iter().chain(&whole.theta)) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }

    #[test]
    fn an_arm_forgets_by_its_own_rows_alone() {
        let mut policy = LinUcb::new(0.9, 2, 5);
        let mut expected = Sums::new(5);
        for (i, (x, reward)) in rows(60).enumerate() {
            policy.update(&x, i % 2, reward, 0.1);
            if i % 2 == 1 {
                let age = (59 - i) / 2;
                expected.add(0.9_f64.powi(i32::try_from(age).unwrap()), &double(&x), reward - 0.1);
            }
        }
        let (found, expected) = (&policy.arms[1].solved, Solved::of(&expected, RIDGE, PRIOR));
        for (a, b) in found.theta.iter().zip(&expected.theta) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }

    /// D-LinUCB (Russac, Vernade and Cappe 2019): every arm fades at every step, and the bound is
    /// `x'A^-1 b + alpha sqrt(x'A^-1 A2 A^-1 x)`, `A2` with the squares of all weights. The oracle inverts dense matrices
    /// in which the ridge fades and is filled up; here the ridge stays outside, as it does in the served policy.
    #[test]
    fn sums_that_fade_beside_a_ridge_that_does_not_agree_with_a_dense_discounted_inverse() {
        let file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .skip(1)
            .map(|folder| folder.join("shared/fixtures/ope/04_discounted_linucb.json"))
            .find(|file| file.exists());
        let Some(file) = file else { return };
        let oracle: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let number = |name: &str| oracle[name].as_f64().unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        let vectors = |name: &str| oracle[name].as_array().unwrap().iter().map(numbers).collect::<Vec<_>>();
        let close = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-9), "{found:?} is not {expected:?}");
        };
        let (arms, d, ridge) = (number("arms") as usize, number("d") as usize, number("lam"));
        let (mut sums, mut squares) = (vec![Sums::new(d); arms], vec![Sums::new(d); arms]);
        let steps = ["actions", "rewards"].map(|name| numbers(&oracle[name]));
        for (i, (x, bounds)) in vectors("contexts").iter().zip(vectors("ucb")).enumerate() {
            let bound = |arm: usize| {
                let solved = Solved::of(&sums[arm], ridge, 0.0);
                let towards = product(&solved.inverse, x);
                let width = linalg::inner(&towards, &linalg::multiply(&squares[arm].g, &towards))
                    + ridge * linalg::inner(&towards, &towards);
                linalg::inner(&solved.theta, x) + number("alpha") * width.sqrt()
            };
            close(&(0..arms).map(bound).collect::<Vec<_>>(), &bounds);
            sums.iter_mut().for_each(|sums| sums.scale(number("gamma")));
            squares.iter_mut().for_each(|sums| sums.scale(number("gamma").powi(2)));
            let arm = steps[0][i] as usize;
            sums[arm].add(1.0, x, steps[1][i]);
            squares[arm].add(1.0, x, steps[1][i]);
        }
        for (sums, theta) in sums.iter().zip(vectors("final_theta")) {
            close(&Solved::of(sums, ridge, 0.0).theta, &theta);
        }
    }
}
