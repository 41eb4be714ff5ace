//! A cost-quality curve: the least non-decreasing concave line above a set of points.

use serde::Serialize;

/// What a policy spends and gets, on average over prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// US dollars a request.
    pub cost: f64,
    /// Mean score.
    pub quality: f64,
}

/// A non-decreasing concave curve through some of the points it was made from. A coin between two policies reaches
/// every point of the line between them, so the curve is what one can really get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hull(Vec<Point>);

impl Hull {
    /// The curve above these points.
    ///
    /// # Panics
    /// If there is no point.
    #[must_use]
    pub fn above(points: impl IntoIterator<Item = Point>) -> Self {
        let mut sorted: Vec<Point> = points.into_iter().collect();
        assert!(!sorted.is_empty(), "a curve needs a point");
        sorted.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.quality.total_cmp(&a.quality)));
        let mut line: Vec<Point> = Vec::with_capacity(sorted.len());
        for point in sorted {
            if line.last().is_some_and(|last| point.quality <= last.quality) {
                continue;
            }
            while let [.., a, b] = line[..] {
                let rise_first = (b.quality - a.quality) * (point.cost - a.cost);
                if rise_first > (point.quality - a.quality) * (b.cost - a.cost) {
                    break;
                }
                line.pop();
            }
            if line.last().is_some_and(|last| last.cost == point.cost) {
                line.pop();
            }
            line.push(point);
        }
        Self(line)
    }

    /// Its corners, from cheap to dear.
    #[must_use]
    pub fn corners(&self) -> &[Point] {
        &self.0
    }

    /// Quality at this cost: flat to the right of the last corner, and to the left of the first.
    #[must_use]
    pub fn at(&self, cost: f64) -> f64 {
        let after = self.0.partition_point(|corner| corner.cost <= cost);
        match (after.checked_sub(1).map(|i| self.0[i]), self.0.get(after)) {
            (Some(a), Some(b)) => a.quality + (b.quality - a.quality) * (cost - a.cost) / (b.cost - a.cost),
            (Some(a), None) => a.quality,
            (None, _) => self.0[0].quality,
        }
    }

    /// The greatest quality reached.
    #[must_use]
    pub fn top(&self) -> Point {
        self.0[self.0.len() - 1]
    }

    /// The least cost with at least this quality; `None` = not reached.
    #[must_use]
    pub fn cost_of(&self, quality: f64) -> Option<f64> {
        let i = self.0.iter().position(|corner| corner.quality >= quality)?;
        let (Some(a), b) = (i.checked_sub(1).map(|i| self.0[i]), self.0[i]) else { return Some(self.0[i].cost) };
        Some(a.cost + (b.cost - a.cost) * (quality - a.quality) / (b.quality - a.quality))
    }

    /// The pieces of the curve on `[lo, hi]`, as pairs of end points.
    fn pieces(&self, lo: f64, hi: f64) -> Vec<(Point, Point)> {
        let mut cuts = vec![lo];
        cuts.extend(self.0.iter().map(|corner| corner.cost).filter(|c| *c > lo && *c < hi));
        cuts.push(hi);
        let point = |cost| Point { cost, quality: self.at(cost) };
        cuts.windows(2).map(|two| (point(two[0]), point(two[1]))).collect()
    }

    /// Mean height over `[lo, hi]`: AIQ. The height at `lo` where the range is empty.
    #[must_use]
    pub fn mean(&self, lo: f64, hi: f64) -> f64 {
        if hi <= lo {
            return self.at(lo);
        }
        let area = |(a, b): (Point, Point)| f64::midpoint(a.quality, b.quality) * (b.cost - a.cost);
        self.pieces(lo, hi).into_iter().map(area).sum::<f64>() / (hi - lo)
    }

    /// Mean height over `[ln lo, ln hi]`: AIQ-log, exact segment by segment. The height at `lo` where the range is empty
    /// or starts at 0.
    #[must_use]
    pub fn mean_log(&self, lo: f64, hi: f64) -> f64 {
        if hi <= lo || lo <= 0.0 {
            return self.at(lo);
        }
        let area = |(p, q): (Point, Point)| {
            let slope = if q.cost > p.cost { (q.quality - p.quality) / (q.cost - p.cost) } else { 0.0 };
            let intercept = p.quality - slope * p.cost;
            intercept * (q.cost / p.cost).ln() + slope * (q.cost - p.cost)
        };
        self.pieces(lo, hi).into_iter().map(area).sum::<f64>() / (hi / lo).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: &[(f64, f64)]) -> Vec<Point> {
        of.iter().map(|&(cost, quality)| Point { cost, quality }).collect()
    }

    #[test]
    fn a_curve_keeps_the_corners_that_a_coin_cannot_beat() {
        let hull = Hull::above(points(&[(4.0, 0.9), (1.0, 0.5), (2.0, 0.55), (2.0, 0.8), (5.0, 0.7), (3.0, 0.8)]));
        assert_eq!(hull.corners(), points(&[(1.0, 0.5), (2.0, 0.8), (4.0, 0.9)]));
    }

    #[test]
    fn areas_are_exact_on_a_curve_of_two_pieces() {
        let hull = Hull::above(points(&[(1.0, 0.5), (2.0, 0.8), (4.0, 0.9)]));
        // Trapezoids .65 x 1 + .85 x 2 + flat .9 x 1, over a range of 4.
        assert!((hull.mean(1.0, 5.0) - (0.65 + 1.7 + 0.9) / 4.0).abs() < 1e-12);
        // y = .2 + .3 c on [1, 2], .7 + .05 c on [2, 4], .9 on [4, 5].
        let log = 0.2 * 2_f64.ln() + 0.3 + 0.7 * 2_f64.ln() + 0.1 + 0.9 * (1.25_f64).ln();
        assert!((hull.mean_log(1.0, 5.0) - log / 5_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_cost_of_a_quality_is_read_off_the_curve_or_not_reached() {
        let hull = Hull::above(points(&[(1.0, 0.5), (2.0, 0.8), (4.0, 0.9)]));
        assert_eq!(hull.cost_of(0.4), Some(1.0));
        assert!((hull.cost_of(0.65).expect("reached") - 1.5).abs() < 1e-12);
        assert_eq!(hull.cost_of(0.91), None);
        assert!((hull.at(3.0) - 0.85).abs() < 1e-12);
        assert_eq!(hull.at(9.0), 0.9);
    }
}
