//! Money that is limited: what a choice may cost, held back while the request is on its way, settled when it ends.
//!
//! A request is paid from every budget of its tenant and from those of everybody, from all of them or from none: they
//! are locked together, in the order of their names, for as long as it takes to compare and to add a few numbers. The
//! policy is asked in between, without any lock; if others have taken what it counted on, it is asked again with what
//! is left. A [`Hold`] gives back what it holds when it is dropped, so nothing stays held of a request that is gone.
//!
//! What is held back is what the answer is likely to cost at most ([`crate::policy::Ask::likely_most`]), of the dearest
//! deployment that may have to step in. So spending stays within `rate x time + credit`, but for what answers turn out
//! dearer than that; this is taken from what comes in next. A call whose cost never becomes known counts as what was
//! held back for it, never as nothing.
//!
//! Requests that nobody chooses for, embeddings, are paid from the same purses ([`Hold::unchosen`]); the price of money,
//! which is for choices, takes no notice of them.
//!
//! Everything stands in the ledger, from which a restart goes on ([`recover`](Budgets::recover)). Budgets are kept by
//! each process for itself: two processes with one configuration spend twice.

mod config;
mod recover;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use config::{Amount, Config, Period};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use crate::base::{Problem, TenantId, Timestamp, Usd};
use crate::ledger::BudgetRecord;
use crate::policy::pacer::{Pace, Pacer, Standing};
use crate::telemetry;

/// All budgets of a configuration.
#[derive(Debug, Default)]
pub struct Budgets(Vec<Arc<Budget>>);

#[derive(Debug)]
struct Budget {
    name: String,
    config: Config,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    pacer: Pacer,
    /// Which period runs, counted from 1970.
    period: u64,
    /// Spent in it.
    spent: f64,
    /// How many of the alerts were given in it.
    alerted: usize,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Whose requests it pays; `None` = everybody's.
    pub tenant: Option<TenantId>,
    /// How much, in what.
    pub amount: Amount,
    /// How much of it may be spent at once.
    pub credit: Usd,
    /// What the next answer may cost.
    pub left: Usd,
    /// Held back for requests on their way.
    pub held: Usd,
    /// Spent in the running period; of a budget a request, since it began.
    pub spent: Usd,
    /// The share of the amount that this is; `None` for a budget a request.
    pub share: Option<f64>,
    /// Points of quality that a dollar counts above what it counts to the caller.
    pub per_usd: f64,
    /// The price of money that this comes from.
    pub price: f64,
}

impl Budgets {
    /// Budgets that begin now, each with a full purse.
    #[must_use]
    pub fn new(configs: &BTreeMap<String, Config>, now: Timestamp) -> Self {
        Self::default().reloaded(configs, now)
    }

    /// These budgets, in place of those before: one of the same name goes on from where it stood.
    #[must_use]
    pub fn reloaded(&self, configs: &BTreeMap<String, Config>, now: Timestamp) -> Self {
        let budget = |(name, config): (&String, &Config)| {
            let before = self.0.iter().find(|before| before.name == *name);
            if let Some(same) = before.filter(|before| before.config == *config) {
                return Arc::clone(same);
            }
            let mut account = Account::new(Pacer::new(config.rate(), config.credit(), now), config, now);
            if let Some(before) = before {
                // Requests on their way settle with the old one; what they will cost is taken as what is held for them.
                let old = before.account.lock();
                let standing = old.pacer.standing();
                let standing = Standing { purse: standing.purse - standing.held, held: Usd::ZERO, ..standing };
                account.pacer = Pacer::resumed(config.rate(), config.credit(), standing);
                if old.period == account.period && before.config.amount.per == config.amount.per {
                    account.spent = old.spent + old.pacer.standing().held.get();
                    account.alerted = config.passed(account.spent);
                }
            }
            Arc::new(Budget { name: name.clone(), config: config.clone(), account: Mutex::new(account) })
        };
        Self(configs.iter().map(budget).collect())
    }

    /// How every budget stands.
    #[must_use]
    pub fn lines(&self, now: Timestamp) -> Vec<Line> {
        self.0.iter().map(|budget| budget.line(now)).collect()
    }

