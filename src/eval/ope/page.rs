//! An evaluation as one page that needs nothing else: no scripts, no fonts, no network.

use std::fmt::Write as _;

use super::bounds::Interval;
use super::findings::{Evaluation, Figure, Judgement, Segment};
use crate::eval::report::svg::{Bar, Line, STYLE, bars, escaped, lines};

/// Segments drawn of each kind; the largest.
const DRAWN: usize = 16;

/// The page.
#[must_use]
pub fn page(evaluation: &Evaluation) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Pointsman: may it be promoted?</title><style>{STYLE}</style></head><body><h1>May it be promoted?</h1>\
         <p>{} judged decisions ({}); worth by {}. Served: quality {}, cost {} a request.</p>",
        evaluation.rounds,
        escaped(&evaluation.left_out.to_string()),
        escaped(&evaluation.reward),
        evaluation.served.map_or_else(|| "?".to_owned(), figure),
        evaluation.served_cost.map_or_else(|| "?".to_owned(), dollars),
    );
    if !evaluation.judged.is_empty() {
        html.push_str("<p>Judged share of each model's answers: ");
        let shares = evaluation.judged.iter();
        let shares: Vec<String> =
            shares.map(|share| format!("{} {:.1} %", escaped(&share.model), share.judged * 100.0)).collect();
        let _ =
            write!(html, "{}. Far apart, the judges choose, and the figures lean their way.</p>", shares.join(", "));
    }
    for candidate in &evaluation.candidates {
        html.push_str(&section(candidate, evaluation.threshold));
    }
    html.push_str("</body></html>");
    html
}

fn section(candidate: &Judgement, threshold: f64) -> String {
    let mut html = format!(
        "<h2>{}: <b class=\"{verdict}\">{verdict}</b></h2><ul>",
        escaped(&candidate.policy),
        verdict = candidate.verdict
    );
    for why in &candidate.why {
        let _ = write!(html, "<li>{}</li>", escaped(why));
    }
    if let Some(gain) = &candidate.gain {
        let _ = write!(html, "<li>Gain over what served: {} (normal)", figure(gain.normal));
        for (name, bound) in
            [("bootstrap", gain.bootstrap), ("empirical Bernstein", gain.bernstein), ("betting", gain.betting)]
        {
            if let Some(Interval { lower, upper }) = bound {
                let _ = write!(html, "; {lower:+.4} to {upper:+.4} ({name})");
            }
        }
        html.push_str("</li>");
    }
    let _ = write!(
        html,
        "<li>Rounds worth {:.0}, largest weight {:.1}, support {:.1} %, cost {} a request</li></ul><div class=\"charts\">",
        candidate.effective_sample_size,
        candidate.largest_weight,
        candidate.support * 100.0,
        candidate.cost.map_or_else(|| "?".to_owned(), dollars)
    );
    html.push_str(&evidence(candidate, threshold));
    html.push_str(&estimates(candidate));
    for by in ["tenant", "intent", "channel"] {
        html.push_str(&segments(by, &candidate.segments));
    }
    html.push_str(&frontier(candidate));
    html.push_str("</div>");
    html.push_str(&grid(candidate));
    html
}

fn evidence(candidate: &Judgement, threshold: f64) -> String {
    let points: Vec<(f64, f64)> = candidate.evidence.iter().map(|&(n, log_e)| (n as f64, log_e)).collect();
    let ends = points.first().zip(points.last()).map(|(first, last)| vec![(first.0, threshold), (last.0, threshold)]);
    let line = |name: &str, points, dashed| Line { name: name.to_owned(), points, band: Vec::new(), dashed };
    lines(
        "Evidence for a gain, watched at every event",
        ("judged decisions", "ln E"),
        &[line("evidence", points, false), line("enough", ends.unwrap_or_default(), true)],
        false,
    )
}

fn estimates(candidate: &Judgement) -> String {
    let bar = |name: &str, value: Figure| bar(name.to_owned(), value);
    let drawn: Vec<Bar> =
        candidate.estimates.iter().filter_map(|e| e.value.map(|value| bar(&e.estimator, value))).collect();
    bars("Its quality, by every estimator", "quality", &drawn)
}

fn segments(by: &str, segments: &[Segment]) -> String {
    let mut of: Vec<&Segment> = segments.iter().filter(|segment| segment.by == by).collect();
    of.sort_by_key(|segment| std::cmp::Reverse(segment.rounds));
    let drawn: Vec<Bar> = of.iter().take(DRAWN).map(|segment| bar(segment.name.clone(), segment.gain)).collect();
    bars(&format!("Gain by {by}"), "gain over what served", &drawn)
}

fn bar(name: String, value: Figure) -> Bar {
    let (low, high) = value.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.lower, interval.upper));
    Bar { name, value: value.mean, low, high, hollow: false }
}

/// Quality over cost along the weights.
fn frontier(candidate: &Judgement) -> String {
    let mut points: Vec<((f64, f64), (f64, f64))> = candidate
        .grid
        .iter()
        .filter(|point| point.cost_weight.is_some())
        .filter_map(|point| {
            let band = point.quality.interval.map_or((f64::NAN, f64::NAN), |i| (i.lower, i.upper));
            Some(((point.cost?.mean * 1e3, point.quality.mean), band))
        })
        .collect();
    points.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
    let (points, band) = points.into_iter().unzip();
    let line = Line { name: candidate.policy.clone(), points, band, dashed: false };
    lines("Cost and quality along the weights of cost", ("US dollars a thousand requests", "quality"), &[line], false)
}

fn grid(candidate: &Judgement) -> String {
    if candidate.grid.len() < 2 {
        return String::new();
    }
    let mut html = String::from(
        "<div class=\"scroll\"><table><tr><th>weight of cost</th><th>quality</th><th>cost a request</th><th>support</th></tr>",
    );
    for point in &candidate.grid {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td></tr>",
            point.cost_weight.map_or_else(|| "the callers' own".to_owned(), |weight| weight.to_string()),
            figure(point.quality),
            point.cost.map_or_else(|| "?".to_owned(), dollars),
            point.support
        );
    }
    html.push_str("</table></div>");
    html
}

/// A number with its interval.
#[must_use]
pub fn figure(figure: Figure) -> String {
    match figure.interval {
        Some(Interval { lower, upper }) => format!("{:.4} ({lower:.4} to {upper:.4})", figure.mean),
        None => format!("{:.4}", figure.mean),
    }
}

/// A sum with its interval.
#[must_use]
pub fn dollars(figure: Figure) -> String {
    match figure.interval {
        Some(Interval { lower, upper }) => format!("${:.6} (${lower:.6} to ${upper:.6})", figure.mean),
        None => format!("${:.6}", figure.mean),
    }
}
