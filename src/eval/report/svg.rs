//! Drawings as inline SVG: lines with bands, and bars with whiskers.

use std::fmt::Write as _;

/// How every page that holds these drawings looks, in light and in dark.
pub(crate) const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1d232a;--paper:#fff;--faint:#e3e6ea;--soft:#5d6873}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--paper:#15191e;--faint:#2b323a;--soft:#9aa5b1}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:1180px;padding:24px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:40px 0 4px;border-top:1px solid var(--faint);padding-top:20px}
h3{font-size:15px;margin:22px 0 6px}p,li{color:var(--soft);margin:4px 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:18px 28px}
figure{margin:8px 0}figcaption{font-weight:600;margin-bottom:4px}
svg{width:100%;height:auto;overflow:visible}svg text{font-size:11px;fill:var(--soft)}
.grid{stroke:var(--faint)}.axis{stroke:var(--soft)}.whisker{stroke:var(--ink);stroke-width:1.5}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;padding:0;margin:4px 0 0 8px;font-size:12px}
.legend i{display:inline-block;width:22px;margin-right:6px;vertical-align:middle}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
td,th{padding:3px 12px 3px 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--faint)}
td:first-child,th:first-child{text-align:left}b.promote{color:#2e7d32}b.keep{color:#b3261e}b.more{color:#9a6b00}
details{border-top:1px solid var(--faint);margin-top:28px;padding-top:14px}summary{cursor:pointer}
summary h2{display:inline;border:0;margin:0;padding:0}
tr.yard td{font-style:italic;color:var(--soft)}td.wide{text-align:left;white-space:normal}
";

/// Size of a drawing and of its margins, in its own units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// A line.
#[derive(Clone, Debug)]
pub(in crate::eval) struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// `(low, high)` at every point; empty = no band.
    pub band: Vec<(f64, f64)>,
    /// A reference line rather than a rival.
    pub dashed: bool,
}

/// A bar with a whisker.
#[derive(Clone, Debug)]
pub(in crate::eval) struct Bar {
    pub name: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub hollow: bool,
}

/// The colour of a name: the same in every drawing.
pub(in crate::eval) fn colour(name: &str) -> &'static str {
    match name {
        "pointsman" | "pointsman, cold" => "#d1495b",
        "pointsman, warm" => "#e08e45",
        "pointsman, SquareCB" => "#b5838d",
        "pointsman, paced" => "#8d6a9f",
        "kNN+ridge" | "LinUCB" => "#00798c",
        "kNN80" | "Thompson, no context" => "#30638e",
        "ridge" | "LinUCB, forgetting .997" => "#5fa8d3",
        "lexical-10" | "UCB1" => "#7a9e3b",
        "length" => "#a3b18a",
        "group mean" | "full-information ridge" => "#b08900",
        "oracle" | "best fixed arm" | "best fixed arm of the third" => "#444444",
        _ => "#8a8a8a",
    }
}

/// Text that may stand in markup.
pub(in crate::eval) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Round numbers that divide a range into about five parts.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 5.0;
    if !(raw > 0.0 && raw.is_finite()) {
        return vec![low];
    }
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// 1, 2 and 5 times the powers of ten in a range.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = powers.flat_map(|p| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powi(p)));
    let within: Vec<f64> = all.filter(|t| *t >= low && *t <= high).collect();
    if within.len() > 7 {
        within.into_iter().filter(|t| (t.log10() - t.log10().round()).abs() < 1e-9).collect()
    } else {
        within
    }
}

