//! How freely a tenant's requests may explore: `[exploration.NAME]`, and the guards that hold them to it.
//!
//! A rule with a tenant is that tenant's; one without is everybody else's, though each tenant is held to it by a guard
//! of its own. Requests that name their model are not the policy's choice and are left alone. A restart goes on with
//! the tallies that the last decisions in the ledger say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::budgets::unknown_tenant;
use crate::base::{ModelId, Problem, TenantId};
use crate::catalog::Catalog;
use crate::ledger::{Event, Ledger, LedgerError};
use crate::policy::Explore;
use crate::policy::safety::{Guard, Limits, Tally};

/// One rule. Shares of 1 are no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Whose requests; absent = those of every tenant without a rule of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// How freely at most: `never`, `floor` or `full`.
    pub most: Explore,
    /// Share of the value served that exploring may be believed to cost.
    pub allowance: f64,
    /// Share of the requests that may be answered by another model than the best known.
    pub traffic: f64,
    /// Share of the baseline's quality that may be lost.
    pub loss: f64,
    /// Mean quality that is to be kept at the least cost; absent = what the caller says a dollar counts stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
}

impl Default for Rule {
    fn default() -> Self {
        let Limits { allowance, traffic, loss, quality } = Limits::default();
        Self { tenant: None, most: Explore::Full, allowance, traffic, loss, quality }
    }
}

impl Rule {
    const fn limits(&self) -> Limits {
        Limits { allowance: self.allowance, traffic: self.traffic, loss: self.loss, quality: self.quality }
    }

    /// The less free of what is wished and what is allowed.
    pub(super) const fn at_most(&self, wished: Explore) -> Explore {
        match (wished, self.most) {
            (Explore::Never, _) | (_, Explore::Never) => Explore::Never,
            (Explore::Floor, _) | (_, Explore::Floor) => Explore::Floor,
            (Explore::Full, Explore::Full) => Explore::Full,
        }
    }

    /// What is wrong with it. `tenants`: those that keys are for; empty = there are no keys.
    #[must_use]
    pub fn problems(&self, tenants: &[&TenantId]) -> Vec<Problem> {
        let mut problems: Vec<Problem> = unknown_tenant(self.tenant.as_ref(), tenants).into_iter().collect();
        for (name, share) in [("allowance", self.allowance), ("traffic", self.traffic), ("loss", self.loss)] {
            if !(0.0..=1.0).contains(&share) {
                problems.push(Problem::new(name, share, "a share from 0 to 1; 1 = no limit"));
            }
        }
        if let Some(quality) = self.quality.filter(|quality| !(0.0..=1.0).contains(quality)) {
            problems.push(Problem::new("quality", quality, "a mean quality from 0 to 1"));
        }
        problems
    }
}

/// How a tenant stands under its rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The tenant.
    pub tenant: TenantId,
    /// The rule's name.
    pub rule: String,
    /// Requests that the policy decided.
    pub requests: u64,
    /// Those of them that another arm answered than the best known.
    pub explored: u64,
    /// Mean of what was believed of the answers' quality; `None` = there are none.
    pub quality: Option<f64>,
    /// The mean quality to be kept, if one is.
    pub kept: Option<f64>,
    /// By what the weight that a dollar has for the caller is multiplied at present.
    pub dollar: f64,
}

/// The rules in force, with the guards of all tenants.
#[derive(Debug, Default)]
pub struct Guards {
    rules: BTreeMap<String, Rule>,
    guards: RwLock<HashMap<TenantId, Arc<Mutex<Guard>>>>,
}

impl Guards {
    /// These rules, nothing served yet.
    #[must_use]
    pub fn new(rules: &BTreeMap<String, Rule>) -> Self {
        Self { rules: rules.clone(), guards: RwLock::default() }
    }

