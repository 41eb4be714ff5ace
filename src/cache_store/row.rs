//! The form of what is sealed: answers and prompts as JSON.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::{DeploymentId, ModelId, TenantId, Timestamp, Usd};
use crate::cache::semantic::quantised::Fine;
use crate::cache::semantic::space::Prompt;
use crate::cache::{Entry, Key, Place};
use crate::chat::{Answer, FinishReason, Usage};

#[derive(Serialize, Deserialize)]
struct AnswerRow {
    body: String,
    id: Option<String>,
    upstream_model: Option<String>,
    text: String,
    finish_reason: Option<FinishReason>,
    usage: Option<Usage>,
    deployment: DeploymentId,
    model: ModelId,
    #[serde(default)]
    cost: Option<Usd>,
    #[serde(default)]
    took_ms: u64,
    tags: Vec<String>,
}

/// An answer, to be sealed; `None` if its body is no text.
pub(super) fn answer(entry: &Entry) -> Option<Vec<u8>> {
    let Entry { body, answer, deployment, model, cost, took, tags, .. } = entry;
    let row = AnswerRow {
        body: String::from_utf8(body.to_vec()).ok()?,
        id: answer.id.clone(),
        upstream_model: answer.model.clone(),
        text: answer.text.clone(),
        finish_reason: answer.finish_reason.clone(),
        usage: answer.usage,
        deployment: deployment.clone(),
        model: model.clone(),
        cost: *cost,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        tags: tags.clone(),
    };
    serde_json::to_vec(&row).ok()
}

/// Reads [`answer`].
pub(super) fn read_answer(opened: &[u8], tenant: TenantId, made: Timestamp) -> Option<Entry> {
    let row: AnswerRow = serde_json::from_slice(opened).ok()?;
    let AnswerRow { body, id, upstream_model, text, finish_reason, usage, deployment, model, cost, took_ms, tags } =
        row;
    let answer = Answer { id, model: upstream_model, text, finish_reason, usage, ..Answer::default() };
    let (body, took) = (Bytes::from(body), Duration::from_millis(took_ms));
    Some(Entry { tenant, body, answer, made, deployment, model, cost, took, tags, space: OnceLock::new() })
}

#[derive(Serialize, Deserialize)]
struct PromptRow {
    space: String,
    about: String,
    text: String,
    vector: String,
    #[serde(default)]
    distinct: bool,
}

/// A prompt and its place, to be sealed.
pub(super) fn prompt(place: &Place, prompt: &Prompt) -> Option<Vec<u8>> {
    let row = PromptRow {
        space: place.space.to_string(),
        about: place.about.clone(),
        text: prompt.text.to_string(),
        vector: STANDARD.encode(prompt.vector.to_bytes()),
        distinct: prompt.distinct,
    };
    serde_json::to_vec(&row).ok()
}

/// Reads [`prompt`].
pub(super) fn read_prompt(opened: &[u8], key: Key, tenant: TenantId, made: Timestamp) -> Option<(Place, Prompt)> {
    let PromptRow { space, about, text, vector, distinct } = serde_json::from_slice(opened).ok()?;
    let vector = Fine::from_bytes(&STANDARD.decode(vector).ok()?)?;
    let place = Place { space: Key::read(&space)?, tenant, about };
    Some((place, Prompt { key, made, text: text.into(), vector, distinct }))
}
