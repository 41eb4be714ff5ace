//! One pass over a ledger, for every command that learns from it or judges by it: what was learned up to a cut, what
//! was learned of all, and the decisions after the cut with what they were worth.
//!
//! Reading and parsing go on in a thread of their own, a few batches ahead of the folding. Memory is bounded: the
//! learner keeps few cases, the log the latest decisions only.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use crate::config::Config;
use crate::eval::ope::Log;
use crate::features::FeatureMap;
use crate::learn::{Learner, Versions, fold};
use crate::ledger::{Decided, Entry, Event, Ledger, LedgerError, Offset, SqliteLedger};
use crate::policy::State;

/// Events read at a time.
const STRIDE: usize = 2048;
/// Batches read ahead.
const AHEAD: usize = 4;

/// What a pass has found.
pub(super) struct Study {
    /// What was learned up to the cut.
    pub(super) frozen: State,
    /// What was learned of everything.
    pub(super) learner: Learner,
    /// The decisions after the cut.
    pub(super) log: Log,
}

/// Learns from everything and gathers what comes after `cut`, at most the `capacity` latest decisions of it.
///
/// # Errors
/// If the ledger cannot be read.
pub(super) fn study(
    ledger: &SqliteLedger,
    mut learner: Learner,
    cut: Offset,
    capacity: usize,
) -> Result<Study, Failure> {
    let mut log = Log::new(capacity).seeing(learner.map().cloned());
    let mut frozen = None;
    each(ledger, learner.offset(), |entries| {
        for entry in entries {
            if entry.offset > cut {
                frozen.get_or_insert_with(|| learner.state().clone());
                log.add(entry.offset, &entry.event);
            }
            fold(&mut learner, entry, ledger)?;
        }
        Ok(())
    })?;
    Ok(Study { frozen: frozen.unwrap_or_else(|| learner.state().clone()), learner, log })
}

/// Reads the events after a position, in order and in batches, with a bar on the terminal. One that cannot be read is passed over.
///
/// # Errors
/// If the ledger cannot be read, or what `with` says.
pub(super) fn each(
    ledger: &SqliteLedger,
    after: Offset,
    mut with: impl FnMut(&[Entry]) -> Result<(), LedgerError>,
) -> Result<(), Failure> {
    let last = ledger.last();
    let bar = bar(last.saturating_sub(after));
    let outcome = std::thread::scope(|scope| {
        let (send, receive) = sync_channel(AHEAD);
        scope.spawn(move || {
            let mut after = after;
            loop {
                let batch = match ledger.scan(after, STRIDE) {
                    Ok(entries) if entries.is_empty() => return,
                    Ok(entries) => {
                        after = entries[entries.len() - 1].offset;
                        Ok(entries)
                    }
                    Err(LedgerError::Corrupt { offset, .. }) if offset > after => {
                        after = offset;
                        continue;
                    }
                    Err(error) => Err(error),
                };
                let failed = batch.is_err();
                // Nobody receives any more: the other side has failed and says why.
                if send.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        for batch in receive {
            let batch = batch?;
            with(&batch)?;
            bar.inc(batch.len() as u64);
        }
        Ok::<_, LedgerError>(())
    });
    bar.finish_and_clear();
    outcome.map_err(Failure::failed)
}

/// A learner that has learned nothing, on the feature map of the latest decision: the one that comes with the program,
/// or one that a version brings. `None` = nothing was decided.
///
/// # Errors
/// If the ledger or the versions cannot be read.
pub(super) fn fresh(ledger: &dyn Ledger, versions: &Versions, config: &Config) -> Result<Option<Learner>, Failure> {
    let Some(latest) = latest(ledger).map_err(Failure::failed)? else { return Ok(None) };
    let schema = latest.features.context.schema;
    let learner = Learner::new(config.sections.policy.clone(), schema.clone(), &config.sections.learn);
    let shipped = FeatureMap::shipped();
    if shipped.schema == schema {
        return Ok(Some(learner.seeing(&Arc::new(shipped))));
    }
    let brought = versions.map_named(&schema).map_err(Failure::failed)?;
    Ok(Some(match brought {
        Some(map) => learner.on(&map),
        None => learner,
    }))
}

/// The latest decision.
///
/// # Errors
/// If the ledger cannot be read.
pub(super) fn latest(ledger: &dyn Ledger) -> Result<Option<Box<Decided>>, LedgerError> {
    let mut before = ledger.last();
    while before > 0 {
        let after = before.saturating_sub(STRIDE as u64);
        let entries = match ledger.scan(after, (before - after) as usize) {
            Ok(entries) => entries,
            Err(LedgerError::Corrupt { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        for entry in entries.into_iter().rev() {
            if let Event::Decided(decided) = entry.event {
                return Ok(Some(decided));
            }
        }
        before = after;
    }
    Ok(None)
}

fn bar(total: u64) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {elapsed} events {human_pos}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
