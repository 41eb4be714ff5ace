//! Versions of what was learned, kept by name, and which of them learning goes on from.
//!
//! A version is a state set aside: `v7.policy` holds its bytes, `v7.json` says what it is. The file `active.json` is
//! the list of what was put in force, the last one now. Without it, the policy is the fold of the whole ledger. With
//! it, the policy is the fold of the ledger **on that version**, from the position named there on:
//!
//! - *promoting* a version that was trained up to some position goes on from there, so nothing is missed;
//! - *rolling back* goes on from the ledger's end, so that what was learned since the version was made is dropped:
//!   those events stay in the ledger and become a [`Gap`].
//!
//! Whoever writes holds the folder's lock, so that a command and the serving process do not overwrite each other's word;
//! every file is written beside its place and renamed, and a version's description comes last. One that dies at any
//! moment leaves what was in force, whole files, and perhaps some that belong to no version: the next version made
//! removes those.
//!
//! Either way the policy remains a function of this folder and the ledger, to the last bit. A running learner looks at
//! `active.json` every second and changes over; before it does, it sets its own state aside as a version.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fold::Learner;
use crate::base::{Digest, SchemaId, Timestamp};
use crate::features::FeatureMap;
use crate::ledger::Offset;
use crate::policy::{self, State, StateError};

/// Events that are in the ledger but not in the policy: those after the first position, up to the second.
pub type Gap = (Offset, Offset);

/// Who made a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// The learner, as time went by.
    Learner,
    /// The learner, of its own state before it changed over to another version.
    SetAside,
    /// A training run.
    Trained,
    /// Somebody, by `pointsman policy keep`.
    Hand,
}

impl Maker {
    /// In words, for tables.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::SetAside => "set aside",
            Self::Trained => "trained",
            Self::Hand => "hand",
        }
    }
}

/// What a version is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// `v1`, `v2`, ... in the order they were made.
    pub name: String,
    /// Who made it.
    pub by: Maker,
    /// The time of the last event in it.
    pub at: Timestamp,
    /// The position of the last event in it.
    pub offset: Offset,
    /// Rows folded in.
    pub rows: u64,
    /// The feature map it was learned on.
    pub schema: SchemaId,
    /// The settings it learns and chooses with; in force while it is.
    pub settings: policy::Config,
    /// The version it was learned on; `None` = on nothing.
    pub base: Option<String>,
    /// Events up to `offset` that are not in it.
    pub gaps: Vec<Gap>,
    /// Names the bytes.
    pub digest: Digest,
    /// What is worth saying of it.
    #[serde(default)]
    pub note: String,
}

/// A version was put in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// Which; `None` = the fold of the whole ledger.
    pub version: Option<String>,
    /// The position after which learning goes on.
    pub from: Offset,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// Why a version cannot be kept, found or put in force.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The folder cannot be read or written.
    #[error("the folder of policy versions {}: {source}", folder.display())]
    Io {
        /// Which folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is none of that name.
    #[error("there is no policy version `{name}`; `pointsman policy list` shows those there are")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A file of it does not hold what it should.
    #[error("the file {} is damaged: {reason}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its state cannot be used here.
    #[error("the policy version `{name}` cannot be used: {source}")]
    State {
        /// The version.
        name: String,
        /// Why.
        source: StateError,
    },
}

/// The folder of versions.
#[derive(Clone, Debug)]
pub struct Versions {
    folder: PathBuf,
}

const ACTIVE: &str = "active.json";
const LOCK: &str = ".lock";
/// How the names of files begin that are still being written.
const BESIDE: &str = ".writing-";
/// The ending of the file of a feature map that a version brings.
pub const PROJECTION: &str = "projection.safetensors";

impl Versions {
    /// The versions in this folder, which is made when needed. In a data folder it is [`Self::FOLDER`].
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Name of the folder in a data folder.
    pub const FOLDER: &str = "policies";

