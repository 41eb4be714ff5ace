//! A feature map for the traffic at hand, from logged vectors and what their answers were worth.
//!
//! The shipped map keeps the principal components of general prompts. Traffic of one trade may differ in directions
//! that those leave out. Two maps are made of it, from sums alone, so memory does not grow with the log:
//!
//! - [`Kind::Components`]: the principal components of this traffic, not whitened.
//! - [`Kind::Supervised`]: reduced-rank regression. One ridge regression a model of quality on the whole vector gives
//!   `W`, 384 numbers a model. The directions in which the predictions `x W` vary, each with a share of the length in
//!   proportion to its variance, get half of the mean squared length of a context: to the policy's ridge they are
//!   cheap to follow. The principal components of what is left get the other half.
//!
//! Both are scaled so that a context's mean squared length, its bias left out, is 1, as the policy's prior expects.
//! Which of them serves better, if any, is for off-policy evaluation to say, on decisions that none of this saw.
//!
//! Texts are not logged, so lexical vectors cannot be met again. Their map guesses the old coordinates; the new one
//! guesses from those: the least-squares map from old to new coordinates on this traffic, after the old lexical map.
//!
//! The heads for intent and complexity stay what they are: nobody says in a log what a prompt's intent was, nor how
//! hard it was, and without the text their word features cannot be read.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::base::ModelId;
use crate::embed::DIMENSIONS;
use crate::features::linear::Linear;
use crate::features::projection::{PROJECTED, Projection};

/// How a map is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Principal components.
    Components,
    /// Directions that tell quality first, components of the rest after them.
    Supervised,
}

/// Vectors below which no map is made of them: three a dimension.
pub const LEAST: usize = 3 * DIMENSIONS;
/// Answers of a model below which its regression is left out.
const LEAST_ANSWERS: f64 = 50.0;
/// Penalty of those regressions, in rows: that of the policy's own prior on a context.
const PENALTY: f64 = 100.0;
/// Directions that tell quality, at most, and the share of the first one's variance below which one counts as noise.
const DIRECTIONS: usize = 8;
const NOISE: f64 = 0.05;
/// Vectors added to the sums at a time.
const BLOCK: usize = 512;

/// The sums of the vectors of one model's judged answers, or of all that nobody judged.
struct Sums {
    waiting: Vec<f64>,
    scores: Vec<f64>,
    count: f64,
    /// `sum x x'`, `sum x`, `sum y x`, `sum y`.
    outer: DMatrix<f64>,
    sum: DVector<f64>,
    scored: DVector<f64>,
    score: f64,
}

impl Sums {
    fn new() -> Self {
        let zeros = || DVector::zeros(DIMENSIONS);
        Self {
            waiting: Vec::new(),
            scores: Vec::new(),
            count: 0.0,
            outer: DMatrix::zeros(DIMENSIONS, DIMENSIONS),
            sum: zeros(),
            scored: zeros(),
            score: 0.0,
        }
    }

    fn add(&mut self, vector: &[f32; DIMENSIONS], score: f64) {
        self.waiting.extend(vector.iter().map(|x| f64::from(*x)));
        self.scores.push(score);
        if self.scores.len() == BLOCK {
            self.fold();
        }
    }

    fn fold(&mut self) {
        // One column a vector.
        let x = DMatrix::from_column_slice(DIMENSIONS, self.scores.len(), &self.waiting);
        let y = DVector::from_column_slice(&self.scores);
        self.outer.gemm(1.0, &x, &x.transpose(), 1.0);
        self.sum += x.column_sum();
        self.scored.gemv(1.0, &x, &y, 1.0);
        self.score += y.sum();
        self.count += self.scores.len() as f64;
        self.waiting.clear();
        self.scores.clear();
    }
}

/// What the maps are made from.
#[derive(Default)]
pub struct Moments {
    /// `None`: nobody judged the answer.
    by_model: BTreeMap<Option<ModelId>, Sums>,
    count: usize,
}

impl Moments {
    /// Takes in the vector of a prompt, with the model that answered and what that was worth, if somebody said so.
    pub fn add(&mut self, vector: &[f32; DIMENSIONS], judged: Option<(&ModelId, f64)>) {
        let key = judged.map(|(model, _)| model.clone());
        let sums = self.by_model.entry(key).or_insert_with(Sums::new);
        sums.add(vector, judged.map_or(0.0, |(_, worth)| worth));
        self.count += 1;
    }

    /// How many vectors there were.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The map of this kind; `old` is the one whose lexical guesses it goes on from. `None`: too few vectors, or (for
    /// the supervised one) no direction that tells quality.
    #[must_use]
    pub fn map(&mut self, kind: Kind, old: &Projection) -> Option<Projection> {
        if self.count < LEAST {
            return None;
        }
        self.by_model.values_mut().for_each(Sums::fold);
        let n = self.count as f64;
        let mean = self.by_model.values().fold(DVector::zeros(DIMENSIONS), |sum, of| sum + &of.sum) / n;
        let outer = self.by_model.values().fold(DMatrix::zeros(DIMENSIONS, DIMENSIONS), |sum, of| sum + &of.outer);
        let covariance = outer / n - &mean * mean.transpose();
        let components = match kind {
            Kind::Components => principal(covariance.clone(), PROJECTED, 1.0),
            Kind::Supervised => self.supervised(&covariance)?,
        };
        Some(around(&mean, &covariance, &components, old))
    }

