//! The request's path. [`Gateway::handle`] is the one function that knows the order of its stages.
//!
//! Admission, then a record that makes exactly one `Completed` certain, then the cache, the encoder, the features,
//! the choice, the call. Everything a request is decided by comes from one [`Live`], loaded once, so that a swap in
//! the middle of a request changes nothing for it.

mod alike;
mod asked;
mod body;
pub mod budgets;
mod choice;
mod count;
mod embed_upstream;
mod evaluators;
mod feedback;
mod flight;
mod guards;
mod handle;
mod inspect;
mod judge;
mod live;
mod memory;
mod record;
mod reply;
mod timed;
mod warmth;
mod wishes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub use asked::shorten;
pub use body::Body;
pub use budgets::Budgets;
pub use embed_upstream::Input as EmbeddingInput;
pub use evaluators::CHANNELS as EVALUATORS;
pub use feedback::{Receipt, Said, Subject};
pub use guards::{Guards, Rule, Standing};
pub use handle::Incoming;
pub use inspect::{DryRun, Explained};
pub use live::{DEFAULT_PRESET, Live, Trial};
pub use reply::{Facts, Refused, Served};
pub use wishes::{NAMES as WISHES, Wishes};

use crate::admission::Admission;
use crate::base::problem::Problem;
use crate::base::{Clock, DecisionId, Timestamp};
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::dispatch::Dispatcher;
use crate::embed::Embedder;
use crate::features::Extractor;
use crate::ledger::Ledger;
use crate::policy::Policy;
use record::Recorder;
use warmth::Warmth;

/// The path's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a request waits for its vector before it is decided on the lexical one.
    #[serde(with = "crate::base::duration")]
    pub embedding_wait: Duration,
    /// Whether the encoder's vector of each prompt goes into the ledger (some 520 bytes a decision), so that `train` can
    /// refit the feature map. A vector is no text, but what a short prompt was about, and some of its words, can be
    /// guessed from it: keep such a ledger as you would keep the prompts. Off unless said.
    pub log_vectors: bool,
    /// How long a provider is taken to keep a conversation in its prompt cache after its last use. 0 = prompt caches
    /// are not reckoned with.
    #[serde(with = "crate::base::duration")]
    pub prompt_cache_lifetime: Duration,
    /// Prompts of fewer tokens are not cached by providers.
    pub prompt_cache_least_tokens: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            embedding_wait: Duration::from_millis(50),
            log_vectors: false,
            prompt_cache_lifetime: Duration::from_mins(5),
            prompt_cache_least_tokens: 1_024,
        }
    }
}

impl Config {
    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.embedding_wait > Duration::from_secs(10) {
            let found = crate::base::duration::format(self.embedding_wait);
            problems.push(Problem::new("embedding_wait", found, "at most 10s: every request may wait that long"));
        }
        if self.prompt_cache_lifetime > Duration::from_hours(24) {
            let found = crate::base::duration::format(self.prompt_cache_lifetime);
            problems.push(Problem::new("prompt_cache_lifetime", found, "up to \"24h\"; \"0s\" = off"));
        }
        problems
    }
}

/// What a gateway is made of.
pub struct Parts {
    /// What is swapped while it serves.
    pub live: Live,
    /// Who may call.
    pub admission: Admission,
    /// Where answers are remembered.
    pub cache: Cache,
    /// What makes vectors.
    pub embedder: Arc<dyn Embedder>,
    /// What calls upstream.
    pub dispatcher: Arc<Dispatcher>,
    /// What happened.
    pub ledger: Arc<dyn Ledger>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The seed that every decision's seed is made from.
    pub seed: u64,
    /// The path's own settings.
    pub config: Config,
}

/// The request's path, with everything on it.
pub struct Gateway {
    live: ArcSwap<Live>,
    admission: Arc<Admission>,
    cache: Arc<Cache>,
    embedder: Arc<dyn Embedder>,
    dispatcher: Arc<Dispatcher>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    seed: u64,
    config: Config,
    recorder: Arc<Recorder>,
    flights: Arc<flight::Flights>,
    /// Requests of our own behind answers from memory; see `alike`.
    behind: alike::Behind,
    /// When the deciding policy was published, microseconds since the epoch.
    published: AtomicU64,
    /// Feedback takes turns by decision; one lock for many decisions is enough.
    turns: [tokio::sync::Mutex<()>; 32],
}