    /// Those in this data folder.
    #[must_use]
    pub fn of_data(data: &Path) -> Self {
        Self::new(data.join(Self::FOLDER))
    }

    /// Every version, the first made first.
    ///
    /// # Errors
    /// If the folder cannot be read or the description of a version is damaged.
    pub fn list(&self) -> Result<Vec<Version>, VersionError> {
        let mut versions =
            self.numbers()?.into_iter().map(|n| self.get(&format!("v{n}"))).collect::<Result<Vec<_>, _>>()?;
        versions.sort_by_key(|version| number(&version.name));
        Ok(versions)
    }

    /// The version of this name.
    ///
    /// # Errors
    /// If there is none, or its description is damaged.
    pub fn get(&self, name: &str) -> Result<Version, VersionError> {
        let unknown = || VersionError::Unknown { name: name.to_owned() };
        number(name).ok_or_else(unknown)?;
        self.read_json(&format!("{name}.json"))?.ok_or_else(unknown)
    }

    /// The state of a version, with its settings.
    ///
    /// # Errors
    /// If its bytes cannot be read or are damaged.
    pub fn state(&self, version: &Version) -> Result<State, VersionError> {
        let file = self.folder.join(format!("{}.policy", version.name));
        let bytes = fs::read(&file).map_err(|source| self.io(source))?;
        if Digest::of(&bytes) != version.digest {
            let reason = "it is not what its description says".to_owned();
            return Err(VersionError::Damaged { file, reason });
        }
        State::from_bytes(&bytes, version.settings.clone(), &version.schema)
            .map_err(|source| VersionError::State { name: version.name.clone(), source })
    }

    /// The feature map that a version brings; `None` = it was learned on one that comes with the program.
    ///
    /// # Errors
    /// If its file cannot be read, or holds another map than the version was learned on.
    pub fn map(&self, version: &Version) -> Result<Option<Arc<FeatureMap>>, VersionError> {
        let file = self.file(&version.name, PROJECTION);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        let damaged = |reason: String| VersionError::Damaged { file, reason };
        match FeatureMap::read(&bytes) {
            Ok(map) if map.schema == version.schema => Ok(Some(Arc::new(map))),
            Ok(map) => {
                Err(damaged(format!("it is the map {}, the version was learned on {}", map.schema, version.schema)))
            }
            Err(wrong) => Err(damaged(wrong.to_string())),
        }
    }

    /// The map of this name, if a version brings it.
    ///
    /// # Errors
    /// If the versions cannot be read.
    pub fn map_named(&self, schema: &SchemaId) -> Result<Option<Arc<FeatureMap>>, VersionError> {
        for version in self.list()?.iter().rev().filter(|version| version.schema == *schema) {
            if let Some(map) = self.map(version)? {
                return Ok(Some(map));
            }
        }
        Ok(None)
    }

