//! Which requests may be answered from memory, and which answers may be kept.
//!
//! A repeat of an answer is welcome where the caller asked for one answer and no dice: `temperature` 0, one
//! choice, no tools, no pictures. Where sampling was asked for, a repeat would be a surprise (a user who presses
//! "again" wants another answer), so such requests pass by the cache unless the caller says with
//! `cache-control: max-age=N` or `only-if-cached` that a repeat is welcome, or the operator says so for all.

use serde::{Deserialize, Serialize};

use super::control::Control;
use crate::chat::{Answer, ChatRequest, FinishReason, Role};

/// For which requests the operator lets answers be repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// For none, whatever the caller says.
    Off,
    /// For requests with `temperature` 0, and where the caller welcomes it.
    #[default]
    Deterministic,
    /// For requests at any temperature.
    Always,
}

/// Why a request passes by the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bypass {
    /// The operator switched the cache off.
    Off,
    /// The caller did.
    NoStore,
    /// Tools are offered, or were called earlier.
    Tools,
    /// It carries images, audio or files.
    Media,
    /// More than one choice is asked for.
    ManyChoices,
    /// Sampling is asked for and a repeat was not welcomed.
    Sampled,
    /// Its JSON names a key twice, so it has no single meaning.
    Ambiguous,
}

impl Bypass {
    /// Its name, in headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NoStore => "no_store",
            Self::Tools => "tools",
            Self::Media => "media",
            Self::ManyChoices => "many_choices",
            Self::Sampled => "sampled",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// In words, for a caller who insisted on the cache.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Off => "the cache is switched off here",
            Self::NoStore => "the request says no-store",
            Self::Tools => "requests with tools are not kept",
            Self::Media => "requests with images, audio or files are not kept",
            Self::ManyChoices => "requests for several choices are not kept",
            Self::Sampled => "the request asks for sampling; set temperature to 0 or say cache-control: max-age",
            Self::Ambiguous => "the request's JSON names a key twice",
        }
    }
}

/// Whether this request may be looked up and its answer kept.
///
/// # Errors
/// The reason why not.
pub fn gate(repeats: Repeats, control: &Control, request: &ChatRequest) -> Result<(), Bypass> {
    let view = &request.view;
    if repeats == Repeats::Off {
        return Err(Bypass::Off);
    }
    if control.no_store {
        return Err(Bypass::NoStore);
    }
    if !view.tools.is_empty() || view.messages.iter().any(|m| m.role == Role::Tool || m.tool_calls > 0) {
        return Err(Bypass::Tools);
    }
    if view.messages.iter().any(|message| message.images + message.other_media > 0) {
        return Err(Bypass::Media);
    }
    if view.n != 1 {
        return Err(Bypass::ManyChoices);
    }
    let dice = view.temperature != Some(0.0);
    if dice && repeats == Repeats::Deterministic && !control.welcomes_repeats() {
        return Err(Bypass::Sampled);
    }
    Ok(())
}

/// Whether this answer is worth giving again: it came to its own end, says something, and refuses nothing.
#[must_use]
pub fn keepable(answer: &Answer) -> bool {
    answer.finish_reason == Some(FinishReason::Stop)
        && answer.refusal.is_none()
        && answer.tool_calls.is_empty()
        && !answer.text.trim().is_empty()
}