impl Gateway {
    /// A gateway of these parts, ready to serve.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { live, admission, cache, embedder, dispatcher, ledger, clock, seed, config } = parts;
        let (admission, cache) = (Arc::new(admission), Arc::new(cache));
        let recorder = Arc::new(Recorder {
            clock: Arc::clone(&clock),
            ledger: Arc::clone(&ledger),
            cache: Arc::clone(&cache),
            admission: Arc::clone(&admission),
            warmth: Warmth::new(&config),
            after: TaskTracker::new(),
            open: AtomicUsize::new(0),
            appended: Notify::new(),
            ended: AtomicUsize::new(0),
        });
        let published = AtomicU64::new(clock.now().0);
        let live = ArcSwap::from_pointee(live);
        let (turns, flights, behind) = (Default::default(), Arc::default(), alike::Behind::default());
        Self {
            live,
            admission,
            cache,
            embedder,
            dispatcher,
            ledger,
            clock,
            seed,
            config,
            recorder,
            flights,
            behind,
            published,
            turns,
        }
    }

    /// What is in force now.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Puts a new version in force: `change` makes it of the one in force. Requests on their way keep theirs.
    pub fn swap(&self, change: impl Fn(&Live) -> Live) {
        self.live.rcu(|live| change(live));
    }

    /// Puts a new policy in force; what the learner calls when it publishes.
    #[expect(clippy::needless_pass_by_value, reason = "the learner hands its policy over")]
    pub fn publish(&self, policy: Arc<dyn Policy>) {
        self.swap(|live| Live { policy: Arc::clone(&policy), ..live.clone() });
        self.published.store(self.clock.now().0, Ordering::Relaxed);
    }

    /// The same, with what reads requests for it: both are in force with the next request, or neither.
    #[expect(clippy::needless_pass_by_value, reason = "the learner hands its policy over")]
    pub fn publish_with(&self, policy: Arc<dyn Policy>, features: Arc<Extractor>) {
        self.swap(|live| Live { policy: Arc::clone(&policy), features: Arc::clone(&features), ..live.clone() });
        self.published.store(self.clock.now().0, Ordering::Relaxed);
    }

    /// Puts a policy version on trial beside the policy in force, or (`None`) ends the trial.
    #[expect(clippy::needless_pass_by_value, reason = "whoever follows the trials hands the version over")]
    pub fn try_out(&self, trial: Option<Trial>) {
        self.swap(|live| Live { trial: trial.clone(), ..live.clone() });
    }

    /// When the policy in force was published.
    #[must_use]
    pub fn published(&self) -> Timestamp {
        Timestamp(self.published.load(Ordering::Relaxed))
    }

    /// The door.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The memory of answers.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What makes vectors.
    #[must_use]
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// What calls upstream.
    #[must_use]
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// What happened.
    #[must_use]
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.live.load().catalog)
    }

    /// A new decision's name: unique, and later than those before it.
    #[must_use]
    pub fn new_id(&self) -> DecisionId {
        DecisionId(uuid::Uuid::now_v7())
    }

    /// Lets nobody in any more. Requests on their way go on; those dropped from now on count as dropped by us.
    pub fn close(&self) {
        self.admission.close();
        self.behind.stop();
    }

    /// Waits until every ended request is in the ledger and on disk. Call it after the last connection is closed.
    pub async fn drained(&self) {
        while self.recorder.open.load(Ordering::Acquire) > 0 {
            let appended = self.recorder.appended.notified();
            if self.recorder.open.load(Ordering::Acquire) == 0 {
                break;
            }
            appended.await;
        }
        self.recorder.after.close();
        self.recorder.after.wait().await;
        if let Err(error) = self.ledger.flush().await {
            tracing::error!(%error, "the ledger could not be flushed");
        }
        if !self.cache.written().await {
            tracing::error!("the last changes of the cache could not be written");
        }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("in_flight", &self.admission.in_flight()).finish_non_exhaustive()
    }
}
