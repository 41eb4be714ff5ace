//! The form of what is sealed: answers and prompts as JSON.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::{DeploymentId, ModelId, TenantId, Timestamp};
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
    tags: Vec<String>,
}

/// An answer, to be sealed; `None` if its body is no text.
pub(super) fn answer(entry: &Entry) -> Option<Vec<u8>> {
    let Entry { body, answer, deployment, model, tags, .. } = entry;
    let row = AnswerRow {
        body: String::from_utf8(body.to_vec()).ok()?,
        id: answer.id.clone(),
        upstream_model: answer.model.clone(),
        text: answer.text.clone(),
        finish_reason: answer.finish_reason.clone(),
        usage: answer.usage,
        deployment: deployment.clone(),
        model: model.clone(),
        tags: tags.clone(),
    };
    serde_json::to_vec(&row).ok()
}

/// Reads [`answer`].
pub(super) fn read_answer(opened: &[u8], tenant: TenantId, made: Timestamp) -> Option<Entry> {
    let row: AnswerRow = serde_json::from_slice(opened).ok()?;
    let AnswerRow { body, id, upstream_model, text, finish_reason, usage, deployment, model, tags } = row;
    let answer = Answer { id, model: upstream_model, text, finish_reason, usage, ..Answer::default() };
    Some(Entry { tenant, body: Bytes::from(body), answer, made, deployment, model, tags, space: OnceLock::new() })
}

#[derive(Serialize, Deserialize)]
struct PromptRow {
    space: String,
    about: String,
    text: String,
    vector: String,
}

/// A prompt and its place, to be sealed.
pub(super) fn prompt(place: &Place, prompt: &Prompt) -> Option<Vec<u8>> {
    let row = PromptRow {
        space: place.space.to_string(),
        about: place.about.clone(),
        text: prompt.text.to_string(),
        vector: STANDARD.encode(prompt.vector.to_bytes()),
    };
    serde_json::to_vec(&row).ok()
}

/// Reads [`prompt`].
pub(super) fn read_prompt(opened: &[u8], key: Key, tenant: TenantId, made: Timestamp) -> Option<(Place, Prompt)> {
    let PromptRow { space, about, text, vector } = serde_json::from_slice(opened).ok()?;
    let vector = Fine::from_bytes(&STANDARD.decode(vector).ok()?)?;
    let place = Place { space: Key::read(&space)?, tenant, about };
    Some((place, Prompt { key, made, text: text.into(), vector }))
}
