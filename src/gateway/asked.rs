//! What `model` and the wishes mean here: who may be called, and what the caller wants of the choice.

use std::borrow::Cow;

use super::live::{DEFAULT_PRESET, Live};
use super::wishes::Wishes;
use crate::admission::Caller;
use crate::base::{Error, Kind, ModelId};
use crate::catalog::{Catalog, Deployment};
use crate::policy::{Asked, Preferences};

/// The longest `model` that is looked up or written down.
pub(super) const LONGEST_NAME: usize = 200;

/// What was asked for, understood.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    /// Who may be called.
    pub(super) asked: Asked,
    /// What the caller wants of the choice.
    pub(super) preferences: Preferences,
    /// The catalogue, less what the caller may not use or opted out of.
    pub(super) catalog: Cow<'a, Catalog>,
}

impl Wanted<'_> {
    /// What was asked for, in a form that two equal wishes share.
    #[must_use]
    pub(super) fn asked_name(&self) -> (&'static str, Vec<&str>) {
        match &self.asked {
            Asked::Auto => ("auto", Vec::new()),
            Asked::Models(models) => ("models", models.iter().map(ModelId::as_str).collect()),
            Asked::Deployment(id) => ("deployment", vec![id.as_str()]),
        }
    }
}

/// Reads `model`: `auto`, `auto:PRESET`, an alias, a model, or a deployment; the last three also as a pin.
///
/// # Errors
/// [`Kind::NotFound`] for a name that nothing here has, [`Kind::Forbidden`] for one that the caller may not use.
pub(super) fn understand<'a>(
    model: &str,
    wishes: &Wishes,
    caller: &Caller,
    live: &'a Live,
) -> Result<Wanted<'a>, Error> {
    let catalog = &live.catalog;
    let (name, param) = match &wishes.pin {
        Some(pin) => (pin.as_str(), "x-pointsman-pin"),
        None => (model, "model"),
    };
    let preset = |name: &str| {
        live.presets.get(name).copied().ok_or_else(|| {
            let presets: Vec<String> = live.presets.keys().map(|preset| format!("`auto:{preset}`")).collect();
            unknown(param, &format!("there is no preset `{}`; there are: {}", shorten(name), presets.join(", ")))
        })
    };
    let usual = caller.preset.as_deref().unwrap_or(DEFAULT_PRESET);
    let (asked, preferences) = if name == "auto" {
        (Asked::Auto, preset(usual)?)
    } else if let Some(wanted) = name.strip_prefix("auto:") {
        (Asked::Auto, preset(wanted)?)
    } else if let Some(models) = catalog.aliases.get(name) {
        (Asked::Models(models.clone()), preset(usual)?)
    } else if catalog.deployments_of(name).next().is_some() {
        (Asked::Models(vec![name.into()]), preset(usual)?)
    } else if let Some(deployment) = catalog.deployment(name) {
        (Asked::Deployment(deployment.id.clone()), preset(usual)?)
    } else {
        return Err(unknown(
            param,
            &format!(
                "the model `{}` does not exist here; ask for `auto`, or for a name that GET /v1/models lists",
                shorten(name)
            ),
        ));
    };
    check_right(&asked, caller, catalog, name)?;
    let keep = |deployment: &Deployment| {
        caller.may_use(&deployment.model)
            && wishes.tags.iter().all(|tag| deployment.tags.contains(tag))
            && !wishes.exclude.iter().any(|out| *out == deployment.id.as_str() || *out == deployment.model.as_str())
    };
    let catalog = if catalog.deployments.iter().all(keep) {
        Cow::Borrowed(catalog.as_ref())
    } else {
        Cow::Owned(Catalog {
            deployments: catalog.deployments.iter().filter(|deployment| keep(deployment)).cloned().collect(),
            ..catalog.as_ref().clone()
        })
    };
    Ok(Wanted { asked, preferences: wishes.over(preferences), catalog })
}

/// A caller with a list of models may name only those; an alias is his if one of its models is.
fn check_right(asked: &Asked, caller: &Caller, catalog: &Catalog, name: &str) -> Result<(), Error> {
    let may = match asked {
        Asked::Auto => true,
        Asked::Models(models) => models.iter().any(|model| caller.may_use(model)),
        Asked::Deployment(id) => {
            let model: Option<&ModelId> = catalog.deployment(id.as_str()).map(|deployment| &deployment.model);
            model.is_some_and(|model| caller.may_use(model))
        }
    };
    if may {
        return Ok(());
    }
    let message = format!("this API key may not use `{name}`; GET /v1/models lists what it may use");
    Err(Error { param: Some("model".to_owned()), ..Error::new(Kind::Forbidden, message) })
}

fn unknown(param: &str, message: &str) -> Error {
    Error { param: Some(param.to_owned()), ..Error::new(Kind::NotFound, message) }
}

/// The name, cut to a length that can be repeated and kept.
#[must_use]
pub fn shorten(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}
