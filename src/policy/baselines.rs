//! What a learned policy must beat: fixed choices, bandits without a context, clusters and neighbours; [`linucb`](super::linucb)
//! has a file of its own.
//!
//! None of them serves; they are driven by a replay through [`OnlinePolicy`]. All learn the utility, quality
//! less the penalty that came true, as one number.

use super::online::{OnlinePolicy, Round};
use super::propensity::win_probabilities;

/// The same probabilities every time: one arm, all alike, or a coin between two.
#[derive(Clone, Debug)]
pub struct Fixed {
    name: String,
    weights: Vec<f64>,
}

impl Fixed {
    /// Always this arm, while it is open.
    #[must_use]
    pub fn arm(arm: usize, arms: usize) -> Self {
        let mut weights = vec![0.0; arms];
        weights[arm] = 1.0;
        Self { name: format!("fixed {arm}"), weights }
    }

    /// Every arm alike.
    #[must_use]
    pub fn uniform(arms: usize) -> Self {
        Self { name: "uniform".to_owned(), weights: vec![1.0; arms] }
    }

    /// A coin between two arms: `share` for the first of them.
    #[must_use]
    pub fn mix(first: usize, second: usize, share: f64, arms: usize) -> Self {
        let mut weights = vec![0.0; arms];
        weights[first] += share;
        weights[second] += 1.0 - share;
        Self { name: format!("mix {first}/{second}"), weights }
    }
}

impl OnlinePolicy for Fixed {
    fn name(&self) -> &str {
        &self.name
    }

    /// Where none of its arms is open: every open arm alike.
    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let among = |weights: &[f64]| -> Vec<f64> {
            weights.iter().zip(round.open).map(|(weight, &open)| if open { *weight } else { 0.0 }).collect()
        };
        let mut probabilities = among(&self.weights);
        if probabilities.iter().sum::<f64>() <= 0.0 {
            probabilities = among(&vec![1.0; self.weights.len()]);
        }
        let total: f64 = probabilities.iter().sum();
        probabilities.iter().map(|p| p / total).collect()
    }

    fn update(&mut self, _x: &[f32], _arm: usize, _quality: f64, _penalty: f64) {}
}

/// Certainty for the open arm of the greatest value; the first of equals.
pub(super) fn certain(values: &[f64], open: &[bool]) -> Vec<f64> {
    let best = (0..values.len()).filter(|&arm| open[arm]).reduce(|a, b| if values[b] > values[a] { b } else { a });
    let mut probabilities = vec![0.0; values.len()];
    if let Some(best) = best {
        probabilities[best] = 1.0;
    }
    probabilities
}

/// Thompson sampling among the open arms.
fn sampled(means: &[f64], sds: &[f64], open: &[bool]) -> Vec<f64> {
    let arms: Vec<usize> = (0..means.len()).filter(|&arm| open[arm]).collect();
    let pick = |values: &[f64]| arms.iter().map(|&arm| values[arm]).collect::<Vec<f64>>();
    let mut probabilities = vec![0.0; means.len()];
    for (&arm, p) in arms.iter().zip(win_probabilities(&pick(means), &pick(sds))) {
        probabilities[arm] = p;
    }
    probabilities
}

/// Count, sum and sum of squares of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    /// Mean, shrunk towards .5 by one row.
    fn mean(self) -> f64 {
        (self.sum + 0.5) / (self.n + 1.0)
    }

    /// Standard error of the mean; the variance is that of the rows with 10 of variance .16 beside them.
    fn error(self) -> f64 {
        let spread = (self.squares - self.sum * self.sum / self.n.max(1.0)).max(0.0);
        ((spread + 1.6) / (self.n + 10.0) / (self.n + 1.0)).sqrt()
    }
}

/// UCB1: the mean and `sqrt(2 ln t / n)`; untried arms first.
#[derive(Clone, Debug)]
pub struct Ucb1 {
    arms: Vec<Moments>,
    width: f64,
}

impl Ucb1 {
    /// Nothing learned yet.
    #[must_use]
    pub fn new(arms: usize) -> Self {
        Self { arms: vec![Moments::default(); arms], width: 2.0 }
    }

    /// As the offline benchmark plays it: `sqrt(ln t / (2 n))`, Hoeffding's bound at level 1/t.
    #[must_use]
    pub fn narrow(arms: usize) -> Self {
        Self { width: 0.5, ..Self::new(arms) }
    }
}

