//! `pointsman budgets`: what is left of the money, and what became of the rules of exploring.

use std::ops::Range;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::{Data, Failure};
use crate::base::{Clock as _, SystemClock};
use crate::gateway::budgets::Line;
use crate::gateway::{Budgets, Guards, Standing};
use crate::ledger::{Ledger, LedgerError, MemoryLedger, SqliteLedger};

/// Show how every budget of the configuration stands, as the ledger says; also while the endpoint is serving.
///
/// `left` is what the next answer may cost: what is in the purse, which fills evenly, less what is held back for
/// requests on their way. `spent` is that of the running period (hours, days, weeks and months of 30 days are counted
/// from 1970, UTC). `a dollar counts` is how many points of quality a dollar must buy at present, beside what the
/// caller says.
///
/// Below it stands, for every tenant served under a rule of exploring, how many of its requests explored, how good its
/// answers were believed to be, and where `quality` is to be kept, by what that multiplies what a dollar counts to the
/// caller.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.data.config()?;
    let now = SystemClock::new().now();
    let configs = &config.sections.budgets;
    let ledger: Box<dyn Ledger> = match SqliteLedger::open_to_read(&args.data.folder()?) {
        Ok(ledger) => Box::new(ledger),
        // Nothing was served yet.
        Err(LedgerError::Folder { .. }) => Box::new(MemoryLedger::new()),
        Err(error) => return Err(Failure::failed(error)),
    };
    let lines = Budgets::recover(configs, ledger.as_ref(), now).map_err(Failure::failed)?.lines(now);
    let guards = Guards::recover(&config.sections.exploration, ledger.as_ref()).map_err(Failure::failed)?;
    let standings = guards.standings();
    if args.json {
        println!("{:#}", json!({ "budgets": lines, "exploration": standings }));
        return Ok(());
    }
    if lines.is_empty() {
        println!("there is no budget; add [budgets.NAME] with amount = \"5 USD/day\" to the configuration");
    } else {
        println!("{}", table(&lines));
    }
    if !standings.is_empty() {
        println!("\n{}", rules(&standings));
    }
    Ok(())
}

fn rules(standings: &[Standing]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["rule", "of", "requests", "explored", "quality", "to be kept", "a dollar counts"]);
    let three = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.3}"));
    for standing in standings {
        table.add_row([
            standing.rule.clone(),
            standing.tenant.to_string(),
            standing.requests.to_string(),
            standing.explored.to_string(),
            three(standing.quality),
            three(standing.kept),
            format!("x {:.2}", standing.dollar),
        ]);
    }
    align_right(&mut table, 2..7);
    table
}

fn align_right(table: &mut Table, columns: Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["budget", "of", "amount", "spent", "", "left", "at once", "a dollar counts"]);
    for line in lines {
        table.add_row([
            line.name.clone(),
            line.tenant.as_ref().map_or("everybody".to_owned(), ToString::to_string),
            line.amount.to_string(),
            line.spent.to_string(),
            line.share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
            line.left.to_string(),
            line.credit.to_string(),
            format!("{:.1}", line.per_usd),
        ]);
    }
    align_right(&mut table, 3..8);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Usd;
    use crate::gateway::budgets::{Amount, Period};

    #[test]
    fn a_tenant_under_a_rule_is_a_line_and_what_is_not_known_is_blank() {
        let standing = |tenant: &str, requests, quality, kept, dollar| Standing {
            tenant: tenant.into(),
            rule: "usual".to_owned(),
            requests,
            explored: requests / 10,
            quality,
            kept,
            dollar,
        };
        let standings =
            [standing("team-a", 120, Some(0.8125), Some(0.8), 1.25), standing("team-b", 0, None, None, 1.0)];
        let shown: Vec<String> = rules(&standings).lines().map(|line| line.trim_end().to_owned()).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn a_budget_is_a_line_and_one_a_request_has_no_share() {
        let line = |name: &str, per, share: Option<f64>| Line {
            name: name.to_owned(),
            tenant: share.map(|_| "team-a".into()),
            amount: Amount { usd: Usd(5.0), per },
            credit: Usd(0.5),
            left: Usd(0.25),
            held: Usd::ZERO,
            spent: Usd(2.125),
            share,
            per_usd: 12.345,
            price: 1.0,
        };
        let lines = [line("team-a", Period::Day, Some(0.425)), line("all", Period::Request, None)];
        let shown: Vec<String> = table(&lines).lines().map(|line| line.trim_end().to_owned()).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
