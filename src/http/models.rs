//! `GET /v1/models` and `GET /v1/models/{id}`: everything that `model` may be.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::embeddings::LOCAL_MODEL;
use super::errors::Failed;
use super::intake;
use crate::admission::Caller;
use crate::base::{Error, Kind, ModelId};
use crate::catalog::Deployment;
use crate::gateway::{Gateway, shorten};

/// The whole list.
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Value>, Failed> {
    let caller = intake::caller(&gateway, &headers)?;
    Ok(Json(json!({"object": "list", "data": models(&gateway, &caller)})))
}

/// One of them.
pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failed> {
    let caller = intake::caller(&gateway, &headers)?;
    let found = models(&gateway, &caller).into_iter().find(|model| model["id"] == id);
    found.map(Json).ok_or_else(|| {
        let message = format!("the model `{}` does not exist here; GET /v1/models lists what does", shorten(&id));
        Error { param: Some("model".to_owned()), ..Error::new(Kind::NotFound, message) }.into()
    })
}

/// What this caller may name: the router itself, its presets, aliases, models, deployments, the local encoder.
/// A name that is several of these is listed once, as the first of them: that is how it is understood.
fn models(gateway: &Gateway, caller: &Caller) -> Vec<Value> {
    let live = gateway.live();
    let mine = |deployment: &&Deployment| caller.may_use(&deployment.model);
    let mut list: Vec<Value> = Vec::new();
    let mut add = |id: &str, owner: &str, kind: &str, serves: Vec<&str>| {
        if !list.iter().any(|known| known["id"] == id) {
            let ours = json!({"kind": kind, "serves": serves});
            // When a catalogue entry was made is not known; clients want a number.
            list.push(json!({"id": id, "object": "model", "created": 0, "owned_by": owner, "pointsman": ours}));
        }
    };
    let pool: Vec<&str> = live
        .catalog
        .deployments
        .iter()
        .filter(mine)
        .filter(|deployment| deployment.auto)
        .map(|deployment| deployment.id.as_str())
        .collect();
    add("auto", "pointsman", "router", pool.clone());
    for preset in live.presets.keys() {
        add(&format!("auto:{preset}"), "pointsman", "preset", pool.clone());
    }
    for (alias, models) in &live.catalog.aliases {
        let serves: Vec<&str> = models.iter().filter(|model| caller.may_use(model)).map(ModelId::as_str).collect();
        if !serves.is_empty() {
            add(alias, "pointsman", "alias", serves);
        }
    }
    for model in live.catalog.models() {
        if caller.may_use(model) {
            let of: Vec<&Deployment> = live.catalog.deployments_of(model.as_str()).collect();
            let owner = of.first().map_or("", |deployment| deployment.provider.as_str());
            add(model.as_str(), owner, "model", of.iter().map(|deployment| deployment.id.as_str()).collect());
        }
    }
    for deployment in live.catalog.deployments.iter().filter(mine) {
        add(deployment.id.as_str(), &deployment.provider, "deployment", vec![deployment.model.as_str()]);
    }
    add(LOCAL_MODEL, "pointsman", "embedding", Vec::new());
    list
}
