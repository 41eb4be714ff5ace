//! What was learned, on disk: a cache of the ledger's fold, never the truth.
//!
//! A file holds, little-endian: `"PTSMSNAP"`; form (u16); the feature map's name (length u32, UTF-8); the digest
//! of the reading of scores (16 bytes); the digest of the version it stands on (16 bytes); the ledger's position (u64) and the digest of the event that stands
//! there (16 bytes); the state (length u64, bytes); and the first 16 bytes of the BLAKE3 hash of all before. No
//! catalogue: prices are no part of what is learned.
//!
//! It is written beside its place, synced and renamed, so a crash leaves the old files whole. At a start the
//! newest one that is intact, of the features and reading in force and of *this* ledger is taken; the digest of
//! the last event tells a snapshot that ran ahead of a ledger which lost its tail with the machine's power.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use super::fold::{Learner, rebuild};
use super::versions::VersionError;
use crate::base::{Digest, SchemaId, Timestamp};
use crate::ledger::{Ledger, LedgerError, Offset};
use crate::policy::{State, StateError};

const MAGIC: &[u8; 8] = b"PTSMSNAP";
const FORM: u16 = 2;
const SUFFIX: &str = ".snapshot";

/// Why a snapshot cannot be used, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are no snapshot, or were damaged.
    #[error("it is no intact snapshot: {0}")]
    Damaged(&'static str),
    /// It was written by a later version.
    #[error("it has form {found}, this version reads form {FORM}")]
    Form {
        /// The form found.
        found: u16,
    },
    /// It was learned on another feature map.
    #[error(
        "it was learned on the features {found}, in force are {expected}; go back to those, or redo the training: \
         `pointsman train` makes a policy for {expected} from the ledger"
    )]
    Schema {
        /// The schema it was learned on.
        found: SchemaId,
        /// The schema in force.
        expected: SchemaId,
    },
    /// Scores were read otherwise.
    #[error("it was folded with other reward channels than those in force")]
    Reading,
    /// It stands on another version than the one in force.
    #[error("it goes on from another policy version than the one in force")]
    Base,
    /// The ledger does not hold the event it ends with.
    #[error("it ends with event {offset}, and this ledger has none or another one there")]
    Foreign {
        /// The position.
        offset: Offset,
    },
    /// The state inside cannot be used.
    #[error("{0}")]
    State(#[from] StateError),
    /// The ledger cannot be read.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// A policy version cannot be kept or taken.
    #[error("{0}")]
    Version(#[from] VersionError),
}

/// The folder of snapshots.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    kept: usize,
}

impl Snapshots {
    /// The snapshots in this folder, of which the `kept` latest are kept. The folder is made when needed.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, kept: usize) -> Self {
        Self { folder: folder.into(), kept: kept.max(1) }
    }

    /// The learner that has learned everything the ledger holds: the newest snapshot that fits, and the events
    /// after it; without one, all events. `fresh` says the features and settings in force.
    ///
    /// # Errors
    /// If the ledger cannot be read. A snapshot that does not fit is no error: it is named in a warning.
    pub fn boot(&self, mut fresh: Learner, ledger: &dyn Ledger) -> Result<Learner, LedgerError> {
        for (offset, file) in self.list() {
            match fs::read(&file).map_err(SnapshotError::from).and_then(|bytes| fresh.restore(&bytes, ledger)) {
                Ok(()) => {
                    tracing::info!(offset, "the policy's snapshot was read");
                    break;
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "a snapshot of the policy was not taken");
                    if matches!(error, SnapshotError::Foreign { .. }) {
                        // Left there, it would be taken for the newest one until the ledger has grown past it.
                        let _ = fs::remove_file(&file);
                    }
                }
            }
        }
        rebuild(fresh, ledger)
    }

    /// Writes what was learned, and removes the snapshots that are too many.
    ///
    /// # Errors
    /// If the folder cannot be written or the ledger not be read.
    pub fn write(&self, learner: &Learner, ledger: &dyn Ledger) -> Result<PathBuf, SnapshotError> {
        fs::create_dir_all(&self.folder)?;
        let file = self.folder.join(format!("policy-{:020}{SUFFIX}", learner.offset));
        let beside = file.with_extension("writing");
        let bytes = encode(learner, last_event(ledger, learner.offset)?.0);
        let mut out = File::create(&beside)?;
        out.write_all(&bytes)?;
        out.sync_all()?;
        drop(out);
        fs::rename(&beside, &file)?;
        File::open(&self.folder)?.sync_all()?;
        for (_, old) in self.list().into_iter().skip(self.kept) {
            fs::remove_file(old)?;
        }
        Ok(file)
    }

    /// The snapshots there are, newest first.
    fn list(&self) -> Vec<(Offset, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut found: Vec<(Offset, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let name = path.file_name()?.to_str()?;
                let offset = name.strip_prefix("policy-")?.strip_suffix(SUFFIX)?.parse().ok()?;
                Some((offset, path))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }
}

