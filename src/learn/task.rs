//! The learner behind the serving process: it follows the ledger, folds, and hands out what follows from it.
//!
//! One task owns the learner. Folding and publishing run on a blocking thread, a few events at a time; in
//! between the task waits for the ledger to grow, for a policy or a snapshot to fall due, or to be stopped.
//! Nobody waits for it: readers have the policy that was handed out last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::fold::{Learner, STRIDE};
use super::snapshots::Snapshots;
use super::versions::{Maker, Versions};
use super::{Config, SnapshotError};
use crate::base::Timestamp;
use crate::ledger::{Ledger, LedgerError, Offset};
use crate::policy::Snapshot;

/// How long the task leaves a ledger alone that could not be read.
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);

/// How often the task looks whether another version was put in force.
const LOOK: Duration = Duration::from_secs(1);

/// How far the learner has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last event folded in.
    pub folded: Offset,
    /// The last event in the policy handed out last.
    pub published: Offset,
    /// The last event in the snapshot written last; 0 = none was written since the start.
    pub written: Offset,
}

/// The running learner.
#[derive(Debug)]
pub struct Handle {
    stop: watch::Sender<bool>,
    progress: watch::Receiver<Progress>,
    task: tokio::task::JoinHandle<Result<Learner, SnapshotError>>,
}

impl Handle {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Completes when the policy handed out last has learned everything up to this position; at once when the
    /// learner has ended.
    pub async fn published(&self, offset: Offset) {
        // An error says that the task has ended: there is nothing left to wait for.
        let _ = self.progress.clone().wait_for(|progress| progress.published >= offset).await;
    }

    /// Lets the learner fold what the ledger holds, hand out a last policy and write a last snapshot; gives it
    /// back. To have everything in it, flush the ledger first.
    ///
    /// # Errors
    /// If the ledger could not be read or the snapshot not be written.
    ///
    /// # Panics
    /// If the learner's task has panicked: its panic goes on here.
    pub async fn stop(self) -> Result<Learner, SnapshotError> {
        // No receiver: the task has ended by itself, and says below how.
        let _ = self.stop.send(true);
        match self.task.await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => Err(SnapshotError::Io(std::io::Error::other(cancelled))),
            },
        }
    }
}

/// What the learner writes to disk.
#[derive(Debug)]
pub struct Kept {
    /// What was learned, for the next start.
    pub snapshots: Snapshots,
    /// The same under names.
    pub versions: Versions,
}

/// Starts the learner where it stands. `publish` gets a new policy whenever one is due, the first at once;
/// `kept` says where it writes what was learned, if anywhere.
pub fn start(
    learner: Learner,
    ledger: Arc<dyn Ledger>,
    kept: Option<Kept>,
    config: &Config,
    publish: impl Fn(Arc<Snapshot>) + Send + Sync + 'static,
) -> Handle {
    let (stop, stopped) = watch::channel(false);
    let (tell, progress) = watch::channel(Progress { folded: learner.offset(), ..Progress::default() });
    let publish: Arc<dyn Fn(Arc<Snapshot>) + Send + Sync> = Arc::new(publish);
    let written = learner.restored;
    let set_aside = kept.as_ref().and_then(|kept| kept.versions.list().ok()?.last().map(|version| version.at));
    let (config, tried, refused) = (config.clone(), written, None);
    let task = Task { learner, ledger, kept, config, publish, tell, written, tried, set_aside, refused };
    #[expect(clippy::disallowed_methods, reason = "the learner's own task; Handle::stop waits for it")]
    let task = tokio::spawn(task.run(stopped));
    Handle { stop, progress, task }
}

struct Task {
    learner: Learner,
    ledger: Arc<dyn Ledger>,
    kept: Option<Kept>,
    config: Config,
    publish: Arc<dyn Fn(Arc<Snapshot>) + Send + Sync>,
    tell: watch::Sender<Progress>,
    /// The position of the last snapshot ...
    written: Offset,
    /// ... and of the last attempt to write one.
    tried: Offset,
    /// The time of the last event when a version was last set aside; `None` = nothing was learned yet.
    set_aside: Option<Timestamp>,
    /// Why the version put in force was not taken, as said last.
    refused: Option<String>,
}

/// What woke the task.
enum Due {
    Stop,
    Publish,
    Write,
    Look,
    Events,
}

