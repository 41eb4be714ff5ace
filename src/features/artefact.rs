//! The learned parts of the features, as files: the projection, the heads, and a manifest that names them.
//!
//! They come with the binary; others of the same form can be read in their place. The projection alone decides
//! what a context means, so the [`SchemaId`] is a name and the digest of the projection's file: heads can be
//! trained anew without making the policy forget, a new projection cannot.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::heads::Heads;
use super::projection::Projection;
use crate::base::{Digest, SchemaId};

const MANIFEST: &str = include_str!("../../models/features-v1/manifest.toml");
const PROJECTION: &[u8] = include_bytes!("../../models/features-v1/projection.safetensors");
const HEADS: &[u8] = include_bytes!("../../models/features-v1/heads.safetensors");

/// Says what the files are and where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the artefact.
    pub name: String,
    /// What a context made by it is called.
    pub schema: SchemaId,
    /// The encoder whose vectors it reads.
    pub encoder: String,
    /// Licence of the files.
    pub licence: String,
    /// The command that makes them.
    pub made_by: String,
    /// What they are made from.
    pub made_from: Vec<String>,
    /// The intents, in the order of the head's outputs.
    pub intents: Vec<String>,
    /// SHA-256 of every file, in hexadecimal digits.
    pub sha256: BTreeMap<String, String>,
}

/// What is wrong with the files of an artefact.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The manifest cannot be read.
    #[error("manifest.toml: {0}")]
    Manifest(#[from] toml::de::Error),
    /// A file's content is not the one that the manifest names.
    #[error("{file}: its SHA-256 is {found}, the manifest says {expected}; fetch or train the artefact again")]
    Changed {
        /// The file.
        file: &'static str,
        /// What the manifest says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A file is not in safetensors' format.
    #[error("not a safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A tensor is missing, has another shape, or holds something else than finite 32-bit floats.
    #[error("tensor `{name}`: expected finite F32 of shape {expected:?}, found {found}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Its shape as this version needs it.
        expected: Vec<usize>,
        /// What is there.
        found: String,
    },
}

/// Projection and heads, ready for use.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// What it is.
    pub manifest: Manifest,
    /// From a vector to a context.
    pub projection: Projection,
    /// From a vector and a shape to intent and complexity.
    pub heads: Heads,
}

impl Artefact {
    /// Those that come with this version.
    ///
    /// # Panics
    /// Never in a build that passed its tests: the files are part of the binary, and a test reads them.
    #[must_use]
    pub fn shipped() -> Self {
        Self::read(MANIFEST, PROJECTION, HEADS).expect("the shipped files are read by a test")
    }

    /// Reads an artefact from the contents of its files.
    ///
    /// # Errors
    /// If a file cannot be read or is not what the manifest says.
    pub fn read(manifest: &str, projection: &[u8], heads: &[u8]) -> Result<Self, Wrong> {
        let manifest: Manifest = toml::from_str(manifest)?;
        for (file, bytes) in [("projection.safetensors", projection), ("heads.safetensors", heads)] {
            let found = sha256(bytes);
            let expected = manifest.sha256.get(file).cloned().unwrap_or_default();
            if found != expected {
                return Err(Wrong::Changed { file, expected, found });
            }
        }
        let projection = Projection::read(&Tensors::of(projection)?)?;
        let heads = Heads::read(&Tensors::of(heads)?, &manifest.intents)?;
        Ok(Self { manifest, projection, heads })
    }
}

/// The name of the contexts that this projection makes.
#[must_use]
pub fn schema(projection: &[u8]) -> SchemaId {
    let digest = Digest::of(projection).to_string();
    SchemaId::from(format!("minilm-l6-pca32@{}", &digest[..12]))
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The tensors of one file.
pub struct Tensors<'a>(SafeTensors<'a>);

impl<'a> Tensors<'a> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// If it is none.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Wrong> {
        Ok(Self(SafeTensors::deserialize(bytes)?))
    }

    /// Names and shapes of all tensors, by name.
    #[must_use]
    pub fn names(&self) -> BTreeMap<String, Vec<usize>> {
        self.0.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect()
    }

    /// The numbers of one tensor.
    ///
    /// # Errors
    /// If it is missing, of another shape or type, or not finite.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Wrong> {
        let wrong = |found: String| Wrong::Tensor { name: name.to_owned(), expected: shape.to_vec(), found };
        let view = self.0.tensor(name).map_err(|error| wrong(error.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(wrong(format!("{:?} of shape {:?}", view.dtype(), view.shape())));
        }
        let numbers: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        if numbers.iter().all(|number| number.is_finite()) {
            Ok(numbers)
        } else {
            Err(wrong("a number that is not finite".to_owned()))
        }
    }
}

/// A safetensors file of these tensors: name, shape, numbers.
///
/// # Errors
/// If a shape and its numbers do not fit.
pub fn write(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>, Wrong> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., numbers)| numbers.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect();
    views.and_then(|views| safetensors::serialize(views, None)).map_err(Wrong::Format)
}