impl OnlinePolicy for Ucb1 {
    fn name(&self) -> &'static str {
        "UCB1"
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let step = 1.0 + self.arms.iter().map(|arm| arm.n).sum::<f64>();
        let bound = |arm: &Moments| {
            if arm.n > 0.0 { arm.sum / arm.n + (self.width * step.ln() / arm.n).sqrt() } else { f64::INFINITY }
        };
        certain(&self.arms.iter().map(bound).collect::<Vec<_>>(), round.open)
    }

    fn update(&mut self, _x: &[f32], arm: usize, quality: f64, penalty: f64) {
        self.arms[arm].add(quality - penalty);
    }
}

/// Thompson sampling on the arms' means alone.
#[derive(Clone, Debug)]
pub struct ContextFree {
    arms: Vec<Moments>,
}

impl ContextFree {
    /// Nothing learned yet.
    #[must_use]
    pub fn new(arms: usize) -> Self {
        Self { arms: vec![Moments::default(); arms] }
    }
}

impl OnlinePolicy for ContextFree {
    fn name(&self) -> &'static str {
        "Thompson, no context"
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let means: Vec<f64> = self.arms.iter().map(|arm| arm.mean()).collect();
        let sds: Vec<f64> = self.arms.iter().map(|arm| arm.error()).collect();
        sampled(&means, &sds, round.open)
    }

    fn update(&mut self, _x: &[f32], arm: usize, quality: f64, penalty: f64) {
        self.arms[arm].add(quality - penalty);
    }
}

pub(super) fn double(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(p, q)| f64::from(p - q).powi(2)).sum()
}

/// Thompson sampling on the means of each arm in the cluster nearest to the context.
#[derive(Clone, Debug)]
pub struct Clusters {
    centres: Vec<Vec<f32>>,
    arms: Vec<Vec<Moments>>,
}

impl Clusters {
    /// With these centres, found beforehand on contexts alone.
    #[must_use]
    pub fn new(centres: Vec<Vec<f32>>, arms: usize) -> Self {
        let each = vec![Moments::default(); arms];
        Self { arms: vec![each; centres.len()], centres }
    }

    /// `k` centres of these contexts by Lloyd's steps from evenly spaced rows. Deterministic.
    #[must_use]
    pub fn centres(rows: &[&[f32]], k: usize) -> Vec<Vec<f32>> {
        let mut centres: Vec<Vec<f32>> = (0..k.min(rows.len())).map(|i| rows[i * rows.len() / k].to_vec()).collect();
        for _ in 0..15 {
            let mut sums: Vec<Vec<f64>> = centres.iter().map(|centre| vec![0.0; centre.len()]).collect();
            let mut counts = vec![0.0; centres.len()];
            for row in rows {
                let cluster = nearest(&centres, row);
                counts[cluster] += 1.0;
                for (sum, &value) in sums[cluster].iter_mut().zip(*row) {
                    *sum += f64::from(value);
                }
            }
            for ((centre, sum), count) in centres.iter_mut().zip(&sums).zip(&counts) {
                // An empty cluster keeps its centre.
                if *count > 0.0 {
                    *centre = sum.iter().map(|value| (value / count) as f32).collect();
                }
            }
        }
        centres
    }
}

fn nearest(centres: &[Vec<f32>], x: &[f32]) -> usize {
    let distance = |centre: &Vec<f32>| squared_distance(centre, x);
    (0..centres.len()).min_by(|&a, &b| distance(&centres[a]).total_cmp(&distance(&centres[b]))).unwrap_or(0)
}

impl OnlinePolicy for Clusters {
    fn name(&self) -> &'static str {
        "k-means"
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let arms = &self.arms[nearest(&self.centres, round.x)];
        let means: Vec<f64> = arms.iter().map(|arm| arm.mean()).collect();
        let sds: Vec<f64> = arms.iter().map(|arm| arm.error()).collect();
        sampled(&means, &sds, round.open)
    }

    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64) {
        let cluster = nearest(&self.centres, x);
        self.arms[cluster][arm].add(quality - penalty);
    }
}

/// Thompson sampling on the mean of each arm's nearest rows.
#[derive(Clone, Debug)]
pub struct Neighbours {
    k: usize,
    arms: Vec<Vec<(Vec<f32>, f64)>>,
}

