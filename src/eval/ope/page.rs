//! An evaluation as one page that needs nothing else: no scripts, no fonts, no network.

use std::fmt::Write as _;

use super::bounds::Interval;
use super::findings::{Evaluation, Figure, Judgement, Segment};
use super::words::{dollars, figure, grouped, or_unknown, signed, unpriced};
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
        or_unknown(evaluation.served, figure),
        or_unknown(evaluation.served_cost, dollars),
    );
    if !evaluation.judged.is_empty() {
        html.push_str("<p>Judged share of each model's answers: ");
        let shares = evaluation.judged.iter();
        let shares: Vec<String> =
            shares.map(|share| format!("{} {:.1} %", escaped(&share.model), share.judged * 100.0)).collect();
        let _ =
            write!(html, "{}. Far apart, the judges choose, and the figures lean their way.</p>", shares.join(", "));
    }
    if let Some(sentence) = unpriced(&evaluation.unpriced) {
        let _ = write!(html, "<p>{}.</p>", escaped(&sentence));
    }
    html.push_str(&summary(evaluation));
    for (n, candidate) in evaluation.candidates.iter().enumerate() {
        html.push_str(&section(candidate, evaluation, n == 0));
    }
    html.push_str("</body></html>");
    html
}

/// Every candidate in a line.
fn summary(evaluation: &Evaluation) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table><tr><th>policy</th><th>verdict</th><th>gain over what served (95 %)</th>\
         <th>cost a request (95 %)</th><th>rounds worth</th><th>largest weight</th><th>support</th></tr>",
    );
    for candidate in &evaluation.candidates {
        let _ = write!(
            html,
            "<tr><td>{}</td><td><b class=\"{verdict}\">{verdict}</b></td><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td><td>{:.1} %</td></tr>",
            escaped(&candidate.policy),
            or_unknown(candidate.gain.as_ref().map(|gain| gain.normal), signed),
            or_unknown(candidate.cost, dollars),
            grouped(candidate.effective_sample_size.round() as u64),
            candidate.largest_weight,
            candidate.support * 100.0,
            verdict = candidate.verdict,
        );
    }
    html.push_str(
        "</table></div><p>Rounds worth: how many decisions of its own the logged ones are worth. Support: the share of \
         what it would do that the log tries. ?: the log says too little.</p>",
    );
    html
}

/// All about one candidate; the first is open, the others open when asked.
fn section(candidate: &Judgement, evaluation: &Evaluation, open: bool) -> String {
    let mut html = format!(
        "<details{}><summary><h2>{}: <b class=\"{verdict}\">{verdict}</b></h2></summary><ul>",
        if open { " open" } else { "" },
        escaped(&candidate.policy),
        verdict = candidate.verdict
    );
    for why in &candidate.why {
        let _ = write!(html, "<li>{}</li>", escaped(why));
    }
    if let Some(gain) = &candidate.gain {
        let _ = write!(html, "<li>Gain over what served: {} (normal)", signed(gain.normal));
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
        "<li>Quality by every estimator: {}</li></ul><div class=\"charts\">",
        escaped(&in_a_line(candidate))
    );
    html.push_str(&evidence(candidate, evaluation.threshold));
    html.push_str(&estimates(candidate, evaluation.served));
    for by in ["tenant", "intent", "channel"] {
        html.push_str(&segments(by, &candidate.segments));
    }
    html.push_str(&frontier(candidate));
    html.push_str("</div>");
    html.push_str(&grid(candidate));
    html + "</details>"
}

fn in_a_line(candidate: &Judgement) -> String {
    let said = candidate.estimates.iter().map(|estimate| {
        let value = estimate.value.map_or_else(|| "?".to_owned(), |value| format!("{:.4}", value.mean));
        format!("{} {value}", estimate.estimator)
    });
    said.collect::<Vec<_>>().join(", ")
}

fn evidence(candidate: &Judgement, threshold: f64) -> String {
    let points: Vec<(f64, f64)> = candidate.evidence.iter().map(|&(n, log_e)| (n as f64, log_e)).collect();
    let ends = points.first().zip(points.last()).map(|(first, last)| vec![(first.0, threshold), (last.0, threshold)]);
    let line = |name: &str, points, dashed| Line { name: name.to_owned(), points, band: Vec::new(), dashed };
    lines(
        "Evidence for a gain, watched at every event",
        ("judged decisions", "evidence, natural logarithm"),
        &[line("evidence", points, false), line("enough", ends.unwrap_or_default(), true)],
        false,
    )
}

/// The estimates as differences from what served: beside each other, whole qualities would look alike.
fn estimates(candidate: &Judgement, served: Option<Figure>) -> String {
    let Some(served) = served else { return String::new() };
    let over = |value: Figure| Figure {
        mean: value.mean - served.mean,
        interval: value
            .interval
            .map(|Interval { lower, upper }| Interval { lower: lower - served.mean, upper: upper - served.mean }),
    };
    let drawn: Vec<Bar> = candidate
        .estimates
        .iter()
        .filter_map(|estimate| Some(bar(estimate.estimator.clone(), over(estimate.value?))))
        .collect();
    bars("Its quality less what was served, by every estimator", "quality above what was served", &drawn)
}

fn segments(by: &str, segments: &[Segment]) -> String {
    let mut of: Vec<&Segment> = segments.iter().filter(|segment| segment.by == by).collect();
    of.sort_by_key(|segment| std::cmp::Reverse(segment.rounds));
    let drawn: Vec<Bar> = of.iter().take(DRAWN).map(|segment| bar(segment.name.clone(), segment.gain)).collect();
    bars(&format!("Gain by {by}"), "gain over what served", &drawn)
}

fn bar(name: String, value: Figure) -> Bar {
    let (low, high) = value.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.lower, interval.upper));
    // Hollow: how far off it may be is not known.
    Bar { name, value: value.mean, low, high, hollow: value.interval.is_none() }
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
            or_unknown(point.cost, dollars),
            point.support
        );
    }
    html.push_str("</table></div>");
    html
}
