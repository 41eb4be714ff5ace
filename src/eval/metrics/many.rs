//! A pool of models with costs: the sweep, the zero router, the oracle, and the figures between them.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use serde::Serialize;

use super::hull::{Hull, Point};

/// What a dollar may be worth: 0, and 100 values from 1e-4 to 1e4 in equal ratios.
#[must_use]
pub fn prices_of_money() -> Vec<f64> {
    std::iter::once(0.0).chain((0..100).map(|i| 10_f64.powf(-4.0 + 8.0 * f64::from(i) / 99.0))).collect()
}

/// The first index of the greatest of `score - weight x cost`.
#[must_use]
pub fn pick<'a>(
    score: impl IntoIterator<Item = &'a f64>,
    cost: impl IntoIterator<Item = &'a f64>,
    weight: f64,
) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (model, (s, c)) in score.into_iter().zip(cost).enumerate() {
        let utility = s - weight * c;
        if utility > best.1 {
            best = (model, utility);
        }
    }
    best.0
}

/// Fills the picks between the first and the last, which are known. Utilities are straight lines in the price of money, so
/// whoever is picked at two prices is picked at all between: most prices need not be asked about.
fn between(picks: &mut [usize], at: &impl Fn(usize) -> usize) {
    fn part(picks: &mut [usize], from: usize, to: usize, at: &impl Fn(usize) -> usize) {
        if picks[from] == picks[to] {
            let pick = picks[from];
            picks[from..to].fill(pick);
        } else if to - from > 1 {
            let middle = from.midpoint(to);
            picks[middle] = at(middle);
            part(picks, from, middle, at);
            part(picks, middle, to, at);
        }
    }
    part(picks, 0, picks.len() - 1, at);
}

/// What a router's picks got and cost on every test row, at every price of money: two matrices `[101, n]`.
#[derive(Clone, Debug)]
pub struct Sweep {
    score: Array2<f64>,
    cost: Array2<f64>,
}

impl Sweep {
    /// Picks by predictions, outcomes by the truth; all matrices `[n, K]`. `reference` is the greatest mean train cost.
    #[must_use]
    pub fn of(
        predicted: (ArrayView2<'_, f64>, ArrayView2<'_, f64>),
        truth: (ArrayView2<'_, f64>, ArrayView2<'_, f64>),
        reference: f64,
    ) -> Self {
        let prices = prices_of_money();
        let n = truth.0.nrows();
        let (mut score, mut cost) = (Array2::zeros((prices.len(), n)), Array2::zeros((prices.len(), n)));
        // Rows of their own lie side by side in memory, which a matrix put together column by column does not offer.
        let (mut expected, mut charged) = (vec![0.0; truth.0.ncols()], vec![0.0; truth.0.ncols()]);
        let mut picks = vec![0; prices.len()];
        for row in 0..n {
            expected.iter_mut().zip(predicted.0.row(row)).for_each(|(to, from)| *to = *from);
            charged.iter_mut().zip(predicted.1.row(row)).for_each(|(to, from)| *to = *from);
            let at = |i: usize| pick(&expected, &charged, prices[i] / reference);
            let last = prices.len() - 1;
            (picks[0], picks[last]) = (at(0), at(last));
            between(&mut picks, &at);
            for (i, model) in picks.iter().enumerate() {
                score[[i, row]] = truth.0[[row, *model]];
                cost[[i, row]] = truth.1[[row, *model]];
            }
        }
        Self { score, cost }
    }

    /// Always the models of `truth`, one a row of the sweep: the points of the single models.
    #[must_use]
    pub fn singles(truth: (ArrayView2<'_, f64>, ArrayView2<'_, f64>)) -> Self {
        Self { score: truth.0.t().to_owned(), cost: truth.1.t().to_owned() }
    }

    /// Mean cost and score at each price of money, rows weighted by `weights` (they sum to 1).
    #[must_use]
    pub fn points(&self, weights: ArrayView1<'_, f64>) -> Vec<Point> {
        zip(&self.cost.dot(&weights), &self.score.dot(&weights))
    }

    /// The same for many weightings at once, `weights` `[n, draws]`.
    #[must_use]
    pub fn points_of_draws(&self, weights: ArrayView2<'_, f64>) -> Vec<Vec<Point>> {
        let (cost, score) = (self.cost.dot(&weights), self.score.dot(&weights));
        cost.columns().into_iter().zip(score.columns()).map(|(c, s)| zip(&c.to_owned(), &s.to_owned())).collect()
    }
}

