//! The report as one page that needs nothing else: no scripts, no fonts, no network.

use std::fmt::Write as _;

use super::svg::{Bar, Line, STYLE, bars, escaped, lines};
use super::{Promise, Report, SetReport};
use crate::eval::column::{Column, OURS, Row};
use crate::eval::stream::Change;

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Pointsman: routing benchmark</title><style>{STYLE}</style></head><body><h1>Routing benchmark</h1>\
         <p>Pointsman {}, {} splits and orders, report <code>{}</code>, settings of pointsman <code>{}</code>. Gap share: how much of the area between a coin \
         between single models (the zero router) and an oracle a router covers. Rows in italics know what a served \
         request does not carry, or are lines to compare with.</p>",
        escaped(&report.version),
        report.seeds,
        escaped(&report.digest),
        escaped(&report.settings)
    );
    html.push_str(&promises(report));
    for set in &report.sets {
        html.push_str(&section(set));
    }
    if !report.transfers.is_empty() {
        html.push_str("<h2>Learned on one set, judged on another</h2>");
        for column in &report.transfers {
            html.push_str(&table(column));
        }
    }
    html.push_str("<h2>Published by others, under other settings</h2><div class=\"scroll\"><table>");
    for anchor in report.anchors {
        let _ = write!(
            html,
            "<tr><td class=\"wide\">{}</td><td class=\"wide\">{}</td><td>{}</td></tr>",
            escaped(anchor.source),
            escaped(anchor.figure),
            anchor.read
        );
    }
    html.push_str("</table></div></body></html>");
    html
}

/// What the offline-trained router is held to; a missed bound is as plain to see as a held one.
fn promises(report: &Report) -> String {
    if report.bars.is_empty() {
        return String::new();
    }
    let mut html =
        "<h2>What pointsman is held to</h2><div class=\"scroll\"><table><tr><th></th><th>measured</th><th>bound</th>\
                    <th></th></tr>"
            .to_owned();
    for Promise { bar, held } in &report.bars {
        let digits = bar.digits;
        let way = if bar.at_most { "at most" } else { "at least" };
        let bound = bar.bound.map_or_else(String::new, |bound| format!("{way} {bound:.digits$}"));
        let verdict = match held {
            Some(true) => "<b class=\"promote\">held</b>",
            Some(false) => "<b class=\"keep\">missed</b>",
            None => "",
        };
        let _ = write!(
            html,
            "<tr><td class=\"wide\">{}</td><td>{:.digits$}</td><td>{bound}</td><td>{verdict}</td></tr>",
            escaped(&bar.subject),
            bar.figure
        );
    }
    html.push_str("</table></div>");
    html
}

fn section(set: &SetReport) -> String {
    let mut html = format!(
        "<h2>{}</h2><p>{} prompts, {} models, {} groups; table <code>{}</code></p><ul>",
        escaped(&set.set),
        set.rows,
        set.models.len(),
        set.groups,
        escaped(&set.digest)
    );
    for note in &set.notes {
        let _ = write!(html, "<li>{}</li>", escaped(note));
    }
    html.push_str("</ul><div class=\"charts\">");
    for column in &set.columns {
        html.push_str(&shares(column));
    }
    if let Some(column) = set.columns.first() {
        html.push_str(&frontier(column));
    }
    html.push_str(&learning(set));
    html.push_str(&regret(set));
    for change in Change::ALL {
        html.push_str(&timeline(set, change));
    }
    html.push_str("</div>");
    for column in &set.columns {
        html.push_str(&table(column));
    }
    html.push_str(&trained(set));
    html.push_str(&budgets(set));
    html
}

