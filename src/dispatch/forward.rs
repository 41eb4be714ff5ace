//! Calls that are passed on without a plan: embeddings.

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::Dispatcher;
use super::call;
use crate::base::{Error, Kind};
use crate::catalog::Deployment;
use crate::dialect::{Class, Fault};

impl Dispatcher {
    /// The deployment's answer to this embeddings body. One attempt: clients of embeddings retry by themselves, and
    /// another deployment's vectors would not mix with this one's.
    ///
    /// # Errors
    /// What the deployment answered, or why it did not.
    pub async fn embeddings(&self, deployment: &Deployment, body: Bytes) -> Result<Bytes, Error> {
        let mut permit = self.doors.enter(deployment).map_err(|wait| {
            let message = "the deployment is resting after failures; try again later";
            Error::new(Kind::UpstreamUnavailable, message).with_retry_after(Some(wait))
        })?;
        let late = Instant::now() + self.config.whole_timeout;
        let answer = async {
            let response = self.line.post(deployment, "embeddings", body, false, permit.ahead).await?;
            if !response.status().is_success() {
                return Err(call::refusal(response, self.clock.now()).await);
            }
            call::whole(response, self.config.max_answer_bytes).await
        };
        let too_late = || Fault::new(Class::Timeout, "the provider did not answer in time");
        match timeout_at(late, answer).await.unwrap_or_else(|_| Err(too_late())) {
            Ok(bytes) => {
                permit.ended_well();
                Ok(bytes)
            }
            Err(fault) => {
                permit.failed(&fault);
                Err(Error::from(fault))
            }
        }
    }
}
