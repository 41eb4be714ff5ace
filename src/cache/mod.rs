//! Have we answered this before?
//!
//! The exact tier. Two requests are the same when everything that shapes the answer is the same, whatever the
//! order of keys or the spelling of numbers ([`key()`]); an answer is kept when it was whole, good and asked for in
//! a way that makes a repeat welcome ([`gate()`]); it is given back as a valid answer, streamed or not, with every
//! field the provider sent ([`replay`]). Its life is counted from its making and never renewed, and one tenant's
//! answers are never another's.
//!
//! Pure: time comes in as a value. The one thing with a memory here is [`ExactCache`].

pub mod canonical;
mod control;
mod exact;
mod gate;
mod key;
pub mod replay;
pub mod semantic;
mod tree;

use serde::{Deserialize, Serialize};

pub use control::Control;
pub use exact::{Config, Entry, ExactCache};
pub use gate::{Bypass, Repeats, gate, keepable};
pub use key::{Key, Scope, key};

/// Where the answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// From the exact cache.
    Hit,
    /// From the semantic cache.
    Semantic,
    /// From the call of an equal request that was under way.
    Coalesced,
    /// Looked up and not there.
    Miss,
    /// Not looked up.
    Bypass,
}

impl CacheOutcome {
    /// Whether a provider was called for it.
    #[must_use]
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Miss | Self::Bypass)
    }

    /// The public name: in headers, metrics and the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Semantic => "semantic",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}
