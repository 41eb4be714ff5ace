//! Embeddings of a deployment: the body's bytes with `model` replaced, and the answer's bytes as they come.
//!
//! There is nothing to choose (vectors of different models do not mix) and nothing to learn, so no decision is written
//! down. But they cost: they are paid from the budgets of their caller, are refused where these are empty, and end in
//! one `Completed` that says what was spent, as everything does that was let in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::asked::shorten;
use super::budgets::{Hold, Purses};
use super::choice::{broke, nobody};
use super::live::Live;
use super::record::{Record, Recorder, milliseconds};
use super::{Gateway, count};
use crate::admission::{Caller, Ticket};
use crate::base::{DecisionId, DeploymentId, Error, Kind, ModelId, Timestamp, Usd};
use crate::cache::{CacheOutcome, canonical};
use crate::catalog::{Availability, Catalog, Deployment};
use crate::dispatch::Journal;
use crate::features::needs::tokens_of;
use crate::ledger::{BudgetRecord, Completed, Event, Outcome};
use crate::policy::Exclusion;

/// The input is likely to have at most so many times the tokens that are counted: the provider's vocabulary may cut
/// texts finer.
const FINER: f64 = 1.25;

impl Gateway {
    /// The upstream's answer to an embeddings request for this model or deployment.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a name that is neither, [`Kind::Forbidden`] for one that the caller may not use,
    /// [`Kind::BudgetExceeded`] where a budget has too little left, and those of the call.
    pub async fn embed_upstream(&self, caller: Caller, model: &str, body: Bytes) -> Result<Bytes, Error> {
        let ticket = self.admission.admit(caller)?;
        let mut record = Embedding {
            recorder: Arc::clone(&self.recorder),
            id: self.new_id(),
            ticket,
            live: self.live(),
            begun: self.clock.monotonic(),
            called: None,
            journal: Journal::default(),
            hold: None,
            budgets: Vec::new(),
            outcome: None,
        };
        let answer = self.embed_for(&mut record, model, &body).await;
        record.outcome = Some(match &answer {
            Ok(_) => Outcome::Served,
            Err(error) => {
                count::error(error.kind);
                Outcome::Failed(error.kind)
            }
        });
        answer
    }

    async fn embed_for(&self, record: &mut Embedding, model: &str, body: &Bytes) -> Result<Bytes, Error> {
        let live = Arc::clone(&record.live);
        let deployment = named(&live.catalog, model).ok_or_else(|| {
            let message = format!(
                "there are no embeddings of `{}` here; name a model or deployment of GET /v1/models",
                shorten(model)
            );
            Error { param: Some("model".to_owned()), ..Error::new(Kind::NotFound, message) }
        })?;
        let caller = &record.ticket.caller;
        if !caller.may_use(&deployment.model) {
            let message = format!("this API key may not use `{}`", deployment.model);
            return Err(Error { param: Some("model".to_owned()), ..Error::new(Kind::Forbidden, message) });
        }
        let sent = with_model(body, &deployment.upstream_model)
            .ok_or_else(|| Error::new(Kind::InvalidRequest, "the body is not a JSON object with one `model`"))?;
        let tokens = input_tokens(body, &deployment.upstream_model);
        let purses = live.budgets.of(&caller.tenant);
        if !purses.is_empty() {
            let mut hold = hold(&purses, deployment, tokens, self.clock.now())?;
            record.budgets = std::mem::take(&mut hold.records);
            record.hold = Some(hold);
        }
        record.called = Some((deployment.id.clone(), deployment.model.clone()));
        self.dispatcher.embeddings(deployment, sent, tokens, &record.journal).await
    }
}

/// Holds back what the vectors of so many tokens are likely to cost at most.
fn hold(purses: &Purses, deployment: &Deployment, tokens: u64, now: Timestamp) -> Result<Hold, Error> {
    let Some(price) = &deployment.price else {
        let excluded = [(deployment.id.clone(), Exclusion::UnknownPrice)].into();
        return Err(nobody(&excluded, &Availability::default()));
    };
    let most = Usd(price.input * tokens as f64 * FINER / 1e6);
    purses.pace(now);
    purses.hold(most, now).map(Hold::unchosen).ok_or_else(|| broke(most, purses, now))
}

/// A request for vectors that was let in. Dropping it ends it: the money is settled, and its one event is written.
struct Embedding {
    recorder: Arc<Recorder>,
    id: DecisionId,
    ticket: Ticket,
    live: Arc<Live>,
    begun: Duration,
    called: Option<(DeploymentId, ModelId)>,
    journal: Journal,
    hold: Option<Hold>,
    budgets: Vec<BudgetRecord>,
    outcome: Option<Outcome>,
}

impl Drop for Embedding {
    fn drop(&mut self) {
        let at = self.recorder.clock.now();
        let attempts = self.journal.attempts();
        let cost_usd = Record::cost(&attempts);
        if let Some(hold) = self.hold.take() {
            hold.settle(cost_usd, at);
        }
        let outcome = self.outcome.unwrap_or(if std::thread::panicking() {
            Outcome::Failed(Kind::Internal)
        } else if self.recorder.admission.is_closed() {
            Outcome::Dropped
        } else {
            Outcome::HungUp
        });
        let total_ms = milliseconds(self.recorder.clock.monotonic().saturating_sub(self.begun));
        let waited: f64 = attempts.iter().map(|attempt| attempt.total_ms).sum();
        let served = self.called.take().filter(|_| outcome == Outcome::Served);
        let (served, model) = served.map_or((None, None), |(served, model)| (Some(served), Some(model)));
        let completed = Completed {
            id: self.id,
            at,
            tenant: self.ticket.caller.tenant.clone(),
            outcome,
            stream: false,
            cache: CacheOutcome::Bypass,
            reuse: None,
            background: false,
            served,
            model,
            usage: attempts.last().and_then(|attempt| attempt.usage),
            usage_estimated: attempts.last().is_some_and(|attempt| attempt.usage_estimated),
            cost_usd,
            attempts,
            first_token_ms: None,
            total_ms,
            overhead_ms: (total_ms - waited).max(0.0),
            finish_reason: None,
            response_id: None,
            scores: Vec::new(),
            budgets: std::mem::take(&mut self.budgets),
        };
        count::completed(&completed, "/v1/embeddings", &self.live.catalog);
        // What is shed under overload is counted by the ledger.
        let _kept = self.recorder.ledger.append(at, Event::Completed(Box::new(completed)));
    }
}

/// The `input` of a request for vectors, in the four forms the API has.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// One text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// One text, as tokens.
    Tokens(Vec<u32>),
    /// Several, as tokens.
    TokenLists(Vec<Vec<u32>>),
}

/// Tokens of the body's input: those that were sent as such, or those of its texts. What is neither is counted as it is
/// written.
fn input_tokens(body: &[u8], model: &str) -> u64 {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    let Ok(Wire { input: Some(raw) }) = serde_json::from_slice(body) else { return 0 };
    let tokens = match serde_json::from_str(raw.get()) {
        Ok(Input::Text(text)) => tokens_of(std::iter::once(text.as_str()), model),
        Ok(Input::Texts(texts)) => tokens_of(texts.iter().map(String::as_str), model),
        Ok(Input::Tokens(tokens)) => tokens.len(),
        Ok(Input::TokenLists(lists)) => lists.iter().map(Vec::len).sum(),
        Err(_) => tokens_of(std::iter::once(raw.get()), model),
    };
    tokens as u64
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
