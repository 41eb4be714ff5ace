//! One attempt while it runs, and what is written down when it ends, however it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::health::Permit;
use super::{Attempt, Journal, estimate};
use crate::base::{Clock, DeploymentId, Usd};
use crate::catalog::{Deployment, Price};
use crate::chat::{ChatRequest, Endpoint};
use crate::dialect::openai::Assembly;
use crate::dialect::{Class, Fault};

/// An attempt under way. Ends exactly once: by [`Running::served`], by [`Running::failed`], or by being dropped,
/// which means that the client hung up.
pub(super) struct Running {
    deployment: DeploymentId,
    price: Option<Price>,
    endpoint: Endpoint,
    body: Bytes,
    clock: Arc<dyn Clock>,
    begun: Duration,
    first_content: Option<Duration>,
    pub(super) status: Option<u16>,
    /// What the answer has said so far.
    pub(super) said: Assembly,
    pub(super) permit: Permit,
    journal: Journal,
    ended: bool,
}

impl Running {
    pub(super) fn new(
        deployment: &Deployment,
        request: &ChatRequest,
        permit: Permit,
        clock: Arc<dyn Clock>,
        journal: &Journal,
    ) -> Self {
        Self {
            deployment: deployment.id.clone(),
            price: deployment.price.clone(),
            endpoint: request.endpoint,
            body: request.body.clone(),
            begun: clock.monotonic(),
            clock,
            first_content: None,
            status: None,
            said: Assembly::default(),
            permit,
            journal: journal.clone(),
            ended: false,
        }
    }

    /// The first content is there.
    pub(super) fn started(&mut self) {
        self.first_content.get_or_insert(self.clock.monotonic());
        self.permit.started();
    }

    /// The answer is whole.
    pub(super) fn served(&mut self) -> Attempt {
        self.permit.ended_well();
        let attempt = self.record(None);
        self.journal.push(attempt.clone());
        attempt
    }

    /// It failed.
    pub(super) fn failed(&mut self, fault: &Fault) -> Attempt {
        self.permit.failed(fault);
        let attempt = self.record(Some(fault));
        self.journal.push(attempt.clone());
        attempt
    }

    fn record(&mut self, fault: Option<&Fault>) -> Attempt {
        self.ended = true;
        let millis = |to: Duration| to.saturating_sub(self.begun).as_secs_f64() * 1e3;
        let reported = self.said.answer().usage;
        let complete = reported.is_some_and(|usage| usage.prompt_tokens.and(usage.completion_tokens).is_some());
        let produced = self.said.has_content() || self.said.is_complete();
        let estimated = produced && !complete;
        let usage =
            if estimated { Some(estimate::fill(reported, self.endpoint, &self.body, &self.said)) } else { reported };
        // A provider does not charge for a call that it refused or never got. What it charges for one that
        // was given up half-way is not known.
        let refused = fault.is_some_and(|fault| {
            fault.class == Class::Unreachable || self.status.is_some_and(|status| !(200..300).contains(&status))
        });
        let charged = self.said.answer().reported_cost_usd.map(Usd);
        let by_price = || usage.as_ref().and_then(|usage| self.price.as_ref()?.cost(usage));
        let cost_usd = if refused { Some(Usd::ZERO) } else { charged.or_else(by_price) };
        Attempt {
            deployment: self.deployment.clone(),
            error: fault.map(|fault| fault.class.kind()),
            status: self.status,
            first_token_ms: self.first_content.map(millis),
            total_ms: millis(self.clock.monotonic()),
            usage,
            usage_estimated: estimated,
            cost_usd,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let attempt = self.record(None);
            let said = self.said.has_content().then(|| std::mem::take(&mut self.said).into_answer());
            self.journal.push_cut(attempt, said);
        }
    }
}
