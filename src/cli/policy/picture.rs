//! `policy show --html`: one page, no script, no address of anything outside it.

use serde_json::Value;

use crate::learn::portrait::Likeness;

const STYLE: &str =
    "body{font:15px/1.45 system-ui,sans-serif;margin:2.5rem auto;max-width:62rem;padding:0 1rem;color:#1c2430}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:1.8rem 0 .3rem}p{margin:.2rem 0 1rem;color:#556}
svg{width:100%;height:auto;display:block}text{font:12px system-ui,sans-serif;fill:#1c2430}.dim{fill:#778}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#dde}p{color:#99a}text{fill:#dde}.dim{fill:#99a}}";

const WIDTH: f64 = 960.0;
const ROW: f64 = 22.0;
/// Where the beliefs are drawn, and where the shares.
const BELIEF: (f64, f64) = (300.0, 690.0);
const SHARE: (f64, f64) = (760.0, 900.0);

/// The page.
pub(super) fn page(head: &Value, likenesses: &[Likeness]) -> String {
    let name = head["name"].as_str().unwrap_or_default();
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Pointsman: what {0} believes</title><style>{STYLE}</style><h1>What {0} believes</h1>\
         <p>{1} rows, learned until event {2}. A dot is the quality expected of a model on an intent's requests on average, \
         the line 95 % of the belief; the bar is how often it was chosen where the policy chose.</p>",
        escaped(name),
        head["rows"],
        head["offset"],
    );
    let (low, high) = likenesses.iter().fold((1.0_f64, 0.0_f64), |(low, high), likeness| {
        let (from, to) = likeness.interval();
        (low.min(from), high.max(to))
    });
    let (low, high) = if high > low { ((low * 10.0).floor() / 10.0, (high * 10.0).ceil() / 10.0) } else { (0.0, 1.0) };
    for rows in likenesses.chunk_by(|a, b| a.intent == b.intent) {
        out += &format!("<h2>{}</h2><p>{} requests</p>", escaped(&rows[0].intent), rows[0].requests);
        out += &drawing(rows, low, high);
    }
    out
}

fn drawing(rows: &[Likeness], low: f64, high: f64) -> String {
    let height = ROW * (rows.len() as f64 + 1.2);
    let place = |value: f64| BELIEF.0 + (value - low) / (high - low) * (BELIEF.1 - BELIEF.0);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">");
    let steps = ((high - low) * 10.0).round() as usize;
    for step in 0..=steps {
        let value = low + step as f64 / 10.0;
        let x = place(value);
        out += &format!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{0:.1}\" stroke=\"#8892\"/><text class=\"dim\" x=\"{x:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">{value:.1}</text>",
            height - ROW,
            height - 6.0,
        );
    }
    for (index, likeness) in rows.iter().enumerate() {
        let y = ROW * (index as f64 + 0.6);
        let (from, to) = likeness.interval();
        let share = likeness.played.unwrap_or(0.0);
        let said = likeness.played.map_or_else(|| "?".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        out += &format!(
            "<text x=\"{0:.0}\" y=\"{1:.1}\" text-anchor=\"end\">{2}</text>\
             <line x1=\"{3:.1}\" x2=\"{4:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#00798c\" stroke-width=\"2\"/>\
             <circle cx=\"{5:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"#00798c\"/>\
             <rect x=\"{6:.0}\" y=\"{7:.1}\" width=\"{8:.1}\" height=\"10\" fill=\"#e08e45\"/>\
             <text class=\"dim\" x=\"{9:.1}\" y=\"{1:.1}\">{said}</text>",
            BELIEF.0 - 14.0,
            y + 4.0,
            escaped(likeness.model.as_str()),
            place(from),
            place(to),
            place(likeness.quality.mean.clamp(low, high)),
            SHARE.0,
            y - 5.0,
            share * (SHARE.1 - SHARE.0),
            SHARE.0 + share * (SHARE.1 - SHARE.0) + 6.0,
        );
    }
    out + "</svg>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
