//! What somebody says of an answer, later: checked, and appended to the ledger. The learner joins it from there.

use std::time::Duration;

use super::{Gateway, count};
use crate::admission::Caller;
use crate::base::{DecisionId, Error, Kind, Score, TenantId};
use crate::ledger::{Entry, Event, Feedback, Ledger, LedgerError, Offset};

/// How long feedback waits for the event of an answer whose last bytes are just leaving.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the feedback is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The decision of this name (`x-pointsman-decision`).
    Decision(DecisionId),
    /// The answer with this id (`id` in the response's body).
    Response(String),
}

/// What is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// About what.
    pub subject: Subject,
    /// In which channel.
    pub channel: String,
    /// How good; `None` for a comment alone.
    pub score: Option<Score>,
    /// Words.
    pub comment: Option<String>,
    /// The caller's own key; the same key again changes nothing.
    pub key: Option<String>,
}

/// That it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// About which decision.
    pub decision: DecisionId,
    /// Where it stands in the ledger.
    pub offset: Offset,
    /// Whether it had been written down before, under the same key.
    pub repeated: bool,
}

impl Gateway {
    /// Writes feedback down; when this returns, it is on disk.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if the caller's tenant has no such decision, [`Kind::Overloaded`] if the ledger takes
    /// nothing at the moment.
    pub async fn feedback(&self, caller: &Caller, said: Said) -> Result<Receipt, Error> {
        let (decision, entries) = self.find(caller, &said.subject).await?;
        // One at a time for each decision, so that two copies sent at once are still one.
        let turn = &self.turns[decision.0.as_u128() as usize % self.turns.len()];
        let _turn = turn.lock().await;
        if let Some(key) = &said.key {
            let entries = if entries.iter().any(is_feedback) { entries } else { self.events_of(decision).await? };
            let before = entries.iter().find_map(|entry| match &entry.event {
                Event::Feedback(feedback) if feedback.key.as_ref() == Some(key) => Some(entry.offset),
                _ => None,
            });
            if let Some(offset) = before {
                return Ok(Receipt { decision, offset, repeated: true });
            }
        }
        let at = self.clock.now();
        count::feedback(&said.channel, said.score);
        let Said { channel, score, comment, key, .. } = said;
        let tenant = caller.tenant.clone();
        let event = Event::Feedback(Box::new(Feedback { decision, at, tenant, channel, score, comment, key }));
        let offset = self.ledger.append_durable(at, event).await.map_err(from_ledger)?;
        Ok(Receipt { decision, offset, repeated: false })
    }

    /// The decision and its events, if it is the caller's. Another tenant's is as unknown as one that never was.
    pub(super) async fn find(&self, caller: &Caller, subject: &Subject) -> Result<(DecisionId, Vec<Entry>), Error> {
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            let appended = self.recorder.appended.notified();
            let waiting = self.recorder.open.load(std::sync::atomic::Ordering::Acquire) > 0;
            if let Some((decision, entries)) = self.look_up(subject).await? {
                if owner(&entries) == Some(&caller.tenant) {
                    return Ok((decision, entries));
                }
                return Err(unknown(subject));
            }
            // The last byte reaches a client a little before its event reaches the ledger.
            if !waiting {
                return Err(unknown(subject));
            }
            tokio::select! {
                () = appended => {}
                () = &mut deadline => return Err(unknown(subject)),
            }
        }
    }

    async fn look_up(&self, subject: &Subject) -> Result<Option<(DecisionId, Vec<Entry>)>, Error> {
        self.ledger.flush().await.map_err(from_ledger)?;
        let decision = match subject {
            Subject::Decision(id) => Some(*id),
            Subject::Response(response) => {
                let response = response.clone();
                self.blocking(move |ledger| ledger.decision_of_response(&response)).await?
            }
        };
        let Some(decision) = decision else { return Ok(None) };
        let entries = self.events_of(decision).await?;
        Ok((!entries.is_empty()).then_some((decision, entries)))
    }

    async fn events_of(&self, decision: DecisionId) -> Result<Vec<Entry>, Error> {
        self.blocking(move |ledger| ledger.of_decision(decision)).await
    }

    /// Reads the ledger on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Error> {
        let ledger = std::sync::Arc::clone(&self.ledger);
        tokio::task::spawn_blocking(move || read(ledger.as_ref()))
            .await
            .map_err(|error| Error::internal("reading the ledger failed", error))?
            .map_err(from_ledger)
    }
}

fn is_feedback(entry: &Entry) -> bool {
    matches!(entry.event, Event::Feedback(_))
}

fn owner(entries: &[Entry]) -> Option<&TenantId> {
    entries.iter().find_map(|entry| match &entry.event {
        Event::Decided(event) => Some(&event.tenant),
        Event::Completed(event) => Some(&event.tenant),
        Event::Feedback(_) => None,
    })
}

fn unknown(subject: &Subject) -> Error {
    let (param, message) = match subject {
        Subject::Decision(id) => ("decision_id", format!("there is no decision `{id}`")),
        Subject::Response(id) => ("response_id", format!("there is no answer with the id `{}`", super::shorten(id))),
    };
    Error { param: Some(param.to_owned()), ..Error::new(Kind::NotFound, message) }
}

fn from_ledger(error: LedgerError) -> Error {
    match error {
        LedgerError::Busy => {
            Error::new(Kind::Overloaded, "the ledger has more to write than it takes on; send it again")
                .with_retry_after(Some(Duration::from_secs(1)))
        }
        error => Error::internal("the ledger failed; its log says more", error),
    }
}