impl Learner {
    /// Takes what a snapshot's bytes hold for what it has learned.
    ///
    /// # Errors
    /// If they are damaged, do not fit the features and settings in force, or belong to another ledger.
    pub fn restore(&mut self, bytes: &[u8], ledger: &dyn Ledger) -> Result<(), SnapshotError> {
        let (offset, event, state) = decode(bytes, self)?;
        let (found, at) = last_event(ledger, offset)?;
        if found != event {
            return Err(SnapshotError::Foreign { offset });
        }
        self.at = at;
        self.state = state;
        self.cases.forget();
        self.offset = offset;
        self.restored = offset;
        Ok(())
    }
}

/// The digest and the time of the event at this position; of nothing, if there is none to read.
fn last_event(ledger: &dyn Ledger, offset: Offset) -> Result<(Digest, Timestamp), LedgerError> {
    let nothing = (Digest::of(b""), Timestamp(0));
    let Some(before) = offset.checked_sub(1) else { return Ok(nothing) };
    let entries = match ledger.scan(before, 1) {
        Ok(entries) => entries,
        Err(LedgerError::Corrupt { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(entries
        .first()
        .filter(|entry| entry.offset == offset)
        .map_or(nothing, |entry| (Digest::of_json(&(entry.at, &entry.event)), entry.at)))
}

fn encode(learner: &Learner, last_event: Digest) -> Vec<u8> {
    let state = learner.state.to_bytes();
    let schema = learner.state.schema().as_str();
    let mut out = MAGIC.to_vec();
    out.extend(FORM.to_le_bytes());
    out.extend((schema.len() as u32).to_le_bytes());
    out.extend(schema.as_bytes());
    out.extend(learner.reading().as_bytes());
    out.extend(learner.base.name().as_bytes());
    out.extend(learner.offset.to_le_bytes());
    out.extend(last_event.as_bytes());
    out.extend((state.len() as u64).to_le_bytes());
    out.extend(state);
    let checksum = Digest::of(&out);
    out.extend(checksum.as_bytes());
    out
}

/// The position, the digest of the event there, and the state; checked against what is in force.
fn decode(bytes: &[u8], learner: &Learner) -> Result<(Offset, Digest, State), SnapshotError> {
    let damaged = SnapshotError::Damaged;
    let after_magic = bytes.strip_prefix(MAGIC).ok_or(damaged("it does not begin with PTSMSNAP"))?;
    let form = after_magic.first_chunk().ok_or(damaged("it is cut off"))?;
    let found = u16::from_le_bytes(*form);
    let (content, checksum) = bytes.split_last_chunk::<16>().ok_or(damaged("it is cut off"))?;
    if Digest::of(content).as_bytes() != checksum {
        return Err(damaged("its checksum does not fit"));
    }
    if found != FORM {
        return Err(SnapshotError::Form { found });
    }
    let mut input = Input(content.get(MAGIC.len() + 2..).unwrap_or_default());
    let length = u32::from_le_bytes(*input.chunk()?) as usize;
    let schema = std::str::from_utf8(input.slice(length)?).map_err(|_| damaged("a name in it is not UTF-8"))?;
    let expected = learner.state.schema();
    if schema != expected.as_str() {
        return Err(SnapshotError::Schema { found: schema.into(), expected: expected.clone() });
    }
    if input.chunk()? != learner.reading().as_bytes() {
        return Err(SnapshotError::Reading);
    }
    if input.chunk()? != learner.base.name().as_bytes() {
        return Err(SnapshotError::Base);
    }
    let offset = u64::from_le_bytes(*input.chunk()?);
    let event = Digest::from_bytes(*input.chunk()?);
    let length = u64::from_le_bytes(*input.chunk()?);
    let state = input.slice(usize::try_from(length).unwrap_or(usize::MAX))?;
    let state = State::from_bytes(state, learner.state.config().clone(), expected)?;
    if input.0.is_empty() { Ok((offset, event, state)) } else { Err(damaged("something stands after its end")) }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], SnapshotError> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(SnapshotError::Damaged("it is cut off"))?;
        self.0 = rest;
        Ok(chunk)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], SnapshotError> {
        let (slice, rest) = self.0.split_at_checked(length).ok_or(SnapshotError::Damaged("it is cut off"))?;
        self.0 = rest;
        Ok(slice)
    }
}