    /// Sets aside what a learner has learned.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn put(&self, learner: &Learner, by: Maker, note: &str) -> Result<Version, VersionError> {
        self.put_with(learner, by, note, &[])
    }

    /// The file of this ending that belongs to a version.
    #[must_use]
    pub fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    /// Sets aside what a learner has learned, with more files, each with the ending of its name. They are there before
    /// the version is: one that dies in between leaves no version.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn put_with(
        &self,
        learner: &Learner,
        by: Maker,
        note: &str,
        files: &[(&str, &[u8])],
    ) -> Result<Version, VersionError> {
        let _alone = self.alone()?;
        let numbers = self.numbers()?;
        self.sweep(&numbers)?;
        let bytes = learner.state().to_bytes();
        let version = Version {
            name: format!("v{}", numbers.into_iter().max().unwrap_or(0) + 1),
            by,
            at: learner.at,
            offset: learner.offset(),
            rows: learner.state().rows(),
            schema: learner.state().schema().clone(),
            settings: learner.state().config().clone(),
            base: learner.base.version.clone(),
            gaps: learner.base.gaps.clone(),
            digest: Digest::of(&bytes),
            note: note.to_owned(),
        };
        let at_home = learner.home.1.as_ref().map(|home| &home.schema);
        let map = learner.map.as_ref().filter(|map| Some(&map.schema) != at_home);
        let map = map.map(|map| map.projection.to_bytes());
        let own = [("policy", bytes.as_slice())].into_iter().chain(map.as_deref().map(|map| (PROJECTION, map)));
        for (ending, content) in own.chain(files.iter().copied()) {
            self.write(&format!("{}.{ending}", version.name), content)?;
        }
        self.write_json(&format!("{}.json", version.name), &version)?;
        Ok(version)
    }

    /// Removes what one that died has left: a file that was not put into its place, or that belongs to no version.
    /// Only for whoever holds the lock: nobody else is writing then.
    fn sweep(&self, numbers: &[u64]) -> Result<(), VersionError> {
        let stray = |name: &str| {
            name.starts_with(BESIDE)
                || name.split_once('.').and_then(|(name, _)| number(name)).is_some_and(|n| !numbers.contains(&n))
        };
        for entry in fs::read_dir(&self.folder).map_err(|source| self.io(source))? {
            let entry = entry.map_err(|source| self.io(source))?;
            if entry.file_name().to_str().is_some_and(stray) {
                fs::remove_file(entry.path()).map_err(|source| self.io(source))?;
            }
        }
        Ok(())
    }

    /// Removes the oldest versions that the learner made by itself, but for the `kept` latest and those that were ever
    /// put in force or on trial.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn prune(&self, kept: usize) -> Result<(), VersionError> {
        let _alone = self.alone()?;
        let (history, trials) = (self.history()?, self.trials()?);
        let used = |name: &str| {
            history.iter().any(|activation| activation.version.as_deref() == Some(name))
                || trials.iter().any(|trial| trial.version == name)
        };
        let own: Vec<Version> = self.list()?.into_iter().filter(|v| v.by == Maker::Learner && !used(&v.name)).collect();
        for version in own.iter().rev().skip(kept) {
            for ending in ["json", "policy", PROJECTION] {
                match fs::remove_file(self.file(&version.name, ending)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(|source| self.io(source))?,
                }
            }
        }
        Ok(())
    }

    /// What was put in force, the last one now. Empty: the policy is the fold of the whole ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history(&self) -> Result<Vec<Activation>, VersionError> {
        Ok(self.read_json(ACTIVE)?.unwrap_or_default())
    }

    /// Puts a version in force, or (`None`) the fold of the whole ledger. A running learner changes over within a second.
    ///
    /// # Errors
    /// If there is no such version, or the folder cannot be written.
    pub fn activate(&self, activation: Activation) -> Result<(), VersionError> {
        if let Some(name) = &activation.version {
            self.state(&self.get(name)?)?;
        }
        let _alone = self.alone()?;
        let mut history = self.history()?;
        history.push(activation);
        self.write_json(ACTIVE, &history)
    }

    /// What learning goes on from.
    pub(super) fn base(&self) -> Result<Base, VersionError> {
        let Some(activation) = self.history()?.pop() else { return Ok(Base::default()) };
        let Some(name) = activation.version else { return Ok(Base::default()) };
        let version = self.get(&name)?;
        let mut gaps = version.gaps.clone();
        if activation.from > version.offset {
            gaps.push((version.offset, activation.from));
        }
        Ok(Base { version: Some(name), digest: Some(version.digest), from: activation.from, gaps })
    }

    fn numbers(&self) -> Result<Vec<u64>, VersionError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io(source)),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            number(name.to_str()?.strip_suffix(".json")?)
        };
        Ok(entries.filter_map(name).collect())
    }

    pub(super) fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, VersionError> {
        let file = self.folder.join(name);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| VersionError::Damaged { file, reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io(source)),
        }
    }

    /// The folder's lock, made with the folder when needed; free again when this is dropped, or its process dies.
    pub(super) fn alone(&self) -> Result<File, VersionError> {
        let lock = || {
            fs::create_dir_all(&self.folder)?;
            let file = File::create(self.folder.join(LOCK))?;
            match file.lock() {
                // A file system without locks: then one writer at a time is its user's to see to.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
                locked => locked.map(|()| file),
            }
        };
        lock().map_err(|source| self.io(source))
    }

    /// For whoever holds the lock.
    pub(super) fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), VersionError> {
        let text = serde_json::to_vec_pretty(value).map_err(|error| self.io(error.into()))?;
        self.write(name, &text)
    }

    /// Beside its place, synced, renamed: a reader sees the old bytes or the new ones.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), VersionError> {
        let write = || {
            let mut beside = tempfile::Builder::new().prefix(BESIDE).tempfile_in(&self.folder)?;
            beside.write_all(bytes)?;
            beside.as_file().sync_all()?;
            beside.persist(self.folder.join(name)).map_err(|error| error.error)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> VersionError {
        VersionError::Io { folder: self.folder.clone(), source }
    }
}

