//! Feature maps of the logged vectors, from a part of the ledger that nothing is judged on.

use std::sync::Arc;

use super::Map;
use crate::base::Seed;
use crate::cli::Failure;
use crate::cli::study::{each, latest};
use crate::config::Config;
use crate::embed::Origin;
use crate::eval::ope::{Log, Reward};
use crate::features::FeatureMap;
use crate::features::fit::refit::{Kind, Moments};
use crate::learn::Channels;
use crate::ledger::{Event, Offset, SqliteLedger};

/// Vectors that are looked at, at most about so many: drawn by the decisions' names, so that the same ledger gives the
/// same maps.
const SAMPLE: f64 = 60_000.0;

/// Of how many vectors, and the maps.
pub(super) type Made = (usize, Vec<(Map, Arc<FeatureMap>)>);

/// The maps that can be made of the events up to `cut`; `None` = the ledger holds no vectors.
pub(super) fn made(
    ledger: &SqliteLedger,
    config: &Config,
    cut: Offset,
    wanted: &[(Map, Kind)],
) -> Result<Option<Made>, Failure> {
    let logged = latest(ledger).map_err(Failure::failed)?.is_some_and(|decided| decided.vector.is_some());
    if !logged || wanted.is_empty() {
        return Ok(None);
    }
    // At least a third of a ledger's events are decisions, if every one ended and was judged once.
    let rate = 3.0 * SAMPLE / cut.max(1) as f64;
    let mut log = Log::new(SAMPLE as usize * 2).keeping_vectors();
    each(ledger, 0, |entries| {
        for entry in entries.iter().filter(|entry| entry.offset <= cut) {
            let taken = match &entry.event {
                Event::Decided(decided) => {
                    decided.vector.is_some()
                        && decided.features.context.origin == Origin::Encoder
                        && Seed::of_decision(0, decided.id).uniform("map") < rate
                }
                Event::Completed(_) | Event::Feedback(_) => true,
            };
            if taken {
                log.add(entry.offset, &entry.event);
            }
        }
        Ok(())
    })?;
    let channels = Channels::with(&config.sections.learn.channels);
    let mut moments = Moments::default();
    for logged in log.decisions() {
        let Some(vector) = &logged.vector else { continue };
        let worth = log.reward(logged, &Reward::default(), &channels);
        moments.add(&vector.vector(), logged.answerer().zip(worth));
    }
    let shipped = FeatureMap::shipped().projection;
    let maps = wanted.iter().filter_map(|&(map, kind)| {
        let bytes = moments.map(kind, &shipped)?.to_bytes();
        Some((map, Arc::new(FeatureMap::read(&bytes).ok()?)))
    });
    let maps = maps.collect();
    Ok(Some((moments.count(), maps)))
}
