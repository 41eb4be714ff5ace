//! Reads a request and its vector into [`Features`].

use std::borrow::Cow;

use super::artefact::Artefact;
use super::heads::Input;
use super::projection::FeatureMap;
use super::{Context, Features, language, needs};
use crate::base::SchemaId;
use crate::chat::ChatRequest;
use crate::embed::{DIMENSIONS, Embedding, Origin, hashing};

/// Makes features of requests. Immutable; share it behind an `Arc`, reload makes a new one.
#[derive(Clone, Debug)]
pub struct Extractor {
    artefact: Artefact,
}

impl Extractor {
    /// With the projection and heads that come with this version.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Artefact::shipped())
    }

    /// With this projection and these heads. Reads the vocabularies of the token counter, so that no request
    /// waits for them.
    #[must_use]
    pub fn with(artefact: Artefact) -> Self {
        super::tokens::warm_up();
        Self { artefact }
    }

    /// Which feature map it applies; stands in every context it makes.
    #[must_use]
    pub fn schema(&self) -> &SchemaId {
        &self.artefact.manifest.schema
    }

    /// The feature map it applies.
    #[must_use]
    pub fn map(&self) -> FeatureMap {
        FeatureMap { schema: self.schema().clone(), projection: self.artefact.projection.clone() }
    }

    /// The projection and the heads.
    #[must_use]
    pub fn artefact(&self) -> &Artefact {
        &self.artefact
    }

    /// What this request is. Total: there is an answer for every request. Without an embedding, or with one that
    /// is no unit vector of [`DIMENSIONS`] numbers, the text's lexical vector takes its place and the
    /// context's origin says so.
    #[must_use]
    pub fn extract(&self, request: &ChatRequest, embedding: Option<&Embedding>) -> Features {
        let text = request.prompt();
        let embedding = of(text, embedding);
        let encoder = (embedding.origin == Origin::Encoder).then_some(&embedding.vector[..]);
        let input = Input::of(text, encoder);
        Features {
            context: self.project(&embedding),
            needs: needs::needs(request),
            intent: self.artefact.heads.intent(&input),
            complexity: Some(self.artefact.heads.complexity(&input)),
            language: language::language(text),
        }
    }
}

impl Extractor {
    /// The same heads on this feature map.
    #[must_use]
    pub fn on(&self, map: &FeatureMap) -> Self {
        let mut artefact = self.artefact.clone();
        artefact.manifest.schema = map.schema.clone();
        artefact.projection = map.projection.clone();
        Self { artefact }
    }

    /// The context alone of a text, with its embedding if there is one.
    #[must_use]
    pub fn context(&self, text: &str, embedding: Option<&Embedding>) -> Context {
        self.project(&of(text, embedding))
    }

    fn project(&self, embedding: &Embedding) -> Context {
        let x = self.artefact.projection.project(embedding).to_vec();
        Context { schema: self.schema().clone(), x, origin: embedding.origin }
    }
}

/// The embedding, if it is one; the text's lexical vector if not.
fn of<'a>(text: &str, embedding: Option<&'a Embedding>) -> Cow<'a, Embedding> {
    embedding.filter(|embedding| sound(embedding)).map_or_else(|| Cow::Owned(hashing::embed(text)), Cow::Borrowed)
}

impl Default for Extractor {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this can be a unit vector that the projection and the heads were made for: of the right length, with
/// no number beyond 1 (rounding aside) and none that is not a number.
fn sound(embedding: &Embedding) -> bool {
    embedding.vector.len() == DIMENSIONS && embedding.vector.iter().all(|x| x.abs() < 1.01)
}
