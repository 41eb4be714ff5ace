//! Have we answered this before?

use serde::{Deserialize, Serialize};

/// Where the answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// From the exact cache.
    Hit,
    /// From the semantic cache.
    Semantic,
    /// Looked up and not there.
    Miss,
    /// Not looked up.
    Bypass,
}