fn shares(column: &Column) -> String {
    let drawn =
        |row: &&Row| row.router != "oracle" && row.router != "zero router" && row.mean(column.headline).is_finite();
    let pair = column.headline == "apgr";
    let shift = if pair { 0.5 } else { 0.0 };
    let bar = |row: &Row| {
        let (value, sd) = (row.mean(column.headline), row.figures[column.headline].spread.sd);
        let whisker = if column.parts > 1 { sd } else { f64::NAN };
        Bar {
            name: row.router.clone(),
            value: value - shift,
            low: value - shift - whisker,
            high: value - shift + whisker,
            hollow: row.yardstick,
        }
    };
    let all: Vec<Bar> = column.rows.iter().filter(drawn).map(bar).collect();
    let unit = if pair { "APGR less that of chance (.5)" } else { "gap share, %" };
    let axis = if column.parts > 1 { format!("{unit}; whiskers: sd over splits") } else { unit.to_owned() };
    bars(&format!("{}: {}", if pair { "Recovered gap" } else { "Share of the gap" }, column.name), &axis, &all)
}

fn frontier(column: &Column) -> String {
    let shown = ["zero router", "oracle", "lexical-10", "kNN+ridge", "pointsman"];
    let line = |name: &&str| {
        let row = column.row(name).filter(|row| row.curve.len() > 1 || *name == "zero router")?;
        let points: Vec<(f64, f64)> = row.curve.iter().map(|p| (1000.0 * p.cost, p.quality)).collect();
        let dashed = matches!(*name, "zero router" | "oracle");
        (!points.is_empty()).then(|| Line { name: (*name).to_owned(), points, band: Vec::new(), dashed })
    };
    let all: Vec<Line> = shown.iter().filter_map(line).collect();
    let cheap = all.iter().flat_map(|l| &l.points).all(|p| p.0 > 0.0);
    lines("Quality against cost, split 0", ("US dollars per 1,000 requests", "mean score"), &all, cheap)
}

fn learning(set: &SetReport) -> String {
    let line = |curve: &crate::eval::offline::LearningCurve| Line {
        name: curve.router.clone(),
        points: curve.points.iter().map(|(n, mean, _)| (*n as f64, *mean)).collect(),
        band: curve.points.iter().map(|(_, mean, sd)| (mean - sd, mean + sd)).collect(),
        dashed: curve.router == "best single",
    };
    let all: Vec<Line> = set.learning.iter().map(line).collect();
    lines(
        "Score by the number of labelled prompts",
        ("labelled prompts", "mean score, money worth nothing"),
        &all,
        true,
    )
}

fn regret(set: &SetReport) -> String {
    let Some(online) = &set.online else { return String::new() };
    let line = |row: &crate::eval::stream::OnlineRow| Line {
        name: row.policy.clone(),
        points: row.curve.iter().map(|(t, regret, _)| (*t as f64, *regret)).collect(),
        band: row.curve.iter().map(|(_, regret, sd)| (regret - sd, regret + sd)).collect(),
        dashed: matches!(row.policy.as_str(), "best fixed arm" | "full-information ridge"),
    };
    // A policy that learns nothing would press all others flat.
    let all: Vec<Line> = online.rows.iter().filter(|row| row.policy != "random").map(line).collect();
    lines("Regret to the best fixed arm, one outcome a request", ("requests", "score lost"), &all, false)
}

fn timeline(set: &SetReport, change: Change) -> String {
    let rows = set.drift.iter().filter(|row| row.change == change.name());
    let line = |row: &crate::eval::stream::DriftRow| Line {
        name: row.policy.clone(),
        points: row.timeline.iter().map(|(t, reward)| (*t as f64, *reward)).collect(),
        band: Vec::new(),
        dashed: row.policy.starts_with("best fixed"),
    };
    let all: Vec<Line> = rows.map(line).collect();
    let when = if change == Change::Added { "after the first third" } else { "in the middle third" };
    lines(&format!("Drift: {} {when}", change.name()), ("requests", "mean reward"), &all, false)
}

