//! Calls that are passed on without a plan: embeddings.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::call;
use super::{Attempt, Dispatcher, Journal};
use crate::base::{Clock, Error, Kind, Usd};
use crate::catalog::Deployment;
use crate::chat::Usage;
use crate::dialect::openai::Assembly;
use crate::dialect::{Class, Fault};

impl Dispatcher {
    /// The deployment's answer to this embeddings body, whose input is estimated at so many tokens. One attempt: clients
    /// of embeddings retry by themselves, and another deployment's vectors would not mix with this one's. It stands in
    /// the journal, however it ends.
    ///
    /// # Errors
    /// What the deployment answered, or why it did not.
    pub async fn embeddings(
        &self,
        deployment: &Deployment,
        body: Bytes,
        tokens: u64,
        journal: &Journal,
    ) -> Result<Bytes, Error> {
        let mut permit = self.doors.enter(deployment).map_err(|wait| {
            let message = "the deployment is resting after failures; try again later";
            Error::new(Kind::UpstreamUnavailable, message).with_retry_after(Some(wait))
        })?;
        let mut forwarded = Forwarded::new(deployment, tokens, self.clock.as_ref(), journal);
        let late = Instant::now() + self.config.whole_timeout;
        let answer = async {
            let response = self.line.post(deployment, "embeddings", body, false, permit.ahead).await?;
            forwarded.status = Some(response.status().as_u16());
            if !response.status().is_success() {
                return Err(call::refusal(response, self.clock.now()).await);
            }
            call::whole(response, self.config.max_answer_bytes).await
        };
        let too_late = || Fault::new(Class::Timeout, "the provider did not answer in time");
        match timeout_at(late, answer).await.unwrap_or_else(|_| Err(too_late())) {
            Ok(bytes) => {
                permit.ended_well();
                forwarded.said(&bytes);
                Ok(bytes)
            }
            Err(fault) => {
                permit.failed(&fault);
                forwarded.fault = Some(fault.class);
                Err(Error::from(fault))
            }
        }
    }
}

/// A call under way. It is written down when it is dropped: at its end, or when the client hangs up.
struct Forwarded<'a> {
    deployment: &'a Deployment,
    /// Tokens of the input, as estimated.
    tokens: u64,
    clock: &'a dyn Clock,
    begun: Duration,
    journal: &'a Journal,
    status: Option<u16>,
    fault: Option<Class>,
    reported: Option<Usage>,
    charged: Option<Usd>,
}

impl<'a> Forwarded<'a> {
    fn new(deployment: &'a Deployment, tokens: u64, clock: &'a dyn Clock, journal: &'a Journal) -> Self {
        let begun = clock.monotonic();
        Self { deployment, tokens, clock, begun, journal, status: None, fault: None, reported: None, charged: None }
    }

    /// What a whole answer says of its tokens. One that cannot be read is the client's to judge.
    fn said(&mut self, bytes: &[u8]) {
        let mut said = Assembly::default();
        if said.read(None, bytes).is_ok() {
            self.reported = said.answer().usage.filter(|usage| usage.prompt_tokens.is_some());
            self.charged = said.answer().reported_cost_usd.map(Usd);
        }
    }
}

impl Drop for Forwarded<'_> {
    fn drop(&mut self) {
        // A provider does not charge for what it refused or never got; for what it got it does, whoever hangs up.
        let refused =
            self.fault == Some(Class::Unreachable) || self.status.is_some_and(|status| !(200..300).contains(&status));
        let usage = self.reported.unwrap_or(Usage { prompt_tokens: Some(self.tokens), ..Usage::default() });
        // A vector has no tokens of its own.
        let usage = Usage { completion_tokens: usage.completion_tokens.or(Some(0)), ..usage };
        let by_price = || self.deployment.price.as_ref()?.cost(&usage);
        self.journal.push(Attempt {
            deployment: self.deployment.id.clone(),
            error: self.fault.map(Class::kind),
            status: self.status,
            first_token_ms: None,
            total_ms: self.clock.monotonic().saturating_sub(self.begun).as_secs_f64() * 1e3,
            usage: (!refused).then_some(usage),
            usage_estimated: !refused && self.reported.is_none(),
            cost_usd: if refused { Some(Usd::ZERO) } else { self.charged.or_else(by_price) },
        });
    }
}
