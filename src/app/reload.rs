//! A new configuration while requests are served: read, check, build, swap.
//!
//! What a request is decided by (providers, prices, aliases, presets, budgets, rules of exploring) is in force with the next request; requests
//! on their way keep what they began with. What parts are built from (addresses, the encoder, the ledger ...) waits
//! for the next start, and that is said. A file with a mistake changes nothing, and that is said too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::discover;
use crate::base::Digest;
use crate::config::{Config, Environment, Problems};
use crate::gateway::{Gateway, Live};

/// Editors write a file in several steps; this long after the last of them it is read.
const SETTLED: Duration = Duration::from_millis(150);

/// How a reload went.
#[derive(Debug)]
pub enum Reloaded {
    /// The new configuration is in force.
    InForce {
        /// Its name.
        digest: Digest,
        /// The sections that differ and wait for the next start.
        waiting: Vec<String>,
        /// What is worth saying of it.
        warnings: Vec<String>,
    },
    /// It says the same as the one in force.
    Same,
    /// It has mistakes; the old one stays in force.
    Refused(Problems),
}

/// Follows the file until `stop`. Also reads it again on SIGHUP.
pub async fn follow(
    file: PathBuf,
    environment: Environment,
    running: Config,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    report: impl Fn(&Reloaded) + Send + Sync,
) {
    let (tell, mut changes) = mpsc::channel(1);
    let watcher = watch(&file, tell);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "the configuration file cannot be watched; send SIGHUP to have it read again");
    }
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "SIGHUP cannot be received"),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => {}
            Some(()) = changes.recv() => {
                // Whatever comes within the pause belongs to the same change.
                while let Ok(Some(())) = tokio::time::timeout(SETTLED, changes.recv()).await {}
            }
        }
        report(&reload(&file, &environment, &running, &gateway).await);
    }
}

/// Watches the folder, not the file: editors put a new file in its place.
fn watch(file: &Path, tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let file = std::path::absolute(file)?;
    let name = file.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = |event: notify::Event| {
            !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        };
        if event.is_ok_and(ours) {
            // A full channel holds a change that was not looked at yet: it stands for this one too.
            let _ = tell.try_send(());
        }
    })?;
    watcher.watch(file.parent().unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reads the file once and puts what it says in force.
async fn reload(file: &Path, environment: &Environment, running: &Config, gateway: &Gateway) -> Reloaded {
    let config = match Config::load(Some(file), environment) {
        Ok(config) => discover(config).await,
        Err(problems) => return Reloaded::Refused(problems),
    };
    let digest = config.digest();
    if gateway.live().config == digest {
        return Reloaded::Same;
    }
    let catalog = Arc::new(config.catalog.clone());
    let now = gateway.clock().now();
    gateway.swap(|live| Live {
        catalog: Arc::clone(&catalog),
        presets: config.presets.clone(),
        budgets: Arc::new(live.budgets.reloaded(&config.sections.budgets, now)),
        guards: Arc::new(live.guards.reloaded(&config.sections.exploration)),
        config: digest,
        ..live.clone()
    });
    Reloaded::InForce { digest, waiting: differing(running, &config), warnings: config.warnings }
}

/// The sections whose settings are not those the parts were built with.
fn differing(running: &Config, new: &Config) -> Vec<String> {
    let sections = |config: &Config| match serde_json::to_value(&config.sections) {
        Ok(Value::Object(sections)) => sections,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (sections(running), sections(new));
    let at_once = ["budgets", "exploration"];
    let waits = |name: &String| !at_once.contains(&name.as_str());
    let differs = |name: &String, settings: &Value| old.get(name) != Some(settings);
    new.into_iter().filter(|(name, settings)| waits(name) && differs(name, settings)).map(|(name, _)| name).collect()
}