    /// Says in the metrics how every budget stands.
    pub fn tell(&self, now: Timestamp) {
        for line in self.lines(now) {
            metrics::gauge!(telemetry::BUDGET_REMAINING_USD, "budget" => line.name.clone()).set(line.left.get());
            metrics::gauge!(telemetry::BUDGET_DUAL, "budget" => line.name).set(line.price);
        }
    }

    /// Those that this tenant's requests are paid from.
    pub(super) fn of(&self, tenant: &TenantId) -> Purses {
        let pays = |budget: &&Arc<Budget>| budget.config.tenant.as_ref().is_none_or(|own| own == tenant);
        Purses(self.0.iter().filter(pays).cloned().collect())
    }
}

/// The budgets that one request is paid from. Often none.
pub(super) struct Purses(Vec<Arc<Budget>>);

impl Purses {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A request comes: what its choice must respect.
    pub(super) fn pace(&self, now: Timestamp) -> Pace {
        self.asked(|pacer| pacer.pace(now))
    }

    /// What a choice must respect now, without a request that comes.
    pub(super) fn look(&self, now: Timestamp) -> Pace {
        self.asked(|pacer| pacer.look(now))
    }

    fn asked(&self, ask: impl Fn(&mut Pacer) -> Pace) -> Pace {
        self.0.iter().map(|budget| ask(&mut budget.account.lock().pacer)).fold(Pace::default(), Pace::and)
    }

    /// Holds this amount back in every budget, if every one has it; `None`: one has not, any more.
    pub(super) fn hold(&self, amount: Usd, now: Timestamp) -> Option<Hold> {
        // One order for all, so that two requests never wait for each other.
        let mut accounts: Vec<MutexGuard<'_, Account>> = self.0.iter().map(|budget| budget.account.lock()).collect();
        if !accounts.iter().all(|account| account.pacer.has(amount)) {
            return None;
        }
        let record = |(budget, account): (&Arc<Budget>, &mut MutexGuard<'_, Account>)| {
            let left = account.pacer.look(now).purse.unwrap_or_default();
            let Standing { held, price, allowed, at, .. } = account.pacer.standing();
            account.pacer.hold(amount);
            account.turn(&budget.config, now);
            let (name, spent) = (budget.name.clone(), Usd(account.spent));
            BudgetRecord { name, at, left, held, hold: amount, price, allowed, spent }
        };
        let records = self.0.iter().zip(&mut accounts).map(record).collect();
        drop(accounts);
        Some(Hold { budgets: self.0.clone(), amount, chosen: true, records })
    }

    /// How long until every budget has so much; `None` = never, or nobody can tell.
    pub(super) fn time_for(&self, amount: Usd, now: Timestamp) -> Option<Duration> {
        let mut longest = Duration::ZERO;
        for budget in &self.0 {
            let mut account = budget.account.lock();
            let left = account.pacer.look(now).purse.unwrap_or_default();
            if left < amount {
                if amount > account.pacer.credit() {
                    return None;
                }
                longest = longest.max(account.pacer.rate().time_for(amount - left)?);
            }
        }
        Some(longest)
    }

    /// The one that is tightest now: its name and what is left in it.
    pub(super) fn tightest(&self, now: Timestamp) -> Option<Line> {
        self.0.iter().map(|budget| budget.line(now)).min_by(|a, b| a.left.get().total_cmp(&b.left.get()))
    }
}

/// Money held back for one request.
pub(super) struct Hold {
    budgets: Vec<Arc<Budget>>,
    amount: Usd,
    /// Whether it is for a request that something was chosen for.
    chosen: bool,
    /// The budgets as they were, for the ledger.
    pub(super) records: Vec<BudgetRecord>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("amount", &self.amount).finish_non_exhaustive()
    }
}

impl Hold {
    /// Money for a request that nobody chooses for: see [`Pacer::take`].
    pub(super) fn unchosen(self) -> Self {
        // What is dropped gives back what it holds, so it cannot be taken apart.
        let mut hold = self;
        hold.chosen = false;
        hold
    }

