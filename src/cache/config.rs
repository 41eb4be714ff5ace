//! How much is remembered, how long, for whom, and how sure it must be.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::Repeats;
use crate::base::problem::Problem;
use crate::base::{KeySource, ModelId, TenantId};

/// The settings of `[cache]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For which requests answers are repeated: `off`, `deterministic` (temperature 0, and where the caller welcomes
    /// it with `cache-control: max-age`), `always`.
    pub repeats: Repeats,
    /// How long an answer lives, counted from its making.
    #[serde(with = "crate::base::duration")]
    pub lifetime: Duration,
    /// From this age on an answer is still given, and asked for anew behind the caller's back. Zero = never.
    #[serde(with = "crate::base::duration")]
    pub refresh_after: Duration,
    /// How long after its lifetime an answer may still stand in for a provider that fails. Zero = not at all.
    #[serde(with = "crate::base::duration")]
    pub stale_if_error: Duration,
    /// Bytes kept in all.
    pub max_bytes: u64,
    /// Bytes of the largest answer kept.
    pub max_entry_bytes: usize,
    /// The key by which everything is sealed on disk, by reference. Without one nothing is on disk, and the cache is
    /// empty after a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySource>,
    /// Other lifetimes for some tenants.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// Answers for prompts that mean the same.
    pub semantic: SemanticConfig,
}

/// What differs for a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// How long its answers live.
    #[serde(with = "crate::base::duration")]
    pub lifetime: Duration,
}

/// `[cache.semantic]`: one number decides, the rest has defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SemanticConfig {
    /// The largest share of wrong answers among those given for other prompts. Absent = no such answers are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wrong: Option<f64>,
    /// The share of such answers after which the model is asked as well, to see whether they were right.
    pub check_share: f64,
    /// Verdicts that a namespace needs before it serves.
    pub min_labels: u64,
    /// Whether later turns of a conversation are compared too, within one and the same history.
    pub conversations: bool,
    /// The model that is asked whether two answers in words say the same. Absent = their vectors decide, where they can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<ModelId>,
    /// The largest share of the misses for which it is asked, of those with a candidate the most telling ones; beside
    /// these it is asked at every check. With 1 it is asked at every miss.
    pub judge_share: f64,
    /// How long a namespace that was found wrong too often answers by exact keys alone, before it is tried again.
    #[serde(with = "crate::base::duration")]
    pub cooling: Duration,
    /// Prompts in one namespace; the least used of the oldest goes first.
    pub max_entries: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repeats: Repeats::default(),
            lifetime: Duration::from_hours(24),
            refresh_after: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            max_bytes: 64 * 1_000_000,
            max_entry_bytes: 1_000_000,
            key: None,
            tenants: BTreeMap::new(),
            semantic: SemanticConfig::default(),
        }
    }
}

impl Default for SemanticConfig {
    fn default() -> Self {
        Self {
            max_wrong: None,
            check_share: 0.02,
            min_labels: 200,
            conversations: false,
            judge: None,
            judge_share: 0.1,
            cooling: Duration::from_hours(1),
            max_entries: 100_000,
        }
    }
}

impl Config {
    /// How long this tenant's answers live.
    #[must_use]
    pub fn lifetime_of(&self, tenant: &TenantId) -> Duration {
        self.tenants.get(tenant.as_str()).map_or(self.lifetime, |own| own.lifetime)
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.lifetime.is_zero() {
            problems.push(Problem::new("lifetime", "0s", "a duration above zero; `repeats = \"off\"` switches it off"));
        }
        for (name, own) in self.tenants.iter().filter(|(_, own)| own.lifetime.is_zero()) {
            let found = crate::base::duration::format(own.lifetime);
            problems.push(Problem::new(format!("tenants.{name}.lifetime"), found, "a duration above zero"));
        }
        if !self.refresh_after.is_zero() && self.refresh_after >= self.lifetime {
            let found = crate::base::duration::format(self.refresh_after);
            problems.push(Problem::new("refresh_after", found, "less than lifetime, or \"0s\""));
        }
        if self.max_bytes < self.max_entry_bytes as u64 {
            problems.push(Problem::new("max_bytes", self.max_bytes, "at least max_entry_bytes"));
        }
        let semantic = &self.semantic;
        if let Some(share) = semantic.max_wrong.filter(|share| !(0.001..=0.2).contains(share)) {
            let allowed = "0.001 to 0.2: the largest share of wrong answers you bear, not a similarity";
            problems.push(Problem::new("semantic.max_wrong", share, allowed));
        }
        if !(0.0..=1.0).contains(&semantic.check_share) || (semantic.max_wrong.is_some() && semantic.check_share == 0.0)
        {
            let allowed = "above 0, to 1: without checks nobody would know how often it is wrong";
            problems.push(Problem::new("semantic.check_share", semantic.check_share, allowed));
        }
        if !(0.0..=1.0).contains(&semantic.judge_share) {
            let allowed = "0 to 1: the share of the misses for which the judge is asked";
            problems.push(Problem::new("semantic.judge_share", semantic.judge_share, allowed));
        }
        if semantic.max_entries == 0 {
            problems.push(Problem::new("semantic.max_entries", 0, "1 or more"));
        }
        problems
    }
}
