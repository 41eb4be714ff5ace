//! What the run looks like while it goes on: a table that is drawn over itself on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::{OwoColorize as _, Stream};

use super::figures::Run;
use crate::base::{Clock, SystemClock};
use crate::embed::{self, Status, Step};

/// On a terminal the table is drawn no more often than this.
const EVERY: Duration = Duration::from_millis(150);

/// The live view, on the standard error.
pub(super) struct Screen {
    terminal: bool,
    clock: SystemClock,
    drawn: Option<Duration>,
    /// Lines of the table that stands on the terminal.
    lines: usize,
    /// Tenths of the run that were told as plain lines.
    told: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, clock: SystemClock::new(), drawn: None, lines: 0, told: 0 }
    }

    /// Shows how far the run has come, if it is time.
    pub(super) fn draw(&mut self, run: &Run) {
        let now = self.clock.monotonic();
        if self.terminal {
            if self.drawn.is_none_or(|drawn| now - drawn >= EVERY) {
                self.drawn = Some(now);
                self.redraw(run);
            }
        } else {
            let tenth = run.done() * 10 / run.total().max(1);
            if tenth > self.told {
                self.told = tenth;
                eprintln!("{}", headline(run).join(" | "));
            }
        }
    }

    /// Shows the end of the run; the table goes to the standard output unless that belongs to the JSON.
    pub(super) fn last(&mut self, run: &Run, print: bool) {
        if self.terminal {
            self.redraw(run);
        } else if print {
            println!("\n{}", table(run));
        }
        if let Some(error) = run.errors().first() {
            eprintln!("{} requests went wrong; the first: {error}", run.errors().len());
        }
    }

    fn redraw(&mut self, run: &Run) {
        let text = format!("{}\n\n{}\n", headline(run).join("\n"), table(run));
        let mut frame = String::new();
        if self.lines > 0 {
            let _ = write!(frame, "\x1b[{}A\x1b[J", self.lines);
        }
        frame.push_str(&text);
        self.lines = text.lines().count();
        // A terminal that cannot be written to has nobody looking at it.
        let _ = std::io::stderr().write_all(frame.as_bytes());
    }
}

/// How far, how good, how dear, beside the best single model: a few words a line.
fn headline(run: &Run) -> Vec<String> {
    let mut lines = vec![format!("{:>5} of {} requests, {} errors", run.done(), run.total(), run.errors().len())];
    if let (Some(all), Some(lately)) = (run.all(), run.figures(run.lately())) {
        let best = &all.best_single;
        let saved = percent(all.saved());
        lines.push(format!(
            "quality {:.3} for ${:.4}; always {} {:.3} for ${:.4}: saved {}",
            all.mean_quality,
            all.cost_usd,
            best.model,
            best.mean_quality,
            best.cost_usd,
            saved.if_supports_color(Stream::Stderr, |saved| saved.green()),
        ));
        let (quality, cost) = (lately.mean_quality / lately.best_single.mean_quality, 1.0 - lately.saved());
        lines.push(format!("lately {quality:.3} of its quality at {cost:.2} of its cost"));
        lines.push(match &lately.as_good {
            Some(alone) => format!(
                "lately always {} would have been as good, {:.3} for ${:.4}; this was {:.3} for ${:.4}",
                alone.model, alone.mean_quality, alone.cost_usd, lately.mean_quality, lately.cost_usd,
            ),
            None => "lately no model alone would have been as good".to_owned(),
        });
    }
    if let (Some(p50), Some(p99)) = (run.overhead_ms(0.5), run.overhead_ms(0.99)) {
        lines.push(format!("own time {p50:.1} ms, 99th percentile {p99:.1} ms"));
    }
    lines
}

fn table(run: &Run) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "provider", "$/M in", "out", "requests", "", "first", "lately", "quality", "spent", "mean ms", "alone", "spent",
    ]);
    for share in run.shares() {
        let known = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        table.add_row([
            share.deployment,
            share.price.input.to_string(),
            share.price.output.to_string(),
            share.requests.to_string(),
            "#".repeat((share.lately * 20.0).round() as usize),
            percent(share.first),
            percent(share.lately),
            known(share.mean_quality, 3),
            format!("${:.4}", share.cost_usd),
            known(share.mean_ms, 0),
            format!("{:.3}", share.alone.mean_quality),
            format!("${:.4}", share.alone.cost_usd),
        ]);
    }
    for index in [1, 2, 3, 5, 6, 7, 8, 9, 10, 11] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

/// How the encoder comes along: a bar while it is fetched, a line otherwise.
pub(super) struct EncoderBar(ProgressBar);

impl EncoderBar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:32}] {bytes} of {total_bytes}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// What the encoder's loading reports to.
    pub(super) fn progress(&self) -> embed::Progress {
        let bar = self.0.clone();
        Arc::new(move |step: &Step| match step {
            Step::Trying(place) => bar.set_message(format!("encoder: {place}")),
            Step::Fetched { bytes, total } => {
                bar.set_length(*total);
                bar.set_position(*bytes);
            }
            Step::Passed(_) => {}
            Step::Loaded(how) => bar.set_message(format!("encoder: {how}")),
        })
    }

    /// The encoder is there, or will not come.
    pub(super) fn settled(&self, status: &Status) {
        let message = self.0.message();
        self.0.finish_and_clear();
        match status {
            Status::Failed(reason) => eprintln!("no encoder, so prompts are told apart by their words alone: {reason}"),
            Status::Ready | Status::Loading => eprintln!("{message}"),
        }
    }
}
