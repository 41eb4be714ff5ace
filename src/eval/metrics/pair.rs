//! A weak and a strong model without costs: the axis is the share of calls sent to the strong one.

use ndarray::{ArrayView1, ArrayView2};
use serde::Serialize;

/// The outcomes of a weak and a strong model on the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Score of the weak model, row by row.
    pub weak: Vec<f64>,
    /// Score of the strong model.
    pub strong: Vec<f64>,
}

/// What a router is worth between two models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairFigures {
    /// Area under the recovered performance gap over the share of strong calls. A random router has 0.5.
    pub apgr: f64,
    /// The same from eleven points at the deciles of the score, as published; `None` with fewer than 11 distinct edges.
    pub apgr10: Option<f64>,
    /// Least share of strong calls, percent, that recovers half of the gap; `None` = not reached.
    pub cpt50: Option<f64>,
    /// The same for four fifths of the gap.
    pub cpt80: Option<f64>,
}

impl Pair {
    /// Rows by falling score; ties keep their order.
    #[must_use]
    pub fn ranking(scores: &[f64]) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..scores.len()).collect();
        rows.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        rows
    }

    /// The curve `(share of strong calls, recovered share of the gap)`, the rows of `ranking` sent to the strong model
    /// one after the other.
    #[must_use]
    pub fn curve(&self, ranking: &[usize]) -> Vec<(f64, f64)> {
        let total = ranking.len() as f64;
        let gap: f64 = ranking.iter().map(|row| self.strong[*row] - self.weak[*row]).sum();
        let mut gained = 0.0;
        let mut curve = Vec::with_capacity(ranking.len() + 1);
        curve.push((0.0, 0.0));
        for (sent, &row) in (1_u32..).zip(ranking) {
            gained += self.strong[row] - self.weak[row];
            curve.push((f64::from(sent) / total, gained / gap));
        }
        curve
    }

    /// APGR of a ranking in every redraw, `weights` `[draws, n]`: each row comes as often as its weight says. What every
    /// trapezoid would be divided by, the sum of weights and the gap, is known only at the end, and one division does for all.
    #[must_use]
    pub fn redrawn(&self, ranking: &[usize], weights: ArrayView2<'_, f64>) -> Vec<f64> {
        let gains: Vec<(usize, f64)> = ranking.iter().map(|&row| (row, self.strong[row] - self.weak[row])).collect();
        let apgr = |weights: ArrayView1<'_, f64>| {
            let (mut sent, mut gained, mut area) = (0.0, 0.0, 0.0);
            for (row, gain) in &gains {
                let (weight, before) = (weights[*row], gained);
                sent += weight;
                gained += weight * gain;
                area += weight * (before + gained);
            }
            area / (2.0 * sent * gained)
        };
        weights.rows().into_iter().map(apgr).collect()
    }

    /// Every figure of a router that gives the rows these scores.
    #[must_use]
    pub fn figures(&self, scores: &[f64]) -> PairFigures {
        let curve = self.curve(&Self::ranking(scores));
        let reached = |share: f64| curve.iter().find(|(_, pgr)| *pgr >= share).map(|(x, _)| 100.0 * x);
        PairFigures { apgr: area(&curve), apgr10: self.apgr10(scores), cpt50: reached(0.5), cpt80: reached(0.8) }
    }

    /// APGR from eleven thresholds, the decile edges of the score.
    fn apgr10(&self, scores: &[f64]) -> Option<f64> {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        let edges: Vec<f64> = (0..=10).map(|d| quantile(&sorted, f64::from(d) / 10.0)).collect();
        if edges.windows(2).any(|two| two[0] == two[1]) {
            return None;
        }
        let n = scores.len() as f64;
        let gap: f64 = self.strong.iter().zip(&self.weak).map(|(s, w)| s - w).sum();
        let point = |(i, edge): (usize, &f64)| {
            let sent = |score: f64| if i == 10 { score > *edge } else { score >= *edge };
            let rows = || scores.iter().enumerate().filter(|(_, score)| sent(**score)).map(|(row, _)| row);
            (rows().count() as f64 / n, rows().map(|row| self.strong[row] - self.weak[row]).sum::<f64>() / gap)
        };
        let mut curve: Vec<(f64, f64)> = edges.iter().enumerate().map(point).collect();
        curve.reverse();
        Some(area(&curve))
    }
}

/// Trapezoids under a line of points.
fn area(curve: &[(f64, f64)]) -> f64 {
    curve.windows(2).map(|two| (two[1].0 - two[0].0) * (two[0].1 + two[1].1) / 2.0).sum()
}

/// The linear quantile of sorted numbers.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn apgr_and_cpt_of_four_rows_by_hand() {
        let pair = Pair { weak: vec![0.0, 1.0, 0.0, 1.0], strong: vec![1.0, 1.0, 1.0, 1.0] };
        // Ranked 0, 1, 2, 3 the gap is recovered by halves after rows 0 and 2.
        let figures = pair.figures(&[4.0, 3.0, 2.0, 1.0]);
        // Heights 0, .5, .5, 1, 1 at steps of a quarter.
        assert!((figures.apgr - (0.25 * (0.25 + 0.5 + 0.75 + 1.0))).abs() < 1e-12);
        assert_eq!(figures.cpt50, Some(25.0));
        assert_eq!(figures.cpt80, Some(75.0));
        assert_eq!(figures.apgr10, Some(0.625));
    }

    #[test]
    fn a_row_of_weight_two_counts_as_two_rows() {
        let pair = Pair { weak: vec![0.0, 1.0], strong: vec![1.0, 0.0] };
        let twice = Pair { weak: vec![0.0, 0.0, 1.0], strong: vec![1.0, 1.0, 0.0] };
        let weighted = pair.redrawn(&[0, 1], array![[2.0, 1.0]].view());
        assert!((weighted[0] - area(&twice.curve(&[0, 1, 2]))).abs() < 1e-12);
    }

    #[test]
    fn eleven_distinct_edges_give_eleven_points() {
        let n = 101;
        let pair = Pair { weak: vec![0.0; n], strong: vec![1.0; n] };
        let scores: Vec<f64> = (0..n).map(|i| i as f64).collect();
        // Every row gains alike, so the line is straight: half the square.
        assert!((pair.figures(&scores).apgr10.expect("eleven edges") - 0.5).abs() < 1e-12);
    }
}
