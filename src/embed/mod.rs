//! Text in, unit vector out.
//!
//! [`Embedder`] is the promise; behind it stand the candle encoder with its worker threads and, for tests
//! and for the moments when the encoder is late, a hashing embedder that needs no weights.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Dimensions of every vector in this version: those of all-MiniLM-L6-v2.
pub const DIMENSIONS: usize = 384;

/// Where a vector came from. Vectors of different origin live in different spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The encoder read the text.
    Encoder,
    /// Hashed words and character triples; the encoder was late, is not loaded, or is switched off.
    Lexical,
}

/// A unit vector of [`DIMENSIONS`] numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The numbers; Euclidean length 1.
    pub vector: Arc<[f32]>,
    /// Where it came from.
    pub origin: Origin,
}

/// Makes vectors of texts.
pub trait Embedder: Send + Sync + 'static {
    /// The vector of this text, or `None` if it is not ready within `wait`. Never blocks a runtime thread.
    /// A text that was seen lately comes from memory at once.
    fn embed<'a>(
        &'a self,
        text: &'a str,
        wait: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<Embedding>> + Send + 'a>>;

    /// Name and version of what makes the vectors; part of every [`crate::base::SchemaId`].
    fn id(&self) -> &str;
}