fn table(column: &Column) -> String {
    let named: &[(&str, &str, usize)] = if column.headline == "apgr" {
        &[("apgr", "APGR", 3), ("apgr10", "APGR-10", 3), ("cpt50", "CPT50", 1), ("cpt80", "CPT80", 1)]
    } else {
        &[
            ("gap_share", "gap share %", 1),
            ("gap_share_log", "log share %", 1),
            ("aiq", "AIQ", 4),
            ("qnc95", "QNC95 %", 1),
            ("quality_alone", "score at no price", 4),
            ("max_minus_best", "max less best", 4),
            ("router_arena", "RouterArena S", 1),
        ]
    };
    let mut html = format!(
        "<h3>{}{}</h3><div class=\"scroll\"><table><tr><th>router</th>",
        escaped(&column.name),
        if column.parts > 1 { format!(", {} splits", column.parts) } else { String::new() }
    );
    for (_, head, _) in named {
        let _ = write!(html, "<th>{head}</th>");
    }
    html.push_str("<th>less kNN+ridge, 95%</th><th>less lexical-10, 95%</th></tr>");
    for row in &column.rows {
        let class = if row.yardstick { " class=\"yard\"" } else { "" };
        let _ = write!(html, "<tr{class}><td>{}</td>", escaped(&row.router));
        for (name, _, digits) in named {
            let figure = row.figures.get(name).filter(|f| f.spread.mean.is_finite());
            let text = figure.map_or("not reached".to_owned(), |f| {
                let spread = if column.parts > 1 { format!(" ± {:.digits$}", f.spread.sd) } else { String::new() };
                let missed = if f.not_reached > 0 { format!(" ({} not)", f.not_reached) } else { String::new() };
                format!("{:.digits$}{spread}{missed}", f.spread.mean)
            });
            let _ = write!(html, "<td>{text}</td>");
        }
        for against in ["kNN+ridge", "lexical-10"] {
            let digits = if column.headline == "apgr" { 3 } else { 1 };
            let found = row.differences.iter().find(|d| d.against == against);
            let text = found
                .map_or(String::new(), |d| format!("{:+.digits$} [{:+.digits$}, {:+.digits$}]", d.mean, d.low, d.high));
            let _ = write!(html, "<td>{text}</td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");
    if let Some(sentence) = column.who_beats(OURS) {
        let _ = write!(html, "<p>{}</p>", escaped(&sentence));
    }
    html
}

fn trained(set: &SetReport) -> String {
    if set.trained.is_empty() {
        return String::new();
    }
    let mut html = "<h3>The test part as a stream, after training on the rest</h3><div class=\"scroll\"><table>\
                    <tr><th>policy</th><th>score</th><th>over the best single model</th></tr>"
        .to_owned();
    for row in &set.trained {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{:.4} ± {:.4}</td><td>{:+.4} ± {:.4}</td></tr>",
            escaped(&row.policy),
            row.score.mean,
            row.score.sd,
            row.gain.mean,
            row.gain.sd
        );
    }
    html.push_str("</table></div>");
    html
}

fn budgets(set: &SetReport) -> String {
    if set.budgets.is_empty() {
        return String::new();
    }
    let mut html =
        "<h3>Budgets</h3><div class=\"scroll\"><table><tr><th>policy</th><th>USD per 1,000</th><th>used</th>\
                    <th>overshoot</th><th>score</th><th>gain over a fixed mix at the money spent</th></tr>"
            .to_owned();
    for row in &set.budgets {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{:.3}</td><td>{:.0}%</td><td>{:+.1}%</td><td>{:.4}</td><td>{:+.4} [{:+.4}, {:+.4}]</td></tr>",
            escaped(&row.policy),
            1000.0 * row.budget,
            100.0 * row.utilisation.mean,
            100.0 * row.overshoot.mean,
            row.quality.mean,
            row.gain.mean,
            row.interval.0,
            row.interval.1
        );
    }
    html.push_str("</table></div>");
    html
}