impl Task {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<Learner, SnapshotError> {
        self = self.apart(Self::publish).await;
        let mut publish_at: Option<Instant> = None;
        let mut write_at: Option<Instant> = None;
        let mut look_at = self.kept.is_some().then(|| Instant::now() + LOOK);
        loop {
            let due = tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => Due::Stop,
                () = at(publish_at) => Due::Publish,
                () = at(write_at) => Due::Write,
                () = at(look_at) => Due::Look,
                () = self.ledger.wait_beyond(self.learner.offset()) => Due::Events,
            };
            match due {
                Due::Stop => break,
                Due::Publish => self = self.apart(Self::publish).await,
                Due::Write => self = self.apart(Self::write).await,
                Due::Look => {
                    self = self.apart(Self::look).await;
                    look_at = Some(Instant::now() + LOOK);
                }
                Due::Events => {
                    let read;
                    (self, read) = self.follow().await;
                    if let Err(error) = read {
                        tracing::error!(%error, "the learner cannot read the ledger; trying again");
                        tokio::select! {
                            _ = stopped.wait_for(|stop| *stop) => break,
                            () = sleep(AFTER_A_FAILURE) => {}
                        }
                    }
                }
            }
            let now = Instant::now();
            let Progress { folded, published, .. } = *self.tell.borrow();
            publish_at = (folded > published).then(|| publish_at.unwrap_or(now + self.config.publish_after));
            write_at = (folded > self.written && self.kept.is_some())
                .then(|| write_at.unwrap_or(now + self.config.snapshot_after));
            if matches!(due, Due::Write) {
                // Written or not: the next one is due a whole period later.
                write_at = write_at.map(|_| now + self.config.snapshot_after);
            }
        }
        self.drain().await
    }

    /// Folds what has come, hands out a policy if enough has come, and writes a snapshot likewise.
    async fn follow(self) -> (Self, Result<(), LedgerError>) {
        self.apart_with(|task| {
            let published = task.tell.borrow().published;
            let until_published = (task.learner.offset() - published) as usize;
            let limit = task.config.publish_events.saturating_sub(until_published).max(1);
            task.learner.catch_up(task.ledger.as_ref(), limit)?;
            task.note();
            if task.learner.offset() - published >= task.config.publish_events as u64 {
                task.publish();
            }
            if task.learner.offset() - task.tried >= task.config.snapshot_events {
                task.write();
            }
            Ok(())
        })
        .await
    }

    async fn drain(self) -> Result<Learner, SnapshotError> {
        let (task, read) = self
            .apart_with(|task| {
                while task.learner.catch_up(task.ledger.as_ref(), STRIDE)? > 0 {}
                task.note();
                if task.tell.borrow().published < task.learner.offset() {
                    task.publish();
                }
                if task.written == task.learner.offset() { Ok(()) } else { task.try_write() }
            })
            .await;
        read.map(|()| task.learner)
    }

    fn note(&self) {
        self.tell.send_modify(|progress| progress.folded = self.learner.offset());
    }

    fn publish(&mut self) {
        (self.publish)(self.learner.publish());
        self.tell.send_modify(|progress| progress.published = self.learner.offset());
    }

    fn write(&mut self) {
        if let Err(error) = self.try_write() {
            // Nothing is lost: the next start folds more of the ledger instead.
            tracing::error!(%error, "the policy's snapshot could not be written");
        }
    }

    fn try_write(&mut self) -> Result<(), SnapshotError> {
        let Some(Kept { snapshots, .. }) = &self.kept else { return Ok(()) };
        self.tried = self.learner.offset();
        snapshots.write(&self.learner, self.ledger.as_ref())?;
        self.written = self.learner.offset();
        self.tell.send_modify(|progress| progress.written = self.written);
        Ok(())
    }

    /// Changes over to another version if one was put in force, and sets one aside when that is due.
    fn look(&mut self) {
        let looked = self.try_look();
        let refused = looked.err().map(|error| error.to_string());
        if let Some(error) = refused.as_ref().filter(|_| refused != self.refused) {
            tracing::error!(%error, "policy versions: what is in force stays in force");
        }
        self.refused = refused;
    }

    fn try_look(&mut self) -> Result<(), SnapshotError> {
        let Some(Kept { versions, .. }) = &self.kept else { return Ok(()) };
        if let Some((learned, base)) = versions.another(&self.learner)? {
            if self.learner.offset() > self.learner.base.from {
                versions.put(&self.learner, Maker::SetAside, "in force before another version was put in its place")?;
            }
            self.learner.begin(learned, base);
            while self.learner.catch_up(self.ledger.as_ref(), STRIDE)? > 0 {}
            self.note();
            self.publish();
            tracing::info!(version = self.learner.version().unwrap_or("none"), "another policy version is in force");
            return self.try_write();
        }
        if self.learner.offset() == 0 {
            return Ok(());
        }
        let last = *self.set_aside.get_or_insert(self.learner.at);
        if self.learner.at.since(last) >= self.config.version_after {
            versions.put(&self.learner, Maker::Learner, "")?;
            versions.prune(self.config.versions_kept)?;
            self.set_aside = Some(self.learner.at);
        }
        Ok(())
    }

    async fn apart(self, work: impl FnOnce(&mut Self) + Send + 'static) -> Self {
        self.apart_with(work).await.0
    }

    /// Does the work on a blocking thread, with the task in its hands.
    async fn apart_with<T: Send + 'static>(mut self, work: impl FnOnce(&mut Self) -> T + Send + 'static) -> (Self, T) {
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut self);
            (self, result)
        });
        match done.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

/// Completes at this moment; never, if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
