//! Where every budget stands, from the ledger.
//!
//! Every decision says how its budgets stood and what it held back. So of each budget the last decision that names it
//! is looked for, from the end of the ledger backwards; then come the ends of requests after it. Requests that nothing
//! is decided for say the same when they end. What was on its way and
//! never ended, because the process was killed, counts as what was held back for it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Account, Budget, Budgets, Config};
use crate::base::{DecisionId, Timestamp, Usd};
use crate::ledger::{BudgetRecord, Completed, Entry, Event, Ledger, LedgerError, Offset};
use crate::policy::pacer::{Pacer, Rate, Standing};

/// Events read at a time.
const STRIDE: u64 = 1024;
/// A budget that was not named in so many events is taken to begin anew.
const FAR: u64 = 500_000;
/// Events may stand in the ledger in another order than they happened, by as much as this.
const ASKEW: Duration = Duration::from_secs(1);

impl Budgets {
    /// The budgets of this configuration, each as the ledger says that it stands.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn recover(
        configs: &BTreeMap<String, Config>,
        ledger: &dyn Ledger,
        now: Timestamp,
    ) -> Result<Self, LedgerError> {
        let fresh = Self::new(configs, now);
        if configs.is_empty() || ledger.last() == 0 {
            return Ok(fresh);
        }
        let (entries, last) = read_back(&fresh, ledger, now)?;
        for budget in &fresh.0 {
            if let Some((id, record)) = last.get(&budget.name) {
                budget.go_on(*id, record, &entries, ledger, now)?;
            }
        }
        Ok(fresh)
    }
}

/// The last record of each budget, by its name, with the decision that says so.
type Records = HashMap<String, (DecisionId, BudgetRecord)>;

/// The end of the ledger, as far back as any budget needs it, and the last record of each.
fn read_back(budgets: &Budgets, ledger: &dyn Ledger, now: Timestamp) -> Result<(Vec<Entry>, Records), LedgerError> {
    let mut last = Records::new();
    let mut strides: Vec<Vec<Entry>> = Vec::new();
    let end = ledger.last();
    let mut before = end;
    let mut settled = false;
    while before > 0 && end - before < FAR {
        let from = before.saturating_sub(STRIDE);
        let stride = scan(ledger, from, before)?;
        for entry in &stride {
            let (id, records) = match &entry.event {
                Event::Decided(decided) => (decided.id, &decided.budgets),
                Event::Completed(completed) => (completed.id, &completed.budgets),
                Event::Feedback(_) => continue,
            };
            for record in records {
                let known = last.get(&record.name);
                if known.is_none_or(|(_, known)| known.at <= record.at) {
                    last.insert(record.name.clone(), (id, record.clone()));
                }
            }
        }
        let oldest = stride.first().map_or(now, |entry| entry.at);
        strides.push(stride);
        before = from;
        // One stride more than the last record needs: what happened at the same time may stand before it.
        if settled {
            break;
        }
        settled = budgets.0.iter().all(|budget| {
            last.contains_key(&budget.name) || budget.time_to_fill().is_some_and(|time| now.since(oldest) > time)
        });
    }
    strides.reverse();
    Ok((strides.into_iter().flatten().collect(), last))
}

/// The events after `from` up to `to`, without those that cannot be read.
fn scan(ledger: &dyn Ledger, mut from: Offset, to: Offset) -> Result<Vec<Entry>, LedgerError> {
    let mut all = Vec::new();
    while from < to {
        match ledger.scan(from, (to - from) as usize) {
            Ok(entries) => {
                let Some(last) = entries.last() else { break };
                from = last.offset;
                all.extend(entries);
            }
            Err(LedgerError::Corrupt { offset, .. }) if offset > from => from = offset,
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

impl Budget {
    /// After this long without a request the purse is full again, whatever was before.
    fn time_to_fill(&self) -> Option<Duration> {
        match self.config.rate() {
            rate @ Rate::PerHour(_) => rate.time_for(self.config.credit()),
            Rate::PerRequest(_) => None,
        }
    }

    /// Stands where this decision's record says, and where what happened after it has brought it.
    fn go_on(
        &self,
        decision: DecisionId,
        record: &BudgetRecord,
        entries: &[Entry],
        ledger: &dyn Ledger,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let BudgetRecord { left, held, price, allowed, at, spent, .. } = record.clone();
        let standing = Standing { purse: left + held, held: Usd::ZERO, price, allowed, at };
        let pacer = Pacer::resumed(self.config.rate(), self.config.credit(), standing);
        let mut account = Account { spent: spent.get(), ..Account::new(pacer, &self.config, at) };
        // Held back for those that were on their way, and not accounted for by an end.
        let mut open = HashMap::from([(decision, record.hold)]);
        let mut before = held.get();
        for entry in entries.iter().filter(|entry| entry.at.after(ASKEW) >= at) {
            match &entry.event {
                Event::Decided(decided) => {
                    if let Some(own) = decided.budgets.iter().find(|own| own.name == self.name && own.at > at) {
                        account.pacer.pace(own.at);
                        open.insert(decided.id, own.hold);
                    }
                }
                Event::Completed(completed) if completed.at >= at && self.pays(completed) => {
                    let own = completed.budgets.iter().find(|own| own.name == self.name);
                    if let Some(own) = own.filter(|own| own.at > at) {
                        account.pacer.pace(own.at);
                    }
                    let hold = match (open.remove(&completed.id), own) {
                        (Some(hold), _) => hold,
                        (None, Some(own)) => {
                            before -= if own.at > at { 0.0 } else { own.hold.get() };
                            own.hold
                        }
                        (None, None) => self
                            .held_for(completed.id, ledger)?
                            .inspect(|hold| before -= hold.get())
                            .unwrap_or_default(),
                    };
                    let cost = completed.cost_usd.unwrap_or(hold);
                    // Answers from memory are not paid for.
                    if cost > Usd::ZERO || hold > Usd::ZERO {
                        account.pay(&self.config, cost, Usd::ZERO, own.is_none(), completed.at);
                    }
                }
                Event::Completed(_) | Event::Feedback(_) => {}
            }
        }
        let lost = open.values().map(|hold| hold.get()).sum::<f64>() + before.max(0.0);
        // Below a millionth of a cent is rounding.
        if lost > 1e-8 {
            tracing::warn!(budget = self.name, lost = %Usd(lost), "requests never ended; they count as what was held back");
            account.pay(&self.config, Usd(lost), Usd::ZERO, true, now);
        }
        *self.account.lock() = account;
        Ok(())
    }

    fn pays(&self, completed: &Completed) -> bool {
        self.config.tenant.as_ref().is_none_or(|own| *own == completed.tenant)
    }

    /// What was held back for an earlier decision; `None` if it was not paid from here.
    fn held_for(&self, id: DecisionId, ledger: &dyn Ledger) -> Result<Option<Usd>, LedgerError> {
        Ok(ledger.of_decision(id)?.into_iter().find_map(|entry| match entry.event {
            Event::Decided(decided) => {
                decided.budgets.into_iter().find(|own| own.name == self.name).map(|own| own.hold)
            }
            _ => None,
        }))
    }
}
