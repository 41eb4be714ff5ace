//! Embeddings of a deployment: the body's bytes with `model` replaced, and the answer's bytes as they come.
//!
//! There is nothing to choose (vectors of different models do not mix) and nothing to learn, so no event is written;
//! the door is the same as for everything else.

use bytes::Bytes;

use super::Gateway;
use super::asked::shorten;
use crate::admission::Caller;
use crate::base::{Error, Kind};
use crate::cache::canonical;
use crate::catalog::{Catalog, Deployment};

impl Gateway {
    /// The upstream's answer to an embeddings request for this model or deployment.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a name that is neither, [`Kind::Forbidden`] for one that the caller may not use, and
    /// those of the call.
    pub async fn embed_upstream(&self, caller: Caller, model: &str, body: Bytes) -> Result<Bytes, Error> {
        let ticket = self.admission.admit(caller)?;
        let catalog = self.catalog();
        let deployment = named(&catalog, model).ok_or_else(|| {
            let message = format!(
                "there are no embeddings of `{}` here; name a model or deployment of GET /v1/models",
                shorten(model)
            );
            Error { param: Some("model".to_owned()), ..Error::new(Kind::NotFound, message) }
        })?;
        if !ticket.caller.may_use(&deployment.model) {
            let message = format!("this API key may not use `{}`", deployment.model);
            return Err(Error { param: Some("model".to_owned()), ..Error::new(Kind::Forbidden, message) });
        }
        let body = with_model(&body, &deployment.upstream_model)
            .ok_or_else(|| Error::new(Kind::InvalidRequest, "the body is not a JSON object with one `model`"))?;
        self.dispatcher.embeddings(deployment, body).await
    }
}

fn named<'a>(catalog: &'a Catalog, name: &'a str) -> Option<&'a Deployment> {
    let alias = catalog.aliases.get(name).and_then(|models| models.first());
    let model = alias.map_or(name, |model| model.as_str());
    catalog.deployments_of(model).next().or_else(|| catalog.deployment(name))
}

/// The body with another `model`; every other byte stays.
fn with_model(body: &[u8], model: &str) -> Option<Bytes> {
    let mut places = canonical::fields(body)?.into_iter().filter(|(key, _)| key == "model");
    let (Some((_, place)), None) = (places.next(), places.next()) else { return None };
    let name = serde_json::Value::from(model).to_string();
    Some([&body[..place.start], name.as_bytes(), &body[place.end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_changes() {
        let body = br#"{ "input":"\u00e9", "model" : "a/b","dimensions":1e1 }"#;
        let changed = with_model(body, "b\"x").expect("one model");
        assert_eq!(&changed[..], br#"{ "input":"\u00e9", "model" : "b\"x","dimensions":1e1 }"#);
        assert_eq!(with_model(br#"{"model":"a","model":"b"}"#, "c"), None);
    }
}
