//! From logged traffic to a promoted policy.

mod end_to_end;
mod import;
mod killed;
mod maps;
mod replay;
mod train;

use std::path::Path;
use std::process::Command;

use pointsman::base::{Seed, Timestamp};
use pointsman::ledger::{Config, Ledger as _, SqliteLedger};
use pointsman::policy::draw;

use crate::samples::{completed, decided, event, feedback};

/// The binary on this data folder, in an environment of its own.
pub(crate) fn pointsman(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).env_clear().env("HOME", folder).current_dir(folder).env("POINTSMAN_DATA", folder);
    command
}

/// What it says and with which exit code.
pub(crate) fn said(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = pointsman(folder, arguments).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

pub(crate) fn at(n: u64) -> Timestamp {
    Timestamp(1_780_000_000_000_000 + n * 1_000_000)
}

/// A ledger of so many decisions, drawn as logged, all judged: the three models are good this often.
pub(crate) async fn grown(folder: &Path, decisions: u64, worth: [f64; 3]) {
    let ledger = SqliteLedger::open(folder, &Config::default()).expect("opens");
    for n in 0..decisions {
        let seed = Seed(n);
        let mut decision = decided(n, at(n));
        // No price is known here.
        decision.preferences.max_cost = None;
        let propensities: Vec<f64> = decision.arms.iter().map(|arm| arm.propensity).collect();
        decision.chosen = draw(&propensities, seed.uniform("arm"));
        let chosen = decision.chosen;
        let good = f64::from(u8::from(seed.uniform("good") < worth[chosen]));
        ledger.append(at(n), event(decision));
        ledger.append(at(n), event(completed(n, at(n), chosen, &[("empty", 1.0)])));
        ledger.append(at(n), event(feedback(n, at(n), "user", good, None)));
    }
    ledger.flush().await.expect("flushed");
}