/// The number of a version's name.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix('v').filter(|digits| !digits.starts_with('+'))?.parse().ok()
}

/// What a learner stands on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Base {
    /// The version; `None` = nothing, the whole ledger is folded.
    pub(super) version: Option<String>,
    digest: Option<Digest>,
    /// The position after which it folds.
    pub(super) from: Offset,
    /// Events it passes over, or that its version passed over.
    pub(super) gaps: Vec<Gap>,
}

impl Base {
    /// Whether an event at this position is in the policy, or will be.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        !self.gaps.iter().any(|&(after, last)| (after + 1..=last).contains(&offset))
    }

    /// Names it: what was folded on one base does not go on on another.
    pub(super) fn name(&self) -> Digest {
        Digest::of_json(&(&self.digest, self.from, &self.gaps))
    }
}

/// What a learner goes on from: a state, and the feature map it sees decisions through.
pub(super) type Learned = (State, Option<Arc<FeatureMap>>);

impl Versions {
    /// The state and the base that are in force, if they are not those the learner stands on.
    pub(super) fn another(&self, learner: &Learner) -> Result<Option<(Learned, Base)>, VersionError> {
        let base = self.base()?;
        if base == learner.base {
            return Ok(None);
        }
        let (home, home_map) = &learner.home;
        let Some(name) = &base.version else {
            return Ok(Some(((State::new(learner.settings.clone(), home.clone()), home_map.clone()), base)));
        };
        let version = self.get(name)?;
        Ok(Some((self.learned(&version, learner.home.clone())?, base)))
    }

    /// The state of a version and the map it sees through: the one it brings, or the one at home.
    pub(super) fn learned(
        &self,
        version: &Version,
        (home, home_map): (SchemaId, Option<Arc<FeatureMap>>),
    ) -> Result<Learned, VersionError> {
        let state = self.state(version)?;
        if let Some(map) = self.map(version)? {
            return Ok((state, Some(map)));
        }
        if *state.schema() != home {
            let source = StateError::Schema { found: state.schema().clone(), expected: home };
            return Err(VersionError::State { name: version.name.clone(), source });
        }
        Ok((state, home_map))
    }
}

impl Learner {
    /// Goes over to what the folder says is in force: its state, its settings, its place in the ledger. `false`: it
    /// stands on that already.
    ///
    /// # Errors
    /// If the version cannot be read, or was learned on features that are neither at hand nor its own; then nothing
    /// changes.
    pub fn stand_on(&mut self, versions: &Versions) -> Result<bool, VersionError> {
        let another = versions.another(self)?;
        let changes = another.is_some();
        if let Some((learned, base)) = another {
            self.begin(learned, base);
        }
        Ok(changes)
    }
}
