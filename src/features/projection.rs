//! From a vector of 384 numbers to the 32 that the policy learns on.
//!
//! Principal components, not whitened: whitening lifts directions of little variance, which are mostly noise,
//! and costs quality in every measurement (design notes, learning). All components are divided by one number, so that
//! the mean squared length of a context, its bias left out, is 1 on the prompts it was fitted on.
//!
//! A lexical vector has nothing in common with the encoder's. It has a map of its own, fitted to land where
//! the encoder would have put the same text: a rough guess at the same coordinates, so that a decision made while
//! the encoder is late still meets what was learned.

use super::CONTEXT;
use super::artefact::{Tensors, Wrong};
use super::linear::Linear;
use crate::embed::{DIMENSIONS, Embedding, Origin};

/// Dimensions of a context beside its bias.
pub const PROJECTED: usize = CONTEXT - 1;

/// Both maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    pub(crate) encoder: Linear,
    pub(crate) lexical: Linear,
}

impl Projection {
    /// The maps `encoder` and `lexical` of a file.
    pub(super) fn read(tensors: &Tensors<'_>) -> Result<Self, Wrong> {
        let map = |name| Linear::read(tensors, name, DIMENSIONS, PROJECTED);
        Ok(Self { encoder: map("encoder")?, lexical: map("lexical")? })
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