    /// These rules, in place of those before; tallies go on.
    #[must_use]
    pub fn reloaded(&self, rules: &BTreeMap<String, Rule>) -> Self {
        let new = Self::new(rules);
        for (tenant, guard) in self.guards.read().iter() {
            new.resume(tenant, guard.lock().tally());
        }
        new
    }

    /// These rules, with the tallies that the ledger says: those of the last decision of each tenant.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn recover(rules: &BTreeMap<String, Rule>, ledger: &dyn Ledger) -> Result<Self, LedgerError> {
        const STRIDE: u64 = 1024;
        const FAR: u64 = 100_000;
        let new = Self::new(rules);
        let end = if rules.is_empty() { 0 } else { ledger.last() };
        let mut before = end;
        while before > 0 && end - before < FAR {
            let from = before.saturating_sub(STRIDE);
            let entries = match ledger.scan(from, (before - from) as usize) {
                Ok(entries) => entries,
                Err(LedgerError::Corrupt { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            for entry in entries.iter().rev() {
                if let Event::Decided(decided) = &entry.event
                    && let Some(record) = decided.guard
                    && !new.guards.read().contains_key(&decided.tenant)
                {
                    new.resume(&decided.tenant, record.tally);
                }
            }
            before = from;
        }
        Ok(new)
    }

    fn resume(&self, tenant: &TenantId, tally: Tally) {
        if let Some(rule) = self.rule(tenant) {
            let guard = Guard::new(rule.limits(), tally);
            self.guards.write().insert(tenant.clone(), Arc::new(Mutex::new(guard)));
        }
    }

    /// The rule for this tenant, if there is one.
    pub(super) fn rule(&self, tenant: &TenantId) -> Option<&Rule> {
        self.named(tenant).map(|(_, rule)| rule)
    }

    fn named(&self, tenant: &TenantId) -> Option<(&String, &Rule)> {
        let own = self.rules.iter().find(|(_, rule)| rule.tenant.as_ref() == Some(tenant));
        own.or_else(|| self.rules.iter().find(|(_, rule)| rule.tenant.is_none()))
    }

    /// How every tenant stands that was served under a rule, by name.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let guards: BTreeMap<TenantId, Guard> =
            self.guards.read().iter().map(|(tenant, guard)| (tenant.clone(), guard.lock().clone())).collect();
        let standing = |(tenant, guard): (TenantId, Guard)| {
            let (rule, Rule { quality: kept, .. }) = self.named(&tenant)?;
            let Tally { requests, explored, value, .. } = guard.tally();
            let quality = (requests > 0).then(|| value / requests as f64);
            let (rule, kept, dollar) = (rule.clone(), *kept, 1.0 / guard.worth());
            Some(Standing { tenant, rule, requests, explored, quality, kept, dollar })
        };
        guards.into_iter().filter_map(standing).collect()
    }

    /// The guard of this tenant, if there is a rule for it.
    pub(super) fn of(&self, tenant: &TenantId) -> Option<Arc<Mutex<Guard>>> {
        let rule = self.rule(tenant)?;
        if let Some(guard) = self.guards.read().get(tenant) {
            return Some(Arc::clone(guard));
        }
        let fresh = || Arc::new(Mutex::new(Guard::new(rule.limits(), Tally::default())));
        Some(Arc::clone(self.guards.write().entry(tenant.clone()).or_insert_with(fresh)))
    }
}

/// The model that others must not fall behind: the one named, or the dearest by list price.
pub(super) fn baseline(catalog: &Catalog) -> Option<&ModelId> {
    let dear =
        |deployment: &&crate::catalog::Deployment| deployment.price.as_ref().map(|price| price.input + price.output);
    catalog.baseline.as_ref().or_else(|| {
        let priced = catalog.deployments.iter().filter(|deployment| deployment.auto && deployment.price.is_some());
        let dearest = priced.max_by(|a, b| dear(a).unwrap_or(0.0).total_cmp(&dear(b).unwrap_or(0.0)));
        dearest.map(|deployment| &deployment.model)
    })
}