fn label(x: f64) -> String {
    let digits = if x == 0.0 || x.abs() >= 100.0 { 0 } else { (2.0 - x.abs().log10().floor()).max(0.0) as usize };
    let text = format!("{x:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Lines over a linear or logarithmic axis.
pub(in crate::eval) fn lines(title: &str, axes: (&str, &str), lines: &[Line], log: bool) -> String {
    let place = |x: f64| if log { x.max(f64::MIN_POSITIVE).ln() } else { x };
    let xs = || lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)).filter(|x| x.is_finite());
    let ends = |line: &Line| {
        line.points.iter().map(|p| p.1).chain(line.band.iter().flat_map(|b| [b.0, b.1])).collect::<Vec<_>>()
    };
    let ys = || lines.iter().flat_map(ends).filter(|y| y.is_finite());
    let (x0, x1) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
    let (y0, y1) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
    if !(x1 > x0 && y1 >= y0) {
        return String::new();
    }
    let room = ((y1 - y0) * 0.05).max(1e-6);
    let (y0, y1) = (y0 - room, y1 + room);
    let px = |x: f64| LEFT + (place(x) - place(x0)) / (place(x1) - place(x0)) * (WIDTH - LEFT - RIGHT);
    let py = |y: f64| HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let mut svg = head(title, HEIGHT);
    for tick in ticks(y0, y1) {
        let y = py(tick);
        let _ = write!(svg, r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#, WIDTH - RIGHT);
        let _ =
            write!(svg, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#, LEFT - 6.0, y + 4.0, label(tick));
    }
    for tick in if log { log_ticks(x0, x1) } else { ticks(x0, x1) } {
        let x = px(tick);
        let _ = write!(svg, r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/>"#, HEIGHT - BOTTOM);
        let _ = write!(
            svg,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            HEIGHT - BOTTOM + 16.0,
            label(tick)
        );
    }
    for line in lines {
        let colour = colour(&line.name);
        if line.band.len() == line.points.len() && !line.band.is_empty() {
            let over = line.points.iter().zip(&line.band).map(|(p, b)| (p.0, b.1));
            let under = line.points.iter().zip(&line.band).rev().map(|(p, b)| (p.0, b.0));
            let path: Vec<String> = over.chain(under).map(|(x, y)| format!("{:.1},{:.1}", px(x), py(y))).collect();
            let _ = write!(svg, r#"<polygon points="{}" fill="{colour}" opacity=".13"/>"#, path.join(" "));
        }
        let path: Vec<String> = line.points.iter().map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1))).collect();
        let dash = if line.dashed { r#" stroke-dasharray="5 4""# } else { "" };
        let _ = write!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{dash}><title>{}</title></polyline>"#,
            path.join(" "),
            escaped(&line.name)
        );
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let _ =
        write!(svg, r#"<text x="{middle:.1}" y="{:.1}" text-anchor="middle">{}</text>"#, HEIGHT - 6.0, escaped(axes.0));
    let _ = write!(
        svg,
        r#"<text transform="translate(13 {:.1}) rotate(-90)" text-anchor="middle">{}</text></svg>"#,
        f64::midpoint(TOP, HEIGHT - BOTTOM),
        escaped(axes.1)
    );
    let entry = |line: &Line| {
        let style = if line.dashed { "dashed" } else { "solid" };
        format!(r#"<li><i style="border-top:2px {style} {}"></i>{}</li>"#, colour(&line.name), escaped(&line.name))
    };
    let legend: String = lines.iter().map(entry).collect();
    format!("<figure><figcaption>{}</figcaption>{svg}<ul class=\"legend\">{legend}</ul></figure>", escaped(title))
}

/// Bars from zero, one under the other, with whiskers.
pub(in crate::eval) fn bars(title: &str, axis: &str, bars: &[Bar]) -> String {
    let values = || bars.iter().flat_map(|bar| [bar.value, bar.low, bar.high, 0.0]).filter(|x| x.is_finite());
    let (low, high) = (values().fold(0.0, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if high <= low {
        return String::new();
    }
    let (step, left) = (22.0, 128.0);
    let height = TOP + step * bars.len() as f64 + BOTTOM;
    let room = (high - low) * 0.04;
    let px = |x: f64| left + (x - low + room) / (high - low + 2.0 * room) * (WIDTH - left - RIGHT);
    let mut svg = head(title, height);
    for tick in ticks(low, high) {
        let x = px(tick);
        let class = if tick == 0.0 { "axis" } else { "grid" };
        let _ =
            write!(svg, r#"<line class="{class}" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/>"#, height - BOTTOM);
        let _ = write!(
            svg,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            height - BOTTOM + 16.0,
            label(tick)
        );
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = TOP + step * i as f64;
        let (from, to) = (px(bar.value.min(0.0)), px(bar.value.max(0.0)));
        let colour = colour(&bar.name);
        let fill = if bar.hollow { "none" } else { colour };
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 8.0,
            y + 14.0,
            escaped(&bar.name)
        );
        let _ = write!(
            svg,
            r#"<rect x="{from:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{fill}" stroke="{colour}"><title>{} {:.2}</title></rect>"#,
            y + 3.0,
            (to - from).max(0.5),
            step - 8.0,
            escaped(&bar.name),
            bar.value
        );
        if bar.low.is_finite() && bar.high.is_finite() {
            let (a, b, m) = (px(bar.low), px(bar.high), y + step / 2.0 - 1.0);
            let _ = write!(svg, r#"<line class="whisker" x1="{a:.1}" x2="{b:.1}" y1="{m:.1}" y2="{m:.1}"/>"#);
        }
    }
    let middle = f64::midpoint(left, WIDTH - RIGHT);
    let _ = write!(
        svg,
        r#"<text x="{middle:.1}" y="{:.1}" text-anchor="middle">{}</text></svg>"#,
        height - 6.0,
        escaped(axis)
    );
    format!("<figure><figcaption>{}</figcaption>{svg}</figure>", escaped(title))
}

fn head(title: &str, height: f64) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}">"#, escaped(title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!(ticks(0.581, 0.662).iter().all(|t| (0.581..=0.662).contains(t)));
        assert_eq!(log_ticks(0.02, 0.3), [0.02, 0.05, 0.1, 0.2]);
    }

    #[test]
    fn a_name_cannot_break_the_markup() {
        let line = Line { name: "<b>&\"".into(), points: vec![(0.0, 0.0), (1.0, 1.0)], band: vec![], dashed: false };
        let drawn = lines("t", ("x", "y"), &[line], false);
        assert!(!drawn.contains("<b>") && drawn.contains("&lt;b&gt;&amp;&quot;"), "{drawn}");
    }
}