    fn supervised(&self, covariance: &DMatrix<f64>) -> Option<DMatrix<f64>> {
        let columns: Vec<DVector<f64>> =
            self.by_model.iter().filter(|(model, _)| model.is_some()).filter_map(|(_, sums)| ridge(sums)).collect();
        if columns.is_empty() {
            return None;
        }
        let w = DMatrix::from_columns(&columns);
        let told = SymmetricEigen::new(w.transpose() * covariance * &w);
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by(|&a, &b| told.eigenvalues[b].total_cmp(&told.eigenvalues[a]));
        let top = told.eigenvalues[order[0]];
        order.retain(|&k| told.eigenvalues[k] > NOISE * top && told.eigenvalues[k] > 1e-12);
        order.truncate(DIRECTIONS);
        let all: f64 = order.iter().map(|&k| told.eigenvalues[k]).sum();
        // Each has variance 1 after division by the root of its eigenvalue, and its share of a half after that.
        let directions: Vec<DVector<f64>> =
            order.iter().map(|&k| signed(&w * told.eigenvectors.column(k)) * (0.5 / all).sqrt()).collect();
        if directions.is_empty() {
            return None;
        }
        let directions = DMatrix::from_columns(&directions);
        let basis = directions.clone().qr().q();
        let without = DMatrix::identity(DIMENSIONS, DIMENSIONS) - &basis * basis.transpose();
        let rest = principal(&without * covariance * &without, PROJECTED - directions.ncols(), 0.5);
        let columns = directions.column_iter().chain(rest.column_iter()).map(nalgebra::Matrix::into_owned);
        Some(DMatrix::from_columns(&columns.collect::<Vec<_>>()))
    }
}

/// Regression of one model's worth on the vector, both centred.
fn ridge(sums: &Sums) -> Option<DVector<f64>> {
    if sums.count < LEAST_ANSWERS {
        return None;
    }
    let mean = &sums.sum / sums.count;
    let mut normal = &sums.outer - &mean * sums.sum.transpose();
    (0..DIMENSIONS).for_each(|i| normal[(i, i)] += PENALTY);
    let target = &sums.scored - &mean * sums.score;
    normal.cholesky().map(|factor| factor.solve(&target))
}

/// The first `keep` eigenvectors of a covariance, scaled so that together they have this mean squared length.
fn principal(covariance: DMatrix<f64>, keep: usize, length: f64) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..DIMENSIONS).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(keep);
    let kept: f64 = order.iter().map(|&k| eigen.eigenvalues[k]).sum();
    let scale = (length / kept.max(f64::MIN_POSITIVE)).sqrt();
    let columns: Vec<DVector<f64>> =
        order.iter().map(|&k| signed(eigen.eigenvectors.column(k).into_owned()) * scale).collect();
    DMatrix::from_columns(&columns)
}

/// The same direction with its largest entry positive, so that the same sums give the same map everywhere.
fn signed(direction: DVector<f64>) -> DVector<f64> {
    let largest = direction.iter().copied().fold(0.0_f64, |a, b| if b.abs() > a.abs() { b } else { a });
    direction * largest.signum()
}

/// The maps of both origins: `(x - mean) components`, and the lexical guess at it.
fn around(mean: &DVector<f64>, covariance: &DMatrix<f64>, components: &DMatrix<f64>, old: &Projection) -> Projection {
    let was = matrix(&old.encoder);
    let meet = was.transpose() * covariance;
    let mut normal = &meet * &was;
    // The old coordinates may hang together on this traffic.
    let trace = normal.trace().max(f64::MIN_POSITIVE);
    (0..PROJECTED).for_each(|i| normal[(i, i)] += 1e-6 * trace);
    let change = normal
        .cholesky()
        .map_or_else(|| DMatrix::zeros(PROJECTED, PROJECTED), |factor| factor.solve(&(&meet * components)));
    let bias = |linear: &Linear| DVector::from_iterator(PROJECTED, linear.bias.iter().map(|b| f64::from(*b)));
    let middle = was.transpose() * mean + bias(&old.encoder);
    let lexical_bias = change.transpose() * (bias(&old.lexical) - middle);
    Projection {
        encoder: linear(components, &-(components.transpose() * mean)),
        lexical: linear(&(matrix(&old.lexical) * &change), &lexical_bias),
    }
}

fn matrix(linear: &Linear) -> DMatrix<f64> {
    DMatrix::from_row_iterator(DIMENSIONS, PROJECTED, linear.weight.iter().map(|w| f64::from(*w)))
}