    /// The request has ended and cost this much; `None`: nobody knows, and it counts as what was held back.
    pub(super) fn settle(mut self, cost: Option<Usd>, now: Timestamp) {
        for budget in std::mem::take(&mut self.budgets) {
            budget.settle(cost.unwrap_or(self.amount), self.amount, self.chosen, now);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for budget in &self.budgets {
            budget.account.lock().pacer.release(self.amount);
        }
    }
}

impl Budget {
    fn settle(&self, cost: Usd, held: Usd, chosen: bool, now: Timestamp) {
        let mut account = self.account.lock();
        let new = account.pay(&self.config, cost, held, chosen, now);
        let (spent, left) = (Usd(account.spent), account.pacer.look(now).purse.unwrap_or_default());
        drop(account);
        for share in new {
            let percent = format!("{:.0}", share * 100.0);
            tracing::warn!(budget = self.name, %spent, amount = %self.config.amount, "{percent} % of a budget is spent");
            metrics::counter!(telemetry::BUDGET_ALERTS, "budget" => self.name.clone(), "percent" => percent)
                .increment(1);
        }
        metrics::gauge!(telemetry::BUDGET_REMAINING_USD, "budget" => self.name.clone()).set(left.get());
    }

    fn line(&self, now: Timestamp) -> Line {
        let mut account = self.account.lock();
        let pace = account.pacer.look(now);
        account.turn(&self.config, now);
        let Standing { held, price, .. } = account.pacer.standing();
        let amount = self.config.amount;
        Line {
            name: self.name.clone(),
            tenant: self.config.tenant.clone(),
            amount,
            credit: self.config.credit(),
            left: pace.purse.unwrap_or_default(),
            held,
            spent: Usd(account.spent),
            share: amount.per.length().map(|_| account.spent / amount.usd.get()),
            per_usd: pace.per_usd,
            price,
        }
    }
}

impl Account {
    fn new(pacer: Pacer, config: &Config, now: Timestamp) -> Self {
        Self { pacer, period: config.period(now), spent: 0.0, alerted: 0 }
    }

    /// Pays for a request; gives the alerts that are due now.
    fn pay(&mut self, config: &Config, cost: Usd, held: Usd, chosen: bool, now: Timestamp) -> Vec<f64> {
        self.pacer.look(now);
        if chosen {
            self.pacer.settle(cost, held);
        } else {
            self.pacer.take(cost, held);
        }
        self.turn(config, now);
        self.spent += cost.get();
        let passed = config.passed(self.spent);
        let due = config.sorted_alerts().drain(self.alerted.min(passed)..passed).collect();
        self.alerted = passed;
        due
    }

    /// Begins a new period if one has begun.
    fn turn(&mut self, config: &Config, now: Timestamp) {
        let period = config.period(now);
        if period > self.period {
            (self.period, self.spent, self.alerted) = (period, 0.0, 0);
        }
    }
}

impl Config {
    /// Which period runs, counted from 1970; all of time is one for a budget a request.
    fn period(&self, now: Timestamp) -> u64 {
        self.amount.per.length().map_or(0, |length| now.seconds() / length.as_secs())
    }

    fn sorted_alerts(&self) -> Vec<f64> {
        let mut alerts = if self.amount.per == Period::Request { Vec::new() } else { self.alerts.clone() };
        alerts.sort_by(f64::total_cmp);
        alerts
    }

    /// How many of the alerts such spending has passed.
    fn passed(&self, spent: f64) -> usize {
        self.sorted_alerts().iter().filter(|share| spent >= **share * self.amount.usd.get()).count()
    }
}

/// That this is no tenant of the configuration: a rule for nobody is a mistake in its name.
pub(super) fn unknown_tenant(tenant: Option<&TenantId>, tenants: &[&TenantId]) -> Option<Problem> {
    let tenant = tenant?;
    let local = TenantId::from(crate::admission::LOCAL);
    let known = if tenants.is_empty() { vec![&local] } else { tenants.to_vec() };
    if known.contains(&tenant) {
        return None;
    }
    let mut names: Vec<&str> = known.iter().map(|tenant| tenant.as_str()).collect();
    names.dedup();
    Some(Problem::new(
        "tenant",
        format!("{:?}", tenant.as_str()),
        format!("a tenant that has a key: {}", names.join(", ")),
    ))
}
