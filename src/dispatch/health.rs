//! How every deployment is doing: a door with a breaker and a count of who is inside.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::Config;
use super::breaker::Breaker;
use crate::base::{Clock, DeploymentId, Secret};
use crate::catalog::{Availability, Deployment, Health};
use crate::dialect::{Class, Fault};

/// How long to wait where as many requests are in flight as may be.
const FULL_WAIT: Duration = Duration::from_millis(50);

/// The doors of all deployments that were ever called. Their number is bounded by the catalogues of this process.
pub(super) struct Doors {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    by_deployment: RwLock<HashMap<DeploymentId, Arc<Door>>>,
}

/// One deployment's door.
#[derive(Debug, Default)]
struct Door {
    /// What stands behind it: a deployment that was given a new address or key has done nothing wrong yet.
    base_url: String,
    key: Option<Secret>,
    /// Whether it has refused a stream for asking for its usage.
    refuses_usage: AtomicBool,
    in_flight: AtomicU32,
    breaker: Mutex<Breaker>,
}

/// The right to call, and the duty to say how it went. Dropping it without a word says that nothing was learned.
pub(super) struct Permit {
    door: Arc<Door>,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    /// Requests that were in flight when it was given.
    pub(super) ahead: u32,
    trial: bool,
}

impl Doors {
    pub(super) fn new(config: Arc<Config>, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, by_deployment: RwLock::default() }
    }

    fn door(&self, deployment: &Deployment) -> Arc<Door> {
        let same = |door: &Door| door.base_url == deployment.base_url && door.key == deployment.key;
        if let Some(door) = self.by_deployment.read().get(&deployment.id).filter(|door| same(door)) {
            return door.clone();
        }
        let mut doors = self.by_deployment.write();
        let door = doors.entry(deployment.id.clone()).or_default();
        if !same(door) {
            let (base_url, key) = (deployment.base_url.clone(), deployment.key.clone());
            *door = Arc::new(Door { base_url, key, ..Door::default() });
        }
        door.clone()
    }

    /// Lets a request in, or says how long to wait.
    pub(super) fn enter(&self, deployment: &Deployment) -> Result<Permit, Duration> {
        let door = self.door(deployment);
        let limit = self.config.max_in_flight.unwrap_or(u32::MAX);
        let more = |count: u32| (count < limit).then_some(count.saturating_add(1));
        let ahead = door.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| FULL_WAIT)?;
        let admitted = door.breaker.lock().admit(self.clock.monotonic());
        match admitted {
            Ok(trial) => Ok(Permit { door, config: self.config.clone(), clock: self.clock.clone(), ahead, trial }),
            Err(wait) => {
                door.in_flight.fetch_sub(1, Ordering::Relaxed);
                Err(wait)
            }
        }
    }

    /// How long this deployment is still to be left alone, and why; `None` = it may be called.
    pub(super) fn closed_for(&self, deployment: &DeploymentId) -> Option<(Duration, Option<Class>)> {
        let door = self.by_deployment.read().get(deployment)?.clone();
        let breaker = door.breaker.lock();
        breaker.closed_for(self.clock.monotonic()).map(|wait| (wait, breaker.cause()))
    }

    /// All of it as a value.
    pub(super) fn availability(&self) -> Availability {
        let now = self.clock.monotonic();
        let health = |door: &Door| {
            let breaker = door.breaker.lock();
            let closed_for = breaker.closed_for(now);
            let cause = closed_for.and_then(|_| breaker.cause()).map(Class::kind);
            Health { in_flight: door.in_flight.load(Ordering::Relaxed), closed_for, cause }
        };
        Availability { health: self.by_deployment.read().iter().map(|(id, door)| (id.clone(), health(door))).collect() }
    }
}

impl Permit {
    /// Whether streams of this deployment may be asked for their usage.
    pub(super) fn may_ask_usage(&self) -> bool {
        !self.door.refuses_usage.load(Ordering::Relaxed)
    }

    /// It does not know `stream_options`; nobody needs to ask again.
    pub(super) fn refuses_usage(&self) {
        self.door.refuses_usage.store(true, Ordering::Relaxed);
    }

    /// The first content is there.
    pub(super) fn started(&mut self) {
        self.door.breaker.lock().started(self.trial, &self.config);
        self.trial = false;
    }

    /// The answer is whole.
    pub(super) fn ended_well(&mut self) {
        self.door.breaker.lock().ended_well(self.trial, self.clock.monotonic());
        self.trial = false;
    }

    /// It failed.
    pub(super) fn failed(&mut self, fault: &Fault) {
        self.door.breaker.lock().failed(self.trial, fault, self.clock.monotonic(), &self.config);
        self.trial = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.trial {
            self.door.breaker.lock().abandoned(true);
        }
        self.door.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
