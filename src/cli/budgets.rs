//! `pointsman budgets`: what is left of the money.

use comfy_table::{CellAlignment, Table, presets};

use super::{Data, Failure};
use crate::base::{Clock as _, SystemClock};
use crate::gateway::Budgets;
use crate::gateway::budgets::Line;
use crate::ledger::{LedgerError, MemoryLedger, SqliteLedger};

/// Show how every budget of the configuration stands, as the ledger says; also while the endpoint is serving.
///
/// `left` is what the next answer may cost: what is in the purse, which fills evenly, less what is held back for
/// requests on their way. `spent` is that of the running period (hours, days, weeks and months of 30 days are counted
/// from 1970, UTC). `a dollar counts` is how many points of quality a dollar must buy at present, beside what the
/// caller says.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.data.config()?;
    let now = SystemClock::new().now();
    let configs = &config.sections.budgets;
    let budgets = match SqliteLedger::open_to_read(&args.data.folder()?) {
        Ok(ledger) => Budgets::recover(configs, &ledger, now),
        // Nothing was served yet.
        Err(LedgerError::Folder { .. }) => Budgets::recover(configs, &MemoryLedger::new(), now),
        Err(error) => Err(error),
    };
    let lines = budgets.map_err(Failure::failed)?.lines(now);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&lines).map_err(Failure::failed)?);
    } else if lines.is_empty() {
        println!("there is no budget; add [budgets.NAME] with amount = \"5 USD/day\" to the configuration");
    } else {
        println!("{}", table(&lines));
    }
    Ok(())
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
    for column in 3..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Usd;
    use crate::gateway::budgets::{Amount, Period};

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
