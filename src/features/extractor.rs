//! Reads a request and its vector into [`Features`].

use super::{CONTEXT, Context, Features, language, needs};
use crate::base::SchemaId;
use crate::chat::{ChatRequest, Role};
use crate::embed::{Embedding, Origin};

/// Makes features of requests. Immutable and cheap to share; reload makes a new one.
#[derive(Clone, Debug)]
pub struct Extractor {
    schema: SchemaId,
}

impl Extractor {
    /// The extractor with the projection and heads that come with this version.
    #[must_use]
    pub fn new() -> Self {
        Self { schema: SchemaId::from("minilm-bias-v0") }
    }

    /// Which feature map it applies; stands in every context it makes.
    #[must_use]
    pub fn schema(&self) -> &SchemaId {
        &self.schema
    }

    /// What this request is. Total: there is an answer for every request, with an embedding or without one.
    #[must_use]
    pub fn extract(&self, request: &ChatRequest, embedding: Option<&Embedding>) -> Features {
        let mut x = vec![0.0; CONTEXT];
        x[0] = 1.0;
        let origin = embedding.map_or(Origin::Lexical, |embedding| embedding.origin);
        let context = Context { schema: self.schema.clone(), x, origin };
        Features {
            context,
            needs: needs::needs(request),
            intent: None,
            complexity: None,
            language: language::language(prompt(request)),
        }
    }
}

impl Default for Extractor {
    fn default() -> Self {
        Self::new()
    }
}

/// The text that says what is wanted: the last message of the user, else the last message of anybody.
fn prompt(request: &ChatRequest) -> &str {
    let messages = &request.view.messages;
    let asked = messages.iter().rev().find(|message| message.role == Role::User);
    asked.or(messages.last()).map_or("", |message| &message.text)
}