fn linear(weight: &DMatrix<f64>, bias: &DVector<f64>) -> Linear {
    Linear {
        weight: weight.row_iter().flat_map(|row| row.iter().map(|w| *w as f32).collect::<Vec<_>>()).collect(),
        bias: bias.iter().map(|b| *b as f32).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;
    use crate::embed::{Compact, Embedding, Origin};
    use crate::features::FeatureMap;

    /// Vectors that vary most in the first forty coordinates, while what answers are worth hangs on the last.
    fn vector(n: u64) -> [f32; DIMENSIONS] {
        let draw = |i: usize| Seed(n).uniform(&i.to_string()) as f32 - 0.5;
        let mut x: [f32; DIMENSIONS] = std::array::from_fn(|i| draw(i) * if i < 40 { 1.0 } else { 0.1 });
        x[DIMENSIONS - 1] = 0.2 * draw(DIMENSIONS - 1).signum();
        let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
        x.map(|x| x / length)
    }

    fn moments() -> Moments {
        let mut moments = Moments::default();
        for n in 0..2_000 {
            let x = vector(n);
            let model = ModelId::from(["a", "b"][(n % 2) as usize]);
            let kind = if x[DIMENSIONS - 1] > 0.0 { n % 2 == 0 } else { n % 2 == 1 };
            let judged = (n % 5 > 0).then_some((&model, f64::from(u8::from(kind))));
            moments.add(&x, judged);
        }
        moments
    }

    fn contexts(projection: &Projection) -> DMatrix<f64> {
        let row =
            |n: u64| projection.project(&Embedding { vector: vector(n).as_slice().into(), origin: Origin::Encoder });
        let rows: Vec<[f32; PROJECTED + 1]> = (0..2_000).map(row).collect();
        DMatrix::from_fn(rows.len(), PROJECTED, |i, k| f64::from(rows[i][k + 1]))
    }

    #[test]
    fn components_are_centred_and_of_length_one() {
        let old = FeatureMap::shipped().projection;
        let x = contexts(&moments().map(Kind::Components, &old).expect("enough vectors"));
        assert!(x.row_mean().norm() < 1e-4);
        assert!((x.norm_squared() / 2_000.0 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn the_supervised_map_shows_first_what_tells_the_models_apart() {
        let old = FeatureMap::shipped().projection;
        let mut moments = moments();
        let kind = DVector::from_iterator(2_000, (0..2_000).map(|n| f64::from(vector(n)[DIMENSIONS - 1].signum())));
        let correlation = |x: &DMatrix<f64>, k: usize| {
            let column = x.column(k);
            (column.dot(&kind) / column.norm() / kind.norm()).abs()
        };
        let x = contexts(&moments.map(Kind::Supervised, &old).expect("enough vectors"));
        assert!((x.norm_squared() / 2_000.0 - 1.0).abs() < 0.02, "{}", x.norm_squared() / 2_000.0);
        assert!(correlation(&x, 0) > 0.9, "{}", correlation(&x, 0));
        let plain = contexts(&moments.map(Kind::Components, &old).expect("enough vectors"));
        let best = (0..PROJECTED).map(|k| correlation(&plain, k)).fold(0.0, f64::max);
        assert!(best < 0.5, "components do not see it: {best}");
    }

    #[test]
    fn a_lexical_guess_goes_on_to_the_new_coordinates() {
        let old = FeatureMap::shipped().projection;
        // Where the new coordinates are the old ones, so is the guess.
        let mut moments = moments();
        let _ = moments.map(Kind::Components, &old);
        let n = moments.count() as f64;
        let mean = moments.by_model.values().fold(DVector::zeros(DIMENSIONS), |sum, of| sum + &of.sum) / n;
        let outer = moments.by_model.values().fold(DMatrix::zeros(DIMENSIONS, DIMENSIONS), |sum, of| sum + &of.outer);
        let covariance = outer / n - &mean * mean.transpose();
        let same = around(&mean, &covariance, &matrix(&old.encoder), &old);
        let text = crate::embed::hashing::embed("a word of the wise");
        let shift: Vec<f64> = {
            let was = old.encoder.project::<PROJECTED>(&mean.iter().map(|x| *x as f32).collect::<Vec<_>>());
            was.iter().map(|x| f64::from(*x)).collect()
        };
        let (new, was) = (same.project(&text), old.project(&text));
        for k in 0..PROJECTED {
            let expected = f64::from(was[k + 1]) - shift[k];
            assert!((f64::from(new[k + 1]) - expected).abs() < 5e-3, "{k}: {} {expected}", new[k + 1]);
        }
    }

    #[test]
    fn a_logged_vector_is_near_enough() {
        let map = FeatureMap::shipped();
        let x = vector(7);
        let exact = map.projection.project(&Embedding { vector: x.as_slice().into(), origin: Origin::Encoder });
        let logged = map.context(&Compact::of(&x).expect("numbers"));
        assert!(exact.iter().zip(&logged.x).all(|(a, b)| (a - b).abs() < 0.01));
    }
}