fn zip(cost: &Array1<f64>, quality: &Array1<f64>) -> Vec<Point> {
    cost.iter().zip(quality).map(|(&cost, &quality)| Point { cost, quality }).collect()
}

/// The lines a curve is measured against on one test part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Yardstick {
    /// Each single model, in model order.
    pub singles: Vec<Point>,
    /// Index of the single model that was best on the training part.
    pub best: usize,
    /// The coin between single models.
    pub zero: Hull,
    /// Predictions equal to the truth.
    pub oracle: Hull,
}

impl Yardstick {
    /// From the single models' points, the oracle's sweep, and the model that was best on the training part.
    #[must_use]
    pub fn new(singles: Vec<Point>, oracle: Vec<Point>, best: usize) -> Self {
        let zero = Hull::above(singles.iter().copied());
        let oracle = Hull::above(oracle.into_iter().chain([cheapest(&singles)]));
        Self { singles, best, zero, oracle }
    }

    /// Least and greatest mean cost of a single model: the range of every area.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let costs = self.singles.iter().map(|point| point.cost);
        (costs.clone().fold(f64::INFINITY, f64::min), costs.fold(0.0, f64::max))
    }

    /// A router's curve: its points and the cheapest single model's.
    #[must_use]
    pub fn curve(&self, points: Vec<Point>) -> Hull {
        Hull::above(points.into_iter().chain([cheapest(&self.singles)]))
    }

    /// AIQ of a curve.
    #[must_use]
    pub fn aiq(&self, curve: &Hull) -> f64 {
        let (lo, hi) = self.range();
        curve.mean(lo, hi)
    }

    /// Share of the area between the zero router and the oracle that the curve covers, in percent.
    #[must_use]
    pub fn gap_share(&self, curve: &Hull) -> f64 {
        let (zero, oracle) = (self.aiq(&self.zero), self.aiq(&self.oracle));
        100.0 * (self.aiq(curve) - zero) / (oracle - zero)
    }

    /// Cost of a share of the best single model's quality, over that model's cost; `None` = not reached.
    #[must_use]
    pub fn qnc(&self, curve: &Hull, share: f64) -> Option<f64> {
        let best = self.singles[self.best];
        curve.cost_of(share * best.quality).map(|cost| cost / best.cost)
    }

    /// Every figure of a router, from its points.
    #[must_use]
    pub fn figures(&self, points: &[Point]) -> Figures {
        let curve = self.curve(points.to_vec());
        let best = self.singles[self.best];
        let (lo, hi) = self.range();
        let log = |hull: &Hull| hull.mean_log(lo, hi);
        Figures {
            aiq: self.aiq(&curve),
            gap_share: self.gap_share(&curve),
            aiq_log: log(&curve),
            gap_share_log: 100.0 * (log(&curve) - log(&self.zero)) / (log(&self.oracle) - log(&self.zero)),
            qnc95: self.qnc(&curve, 0.95),
            qnc100: self.qnc(&curve, 1.0),
            q_at_quarter: curve.at(best.cost / 4.0) / best.quality,
            max_minus_best: curve.top().quality - best.quality,
            quality_alone: points.first().map_or(f64::NAN, |point| point.quality),
            router_arena: points.iter().map(|point| router_arena(*point)).fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// The single model of least mean cost, the better of equally cheap ones.
fn cheapest(singles: &[Point]) -> Point {
    let cheaper = |a: &&Point, b: &&Point| a.cost.total_cmp(&b.cost).then(b.quality.total_cmp(&a.quality));
    singles.iter().min_by(cheaper).copied().unwrap_or_default()
}

/// What a router's curve is worth on one test part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Mean height of the curve between the cheapest and the dearest single model.
    pub aiq: f64,
    /// Share of the area between zero router and oracle, percent.
    pub gap_share: f64,
    /// Mean height over the logarithm of cost.
    pub aiq_log: f64,
    /// Gap share over the logarithm of cost, percent.
    pub gap_share_log: f64,
    /// Cost of 95% of the best single model's quality over its cost; `None` = not reached.
    pub qnc95: Option<f64>,
    /// Cost of all of the best single model's quality over its cost; `None` = not reached.
    pub qnc100: Option<f64>,
    /// Quality at a quarter of the best single model's cost, over its quality.
    pub q_at_quarter: f64,
    /// Greatest quality of the curve less the best single model's.
    pub max_minus_best: f64,
    /// Mean score where money is worth nothing.
    pub quality_alone: f64,
    /// `RouterArena`'s formula, the best over the sweep, percent. It ranks pools as much as policies.
    pub router_arena: f64,
}

/// `RouterArena`'s S of a point, in percent.
#[must_use]
pub fn router_arena(point: Point) -> f64 {
    let (dear, cheap) = (200_f64, 0.0044_f64);
    let per_thousand = (1000.0 * point.cost).clamp(cheap, dear);
    let thrift = (dear.log2() - per_thousand.log2()) / (dear.log2() - cheap.log2());
    100.0 * 1.1 * point.quality * thrift / (0.1 * point.quality + thrift)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_tiny_pool_has_figures_that_can_be_worked_out_by_hand() {
        // Two models at 1 and 3 dollars; the dear one is right on rows 0, 1, 2, the cheap one on rows 0 and 3.
        let score = array![[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]];
        let cost = array![[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [1.0, 3.0]];
        let truth = (score.view(), cost.view());
        let even = Array1::from_elem(4, 0.25);
        let singles = Sweep::singles(truth).points(even.view());
        assert_eq!(singles, [Point { cost: 1.0, quality: 0.5 }, Point { cost: 3.0, quality: 0.75 }]);
        let oracle = Sweep::of(truth, truth, 3.0).points(even.view());
        let yard = Yardstick::new(singles, oracle.clone(), 1);
        assert!((yard.aiq(&yard.zero) - 0.625).abs() < 1e-12);
        // The oracle pays 2 dollars on average for all four rows: corners (1, .5), (2, 1), then flat.
        let figures = yard.figures(&oracle);
        assert!((figures.aiq - 0.875).abs() < 1e-12);
        assert!((figures.gap_share - 100.0).abs() < 1e-9);
        // 95% of .75 is .7125, at 1.425 dollars of 3.
        assert!((figures.qnc95.expect("reached") - 0.475).abs() < 1e-12);
        assert!((figures.qnc100.expect("reached") - 0.5).abs() < 1e-12);
        assert!((figures.q_at_quarter - 0.5 / 0.75).abs() < 1e-12);
        assert!((figures.max_minus_best - 0.25).abs() < 1e-12);
        let log = (2_f64.ln() * 0.0 + 0.5 + (1.5_f64).ln()) / 3_f64.ln();
        assert!((figures.aiq_log - log).abs() < 1e-12);
    }

    #[test]
    fn picks_between_two_prices_are_those_that_every_price_would_have_given() {
        let prices = prices_of_money();
        let number = |row: u64, what: &str| crate::base::Seed(row).uniform(what);
        for row in 0..200 {
            // Few values, so that models tie.
            let score: Vec<f64> = (0..7).map(|m| (number(row, &format!("s{m}")) * 4.0).floor() / 4.0).collect();
            let cost: Vec<f64> = (0..7).map(|m| (number(row, &format!("c{m}")) * 5.0).floor() / 5.0).collect();
            let at = |i: usize| pick(&score, &cost, prices[i]);
            let each: Vec<usize> = (0..prices.len()).map(at).collect();
            let mut picks = vec![0; prices.len()];
            (picks[0], picks[prices.len() - 1]) = (each[0], each[prices.len() - 1]);
            between(&mut picks, &at);
            assert_eq!(picks, each, "row {row}: {score:?} {cost:?}");
        }
    }

    #[test]
    fn a_weighted_mean_is_the_mean_of_repeated_rows() {
        let score = array![[1.0, 0.0], [0.0, 1.0]];
        let cost = array![[1.0, 2.0], [3.0, 4.0]];
        let sweep = Sweep::singles((score.view(), cost.view()));
        let weights = array![0.75, 0.25];
        assert_eq!(sweep.points(weights.view())[0], Point { cost: 1.5, quality: 0.75 });
        let draws = array![[0.75, 0.5], [0.25, 0.5]];
        assert_eq!(sweep.points_of_draws(draws.view())[0], sweep.points(weights.view()));
    }

    #[test]
    fn router_arena_s_of_its_two_ends() {
        assert!((router_arena(Point { cost: 0.2, quality: 1.0 })).abs() < 1e-9);
        assert!((router_arena(Point { cost: 0.0, quality: 1.0 }) - 100.0).abs() < 1e-9);
    }
}
