//! What a request is, said in numbers and in words: the input of every choice.
//!
//! The vector is projected to the few dimensions that the policy learns on; heads over the vector say the
//! intent and the complexity; plain reading of the request says what it needs, in which language it is and
//! how many tokens it has.

pub mod artefact;
mod extractor;
pub mod fit;
pub mod heads;
pub mod language;
mod linear;
pub mod needs;
pub mod projection;
pub mod prompts;
pub mod shape;
pub mod terms;
pub mod tokens;

pub use extractor::Extractor;
pub use projection::FeatureMap;

use serde::{Deserialize, Serialize};

use crate::base::SchemaId;
use crate::catalog::Capability;
use crate::embed::Origin;

/// Length of a context: 1 for the bias and 32 projected dimensions.
pub const CONTEXT: usize = 33;

/// What a deployment must be able to do for this request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Abilities the request uses.
    pub capabilities: Vec<Capability>,
    /// Estimated tokens of the prompt, everything included.
    pub prompt_tokens: u32,
    /// The caller's cap on the answer (on each, of several choices), if any.
    pub max_tokens: Option<u32>,
    /// How many choices the answer is to have.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub choices: u32,
}

impl Default for Needs {
    fn default() -> Self {
        Self { capabilities: Vec::new(), prompt_tokens: 0, max_tokens: None, choices: one() }
    }
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_one(count: &u32) -> bool {
    *count == 1
}

/// One intent and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Its name, for example `code`.
    pub name: String,
    /// The head's probability, `0..=1`.
    pub probability: f64,
}

/// The context of a choice: what the policy learns on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Which feature map made `x`.
    pub schema: SchemaId,
    /// [`CONTEXT`] numbers, the first of them 1.
    pub x: Vec<f32>,
    /// Which embedding `x` was projected from.
    pub origin: Origin,
}

/// Everything known about a request before choosing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// What the policy learns on.
    pub context: Context,
    /// What a deployment must be able to do.
    pub needs: Needs,
    /// The most likely intent; `None` where no head is loaded.
    pub intent: Option<Intent>,
    /// How hard the request looks, 0 easy to 1 hard; `None` where no head is loaded.
    pub complexity: Option<f64>,
    /// Language of the prompt (ISO 639-3), if it can be told.
    pub language: Option<String>,
}
