//! Text in, unit vector out.
//!
//! [`Embedder`] is the promise. Behind it stand the candle encoder with its worker threads ([`Workers`]) and,
//! for tests and for the moments when the encoder is late, a hashing embedder that needs no weights
//! ([`hashing`]). [`load()`] makes what the configuration asks for.

mod compact;
pub mod config;
pub mod encoder;
mod fast;
pub mod hashing;
#[expect(
    unsafe_code,
    clippy::inline_always,
    reason = "vector instructions and raw rows, measured and kept in one folder; they must end up in their unit's function"
)]
mod kernels;
mod load;
mod portable;
pub mod sources;
pub mod text;
pub mod workers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use compact::{Compact, rounded};
pub use config::{Config, DEFAULT_MODEL, Precision};
pub use encoder::{EncodeError, Encoder, Form};
pub use hashing::Lexical;
pub use kernels::Unit;
pub use load::{LoadError, Progress, Step, load};
pub use workers::Workers;

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

/// How far an embedder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Status {
    /// Its weights are being found, fetched or read; no vectors yet.
    Loading,
    /// It makes vectors.
    Ready,
    /// It will make none; the sentence says why and what to do.
    Failed(String),
}

/// A future of an embedder.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes vectors of texts.
pub trait Embedder: Send + Sync + 'static {
    /// The vector of this text, or `None` if it is not ready within `wait`. Never blocks a runtime thread.
    /// A text that was seen lately comes from memory at once; while the weights are still loading, and when the
    /// queue is full, `None` comes at once.
    fn embed<'a>(&'a self, text: &'a str, wait: Duration) -> Pending<'a, Option<Embedding>>;

    /// Name and version of what makes the vectors; part of every [`crate::base::SchemaId`].
    fn id(&self) -> &str;

    /// How far it is.
    fn status(&self) -> Status;

    /// Waits until it is no longer loading.
    fn settled(&self) -> Pending<'_, Status>;
}