impl Neighbours {
    /// The `k` nearest rows of each arm count.
    #[must_use]
    pub fn new(k: usize, arms: usize) -> Self {
        Self { k, arms: vec![Vec::new(); arms] }
    }

    fn around(&self, arm: &[(Vec<f32>, f64)], x: &[f32]) -> Moments {
        let mut by_distance: Vec<(f64, f64)> = arm.iter().map(|(row, y)| (squared_distance(row, x), *y)).collect();
        let k = self.k.min(by_distance.len());
        if k < by_distance.len() {
            by_distance.select_nth_unstable_by(k, |a, b| a.0.total_cmp(&b.0));
        }
        let mut moments = Moments::default();
        by_distance[..k].iter().for_each(|&(_, y)| moments.add(y));
        moments
    }
}

impl OnlinePolicy for Neighbours {
    fn name(&self) -> &'static str {
        "neighbours"
    }

    fn score(&mut self, round: &Round<'_>) -> Vec<f64> {
        let around: Vec<Moments> = self.arms.iter().map(|arm| self.around(arm, round.x)).collect();
        let means: Vec<f64> = around.iter().map(|moments| moments.mean()).collect();
        let sds: Vec<f64> = around.iter().map(|moments| moments.error()).collect();
        sampled(&means, &sds, round.open)
    }

    fn update(&mut self, x: &[f32], arm: usize, quality: f64, penalty: f64) {
        self.arms[arm].push((x.to_vec(), quality - penalty));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;
    use crate::policy::linucb::LinUcb;
    use crate::policy::{Bandit, Config, Explore, draw};

    /// Two kinds of prompts; each kind has its own best arm. Arm 2 is closed throughout.
    fn last_quarter(policy: &mut dyn OnlinePolicy) -> f64 {
        let mut won = 0.0;
        for i in 0..800_u64 {
            let kind = usize::from(Seed(i).uniform("kind") < 0.5);
            let mut x = vec![0.0_f32; 33];
            x[0] = 1.0;
            x[1] = if kind == 0 { -3.0 } else { 3.0 };
            let round = Round { x: &x, open: &[true, true, false], penalty: &[0.0; 3] };
            let p = policy.score(&round);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9 && p[2] == 0.0, "{}: {p:?}", policy.name());
            let arm = draw(&p, Seed(i).uniform("arm"));
            let good = if arm == kind { 0.9 } else { 0.3 };
            let y = f64::from(u8::from(Seed(i).uniform("score") < good));
            policy.update(&x, arm, y, 0.0);
            won += if i >= 600 { good / 200.0 } else { 0.0 };
        }
        won
    }

    #[test]
    fn what_reads_the_context_finds_both_specialists_and_what_does_not_finds_one() {
        let centres = Clusters::centres(&[&[1.0, -3.0], &[1.0, 3.0], &[1.0, -2.9]], 2);
        let centres = centres
            .into_iter()
            .map(|mut centre| {
                centre.resize(33, 0.0);
                centre
            })
            .collect();
        let mut readers: Vec<Box<dyn OnlinePolicy>> = vec![
            Box::new(LinUcb::new(1.0, 3, 33)),
            Box::new(LinUcb::new(0.997, 3, 33)),
            Box::new(Clusters::new(centres, 3)),
            Box::new(Neighbours::new(20, 3)),
            Box::new(Bandit::new("thompson", Config::default(), Explore::Floor, 3)),
        ];
        for policy in &mut readers {
            let found = last_quarter(policy.as_mut());
            assert!(found > 0.85, "{}: {found}", policy.name());
        }
        let blind: [Box<dyn OnlinePolicy>; 5] = [
            Box::new(Fixed::arm(0, 3)),
            Box::new(Fixed::uniform(3)),
            Box::new(Fixed::mix(0, 1, 0.3, 3)),
            Box::new(Ucb1::new(3)),
            Box::new(ContextFree::new(3)),
        ];
        for mut policy in blind {
            let found = last_quarter(policy.as_mut());
            assert!((0.5..0.7).contains(&found), "{}: {found}", policy.name());
        }
    }

    #[test]
    fn a_fixed_choice_that_is_closed_gives_way() {
        let round = Round { x: &[1.0], open: &[false, true, true], penalty: &[0.0; 3] };
        assert_eq!(Fixed::arm(0, 3).score(&round), [0.0, 0.5, 0.5]);
        assert_eq!(Fixed::mix(0, 1, 0.5, 3).score(&round), [0.0, 1.0, 0.0]);
    }
}
