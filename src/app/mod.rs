//! The composition root: from a checked configuration to running parts, and to an orderly end.
//!
//! The order of starting is the order of need: ledger, what was learned (the newest snapshot and the events after
//! it), encoder (its weights are read in the background; until then decisions are made on the lexical context),
//! dispatcher, gateway, learner. The order of stopping is the reverse: no new requests, the answers under way end
//! (or are cut off when their time is up), every one of them is in the ledger, the ledger is on disk, the learner
//! has learned it and written a snapshot.

mod discover;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use discover::discover;
pub use reload::{Reloaded, follow};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::base::{Clock, SystemClock};
use crate::cache::{Cache, Contents, InMemory, Keeper};
use crate::cache_store::{CacheStore, StoreError};
use crate::config::{Config, Environment};
use crate::dispatch::Dispatcher;
use crate::embed::{self, LoadError};
use crate::features::Extractor;
use crate::gateway::{Budgets, Gateway, Guards, Live, Parts, Trial};
use crate::http;
use crate::learn::{self, Kept, Learner, Snapshots, Versions};
use crate::ledger::{Ledger, LedgerError, SqliteLedger};
use crate::policy::Snapshot;

/// Why Pointsman did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder, or what is in it, cannot be used.
    #[error("the data folder {}: {source}", folder.display())]
    Data {
        /// Which one.
        folder: PathBuf,
        /// What is wrong with it.
        source: LedgerError,
    },
    /// The cache in the data folder cannot be used.
    #[error("{0}")]
    Cache(#[from] StoreError),
    /// The encoder's settings make no sense.
    #[error("{0}")]
    Encoder(#[from] LoadError),
    /// Calls cannot be made.
    #[error("{0}")]
    Dispatch(crate::base::Error),
    /// A blocking task was lost.
    #[error("a part did not start: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// Pointsman, running.
#[derive(Debug)]
pub struct App {
    gateway: Arc<Gateway>,
    learner: learn::Handle,
    config: Config,
    /// Tasks beside the requests' path; waited for at the end.
    tasks: TaskTracker,
    /// Tells them to end.
    stop: CancellationToken,
}

impl App {
    /// Starts every part with this configuration, on what the data folder holds. `progress` is told how the encoder
    /// comes along.
    ///
    /// # Errors
    /// If the data folder cannot be used (another process has it, for example) or a part cannot be set up.
    pub async fn start(config: Config, data: &Path, progress: embed::Progress) -> Result<Self, StartError> {
        let sections = config.sections.clone();
        let features = Arc::new(Extractor::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (ledger, learner, kept, budgets, guards) = {
            let (folder, map) = (data.to_owned(), Arc::new(features.map()));
            let (budgets, rules, now) = (sections.budgets.clone(), sections.exploration.clone(), clock.now());
            let (settings, learn, policy) = (sections.ledger.clone(), sections.learn.clone(), sections.policy.clone());
            tokio::task::spawn_blocking(move || {
                let ledger = SqliteLedger::open(&folder, &settings)?;
                let snapshots = Snapshots::new(folder.join("snapshots"), learn.snapshots_kept);
                let versions = Versions::of_data(&folder);
                let mut fresh = Learner::new(policy, map.schema.clone(), &learn).seeing(&map);
                if let Err(error) = fresh.stand_on(&versions) {
                    tracing::error!(%error, "the policy is made from the whole ledger instead");
                }
                let learner = snapshots.boot(fresh, &ledger)?;
                let budgets = Budgets::recover(&budgets, &ledger, now)?;
                let guards = Guards::recover(&rules, &ledger)?;
                let kept = Kept { snapshots, versions };
                Ok((Arc::new(ledger) as Arc<dyn Ledger>, learner, kept, budgets, guards))
            })
            .await?
            .map_err(|source| StartError::Data { folder: data.to_owned(), source })?
        };
        let (keeper, contents): (Arc<dyn Keeper>, Contents) = match config.cache_key.clone() {
            Some(key) => {
                let folder = data.to_owned();
                let (store, contents) = tokio::task::spawn_blocking(move || CacheStore::open(&folder, key)).await??;
                (Arc::new(store), contents)
            }
            None => (Arc::new(InMemory), Contents::default()),
        };
        let dispatcher = Dispatcher::new(sections.dispatch, Arc::clone(&clock)).map_err(StartError::Dispatch)?;
        let policy = learner.publish();
        let gateway = Arc::new(Gateway::new(Parts {
            live: Live {
                catalog: Arc::new(config.catalog.clone()),
                features: reader(&features, &features, &policy),
                policy,
                trial: None,
                presets: config.presets.clone(),
                budgets: Arc::new(budgets),
                guards: Arc::new(guards),
                config: config.digest(),
            },
            admission: Admission::new(&sections.admission),
            cache: Cache::kept(sections.cache, keeper, contents, clock.now()),
            embedder: embed::load(&sections.embed, progress)?,
            dispatcher: Arc::new(dispatcher),
            ledger: Arc::clone(&ledger),
            clock: Arc::clone(&clock),
            // A decision's name is random enough; this tells two processes apart.
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
            config: sections.gateway,
        }));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (on_trial, shipped) = (Arc::downgrade(&gateway), Arc::clone(&features));
        tasks.spawn(learn::follow_trials(
            Arc::clone(&ledger),
            kept.versions.clone(),
            sections.learn.clone(),
            features.schema().clone(),
            clock,
            move |trial| {
                if let Some(gateway) = on_trial.upgrade() {
                    gateway.try_out(trial.map(|trial| Trial {
                        version: trial.version,
                        features: Some(reader(&gateway.live().features, &shipped, &trial.policy)),
                        policy: trial.policy,
                        share: trial.share,
                    }));
                }
            },
            stop.clone(),
        ));
        let publisher = Arc::downgrade(&gateway);
        let learner = learn::start(learner, ledger, Some(kept), &sections.learn, move |policy| {
            if let Some(gateway) = publisher.upgrade() {
                let reader = reader(&gateway.live().features, &features, &policy);
                gateway.publish_with(policy, reader);
            }
        });
        Ok(Self { gateway, learner, config, tasks, stop })
    }

    /// The request's path.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The learner.
    #[must_use]
    pub fn learner(&self) -> &learn::Handle {
        &self.learner
    }

    /// Reloads the configuration whenever this file changes or the process gets SIGHUP, and tells `report` how it
    /// went.
    pub fn reload_on_change(
        &self,
        file: PathBuf,
        environment: Environment,
        report: impl Fn(&Reloaded) + Send + Sync + 'static,
    ) {
        let (gateway, running, stop) = (Arc::clone(&self.gateway), self.config.clone(), self.stop.clone());
        self.tasks.spawn(follow(file, environment, running, gateway, stop, report));
    }

    /// Serves on this listener until `stop` completes, then ends in good order.
    ///
    /// # Errors
    /// If the listener fails, or what was learned cannot be written.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) -> Result<(), String> {
        let Self { gateway, learner, config, tasks, stop: stopping } = self;
        let router = http::router_with(Arc::clone(&gateway), &config.sections.http);
        let closed = async {
            stop.await;
            gateway.close();
            stopping.cancel();
        };
        let served = http::serve(listener, router, closed, config.sections.server.drain).await;
        stopping.cancel();
        tasks.close();
        tasks.wait().await;
        gateway.drained().await;
        let learned = learner.stop().await;
        served.map_err(|error| format!("the listener failed: {error}"))?;
        learned.map(drop).map_err(|error| format!("what was learned could not be written: {error}"))
    }
}

/// What reads requests for this policy: what is in force, or what came with the program, if that is on the policy's
/// feature map; else the same heads on the map that the policy brings.
fn reader(in_force: &Arc<Extractor>, shipped: &Arc<Extractor>, policy: &Snapshot) -> Arc<Extractor> {
    let known = [in_force, shipped].into_iter().find(|known| known.schema() == policy.schema());
    match (known, policy.map()) {
        (Some(known), _) => Arc::clone(known),
        (None, Some(map)) => Arc::new(shipped.on(map)),
        // A learner has the map it learns on; without one, contexts count for the mean alone.
        (None, None) => Arc::clone(in_force),
    }
}

/// Where data is kept when nothing else is said: `$XDG_DATA_HOME/pointsman`, or `~/.local/share/pointsman`.
#[must_use]
pub fn data_folder(environment: &Environment) -> PathBuf {
    let home = || environment.get("HOME").map(|home| Path::new(home).join(".local/share"));
    let base = environment.get("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    base.unwrap_or_else(|| PathBuf::from(".")).join("pointsman")
}

/// How long a provider may take to list its models at start.
const PATIENCE: Duration = Duration::from_secs(3);
