//! [`Gateway::handle`]: one request, from the door to the reply. The order of its lines is the order of the stages.

use std::sync::Arc;
use std::time::Duration;

use super::asked;
use super::choice::choose;
use super::memory::Hit;
use super::record::Record;
use super::reply::{Refused, Served};
use super::timed::Timed;
use super::wishes::Wishes;
use super::{Gateway, count};
use crate::admission::Caller;
use crate::base::{DecisionId, Digest, Error, Seed};
use crate::cache::Control;
use crate::chat::ChatRequest;
use crate::dispatch::Reply;
use crate::embed::Embedding;

/// A request at the door.
#[derive(Debug)]
pub struct Incoming {
    /// Who is calling.
    pub caller: Caller,
    /// What for.
    pub request: ChatRequest,
    /// What is wished beside it.
    pub wishes: Wishes,
    /// What is said about answers from memory.
    pub control: Control,
    /// When the request was there whole, on the monotonic clock.
    pub arrived: Duration,
}

/// Where the answer comes from.
#[expect(clippy::large_enum_variant, reason = "one for a moment, on the stack of its request")]
enum Source {
    Memory(Hit),
    Upstream(Reply),
}

impl Gateway {
    /// Serves one request.
    ///
    /// From admission on, exactly one `Completed` event follows, also when the future or the reply's body is dropped.
    ///
    /// # Errors
    /// [`Refused`], with the facts of the request if it was admitted.
    pub async fn handle(&self, incoming: Incoming) -> Result<Served, Refused> {
        let Incoming { caller, request, wishes, control, arrived } = incoming;
        let live = self.live.load_full();
        let ticket = self.admission.admit(caller).map_err(Refused::at_the_door)?;
        let mut record = self.recorder.open(self.new_id(), ticket, Arc::new(request), live, arrived);
        match self.answer(&mut record, &wishes, &control).await {
            Ok(Source::Memory(hit)) => Ok(self.replay(record, hit)),
            Ok(Source::Upstream(reply)) => Ok(self.pass_on(record, reply)),
            Err(error) => Err(Refused::of(record, error)),
        }
    }

    async fn answer(&self, record: &mut Record, wishes: &Wishes, control: &Control) -> Result<Source, Error> {
        let (request, live) = (Arc::clone(&record.request), Arc::clone(&record.live));
        let wanted = asked::understand(&request.view.model, wishes, record.caller(), &live)?;
        if let Some(hit) = self.remembered(record, &wanted, wishes, control)? {
            return Ok(Source::Memory(hit));
        }
        let embedding = self.embed(request.prompt()).await;
        let features = live.features.extract(&request, embedding.as_ref());
        let seed = self.seed_of(record.id, wishes, record.caller());
        let choice = choose(&wanted, &features, &live.deciding(seed), &self.dispatcher.availability(), seed)?;
        let plan = choice.plan.clone();
        record.decided(choice, features, wanted.preferences, seed);
        let journal = record.journal.clone();
        record.waits_since(self.clock.monotonic());
        let run = self.dispatcher.run(&plan, &request, &wanted.catalog, seed, &journal);
        let (outcome, worked) = Timed::new(run, Arc::clone(&self.clock)).await;
        record.resumes(self.clock.monotonic(), worked);
        outcome.map(Source::Upstream).map_err(|failure| failure.error)
    }

    /// The seed of a request's draws. The turns of one conversation share it, so that they tend to be answered by the
    /// same model: as long as the probabilities stay, so does the draw.
    fn seed_of(&self, id: DecisionId, wishes: &Wishes, caller: &Caller) -> Seed {
        let Some(conversation) = &wishes.conversation else { return Seed::of_decision(self.seed, id) };
        let name = Digest::of_json(&(&caller.tenant, conversation));
        Seed::of_decision(self.seed, DecisionId(uuid::Uuid::from_bytes(*name.as_bytes())))
    }

    /// The vector of the prompt, or the lexical one when the encoder is late or has none to give.
    pub(super) async fn embed(&self, prompt: &str) -> Option<Embedding> {
        let vector = self.embedder.embed(prompt, self.config.embedding_wait).await;
        vector.or_else(|| {
            count::embedding_late();
            Some(crate::embed::hashing::embed(prompt))
        })
    }
}
