//! From a vector of 384 numbers to the 32 that the policy learns on.
//!
//! Principal components, not whitened: whitening lifts directions of little variance, which are mostly noise,
//! and costs quality in every measurement (design notes, learning). All components are divided by one number, so that
//! the mean squared length of a context, its bias left out, is 1 on the prompts it was fitted on.
//!
//! A lexical vector has nothing in common with the encoder's. It has a map of its own, fitted to land where
//! the encoder would have put the same text: a rough guess at the same coordinates, so that a decision made while
//! the encoder is late still meets what was learned.

use std::borrow::Cow;

use super::artefact::{self, Artefact, Tensors, Wrong};
use super::linear::Linear;
use super::{CONTEXT, Context};
use crate::base::SchemaId;
use crate::embed::{Compact, DIMENSIONS, Embedding, Origin};

/// Dimensions of a context beside its bias.
pub const PROJECTED: usize = CONTEXT - 1;

/// Both maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    pub(crate) encoder: Linear,
    pub(crate) lexical: Linear,
}

/// A projection under its name: all it takes to make contexts of vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// What the contexts it makes are called.
    pub schema: SchemaId,
    /// How it makes them.
    pub projection: Projection,
}

impl FeatureMap {
    /// The map that comes with this version.
    #[must_use]
    pub fn shipped() -> Self {
        let Artefact { manifest, projection, .. } = Artefact::shipped();
        Self { schema: manifest.schema, projection }
    }

    /// The map of a file of `train`; its name follows from the bytes.
    ///
    /// # Errors
    /// If the file does not hold both projections.
    pub fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        Ok(Self { schema: artefact::schema(bytes), projection: Projection::read(&Tensors::of(bytes)?)? })
    }

    /// The context of a logged vector of the encoder.
    #[must_use]
    pub fn context(&self, vector: &Compact) -> Context {
        let embedding = Embedding { vector: vector.vector().into(), origin: Origin::Encoder };
        let x = self.projection.project(&embedding).to_vec();
        Context { schema: self.schema.clone(), x, origin: Origin::Encoder }
    }

    /// A logged context as this map sees it: made anew from the logged vector where another map had made it. It stays
    /// another map's where there is no vector.
    #[must_use]
    pub fn sees<'a>(&self, context: &'a Context, vector: Option<&Compact>) -> Cow<'a, Context> {
        match vector {
            Some(vector) if context.schema != self.schema => Cow::Owned(self.context(vector)),
            _ => Cow::Borrowed(context),
        }
    }
}

impl Projection {
    /// The maps `encoder` and `lexical` of a file.
    pub(super) fn read(tensors: &Tensors<'_>) -> Result<Self, Wrong> {
        let map = |name| Linear::read(tensors, name, DIMENSIONS, PROJECTED);
        Ok(Self { encoder: map("encoder")?, lexical: map("lexical")? })
    }

    /// The file of these maps: what [`FeatureMap::read`] reads.
    ///
    /// # Panics
    /// Never: the shapes are those of the maps.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let tensors = [("encoder", &self.encoder), ("lexical", &self.lexical)].into_iter().flat_map(|(name, map)| {
            [
                (format!("{name}.weight"), vec![DIMENSIONS, PROJECTED], map.weight.clone()),
                (format!("{name}.bias"), vec![PROJECTED], map.bias.clone()),
            ]
        });
        artefact::write(&tensors.collect::<Vec<_>>()).expect("shapes that fit")
    }

    /// The context's numbers: 1, then the projected vector.
    #[must_use]
    pub fn project(&self, embedding: &Embedding) -> [f32; CONTEXT] {
        let map = match embedding.origin {
            Origin::Encoder => &self.encoder,
            Origin::Lexical => &self.lexical,
        };
        let mut x = [1.0; CONTEXT];
        x[1..].copy_from_slice(&map.project::<PROJECTED>(&embedding.vector));
        x
    }
}
