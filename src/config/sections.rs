//! The settings of every part, each a `[section]` of the file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Problem, TenantId};
use crate::{admission, cache, dispatch, embed, gateway, http, learn, ledger, policy, telemetry};

/// One `Config` a part. What the file does not say stands at its default.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sections {
    /// `[server]`
    pub server: Server,
    /// `[admission]`
    pub admission: admission::Config,
    /// `[cache]`
    pub cache: cache::Config,
    /// `[embed]`
    pub embed: embed::Config,
    /// `[policy]`
    pub policy: policy::Config,
    /// `[dispatch]`
    pub dispatch: dispatch::Config,
    /// `[gateway]`
    pub gateway: gateway::Config,
    /// `[learn]`
    pub learn: learn::Config,
    /// `[ledger]`
    pub ledger: ledger::Config,
    /// `[http]`
    pub http: http::Config,
    /// `[budgets.NAME]`
    pub budgets: BTreeMap<String, gateway::budgets::Config>,
    /// `[exploration.NAME]`
    pub exploration: BTreeMap<String, gateway::Rule>,
    /// `[log]`
    pub log: telemetry::Config,
}

impl Sections {
    /// A door without keys that stands open to other machines.
    #[must_use]
    pub fn open_door(&self) -> Option<Problem> {
        let listen = self.server.listen;
        (self.admission.keys.is_empty() && !listen.ip().is_loopback()).then(|| {
            let allowed =
                "an address of this machine alone, such as 127.0.0.1:8484, or [[admission.keys]] for its callers";
            Problem::new("listen", format!("{listen}, open to other machines without a key"), allowed)
        })
    }

    /// What every part finds wrong with its own settings.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let found = [
            ("server", self.server.problems()),
            ("admission", self.admission.problems()),
            ("cache", self.cache.problems()),
            ("embed", self.embed.problems()),
            ("policy", self.policy.problems()),
            ("dispatch", self.dispatch.problems()),
            ("gateway", self.gateway.problems()),
            ("learn", self.learn.problems()),
            ("ledger", self.ledger.problems()),
            ("http", self.http.problems()),
            ("server", self.open_door().into_iter().collect()),
        ];
        let tenants: Vec<&TenantId> = self.admission.keys.iter().map(|key| &key.tenant).collect();
        let within = |section: &str, name: &str, problems: Vec<Problem>| {
            let section = format!("{section}.{name}");
            problems.into_iter().map(|problem| problem.inside(&section)).collect::<Vec<_>>()
        };
        let budgets = self.budgets.iter().flat_map(|(name, own)| within("budgets", name, own.problems(&tenants)));
        let rules = self.exploration.iter().flat_map(|(name, own)| within("exploration", name, own.problems(&tenants)));
        found
            .into_iter()
            .flat_map(|(section, problems)| problems.into_iter().map(move |problem| problem.inside(section)))
            .chain(budgets)
            .chain(rules)
            .collect()
    }
}

/// `[server]`: where Pointsman listens, and how it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// How long answers that are under way may take to end after the process was told to stop.
    #[serde(with = "crate::base::duration")]
    pub drain: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8484)), drain: Duration::from_secs(30) }
    }
}

impl Server {
    fn problems(&self) -> Vec<Problem> {
        let longest = Duration::from_hours(1);
        let found = (self.drain > longest).then(|| crate::base::duration::format(self.drain));
        found.map(|found| Problem::new("drain", found, "up to \"1h\"")).into_iter().collect()
    }
}
