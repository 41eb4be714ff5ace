//! The file as it is written: every field may be absent, nothing is checked yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::presets::Preset;
use super::sections::{Sections, Server};
use crate::base::KeySource;
use crate::catalog::{Capability, Price};
use crate::{admission, cache, dispatch, embed, gateway, http, learn, ledger, policy, telemetry};

/// `pointsman.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: Option<u32>,
    pub(super) data: Option<PathBuf>,
    pub(super) baseline: Option<String>,
    pub(super) aliases: BTreeMap<String, OneOrMany>,
    pub(super) providers: BTreeMap<String, Provider>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) presets: BTreeMap<String, Preset>,
    server: Server,
    admission: admission::Config,
    pub(super) cache: cache::Config,
    embed: embed::Config,
    policy: policy::Config,
    dispatch: dispatch::Config,
    gateway: gateway::Config,
    learn: learn::Config,
    ledger: ledger::Config,
    http: http::Config,
    budgets: BTreeMap<String, gateway::budgets::Config>,
    exploration: BTreeMap<String, gateway::Rule>,
    log: telemetry::Config,
}

impl File {
    /// The settings of every part. Serde's `flatten` would do this, but then unknown keys would pass.
    pub(super) fn sections(self) -> Sections {
        let Self { server, admission, cache, embed, policy, dispatch, gateway, learn, ledger, http, log, .. } = self;
        let (budgets, exploration) = (self.budgets, self.exploration);
        Sections {
            server,
            admission,
            cache,
            embed,
            policy,
            dispatch,
            gateway,
            learn,
            ledger,
            http,
            budgets,
            exploration,
            log,
        }
    }
}

/// `[providers.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) base_url: Option<String>,
    pub(super) key: Option<KeySource>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) models: Option<Vec<String>>,
    pub(super) discover: bool,
    pub(super) price: Option<Price>,
}

/// `[[deployments]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Deployment {
    pub(super) id: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) name: Option<String>,
    pub(super) model: Option<String>,
    pub(super) price: Option<Price>,
    pub(super) can: Option<Vec<Capability>>,
    pub(super) context_window: Option<u32>,
    pub(super) max_output: Option<u32>,
    pub(super) weight: Option<f64>,
    pub(super) tags: Vec<String>,
    pub(super) auto: Option<bool>,
    pub(super) like: Option<String>,
}

/// `"a"` or `["a", "b"]`
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a model's name, or a list of them")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}
