//! Have we answered this before?
//!
//! Two tiers. Exactly: two requests are the same when everything that shapes the answer is the same, whatever the
//! order of keys or the spelling of numbers ([`key()`]); an answer is kept when it was whole, good and asked for in
//! a way that makes a repeat welcome ([`gate()`]); it is given back as a valid answer, streamed or not, with every
//! field the provider sent ([`replay`]). Its life is counted from its making and never renewed, and one tenant's
//! answers are never another's.
//!
//! In meaning ([`semantic`]): a prompt that differs in the user's last words alone may get the answer to a like one,
//! where what was found of such answers allows it. An answer that was asked for by nobody but a like prompt writes
//! nothing: a wrong one must not spread.
//!
//! Pure: time comes in as a value. The one thing with a memory here is [`Cache`]; what it tells its [`Keeper`] is
//! written down elsewhere.

pub mod canonical;
mod config;
mod control;
mod exact;
mod gate;
mod key;
pub mod replay;
pub mod semantic;
mod shelf;
mod store;
mod tree;

use serde::{Deserialize, Serialize};

pub use config::{Config, SemanticConfig, TenantConfig};
pub use control::Control;
pub use exact::Entry;
pub use gate::{Bypass, Repeats, gate, keepable};
pub use key::{Key, Scope, key, names};
pub use store::{Cache, Change, Contents, InMemory, Keeper, Place, Purge};

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
    /// Looked up and too old, and given nevertheless because the providers failed.
    Stale,
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
            Self::Stale => "stale",
        }
    }
}
