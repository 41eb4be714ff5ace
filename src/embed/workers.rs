//! The encoder behind a queue: one thread a core, each with one forward pass at a time.
//!
//! A text that comes while other workers have nothing to do is computed by several of them together: whoever takes it
//! leaves an invitation on the desk. Texts that wait come before invitations, so under load every worker is at a text
//! of its own, which is the way that gets most done.
//!
//! Nothing ever waits for company: a free worker takes what is there. When several short texts wait already, it takes
//! them together, for one pass over the weights costs little more than for one of them; long texts gain nothing from
//! that and go alone. A text that is asked for while it is being computed is not computed again, and one that was
//! seen lately comes from memory. A caller that gave up while its text was still waiting costs no work.
//!
//! The weights are found and read in the background. Until then, and when the queue is full, the answer is `None` at
//! once, and the request goes on with a lexical context.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use super::kernels::Pass;
use super::text::cut;
use super::{Config, Embedder, Embedding, Encoder, LoadError, Origin, Pending, Progress, Status};
use crate::base::Digest;

/// A text of at most so many bytes is short: about 32 tokens.
const SHORT: usize = 120;
/// At most so many short texts go through the network together.
const TOGETHER: usize = 8;
/// Tokens of a text for every worker at it: below that the passes over the weights are what costs, not the tokens.
const ROWS_EACH: usize = 8;

/// The encoder with its threads. Dropping it lets the threads end after what they are at.
pub struct Workers {
    shared: Arc<Shared>,
    id: String,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("id", &self.id).field("status", &self.status()).finish_non_exhaustive()
    }
}

/// What callers and workers share.
struct Shared {
    desk: Mutex<Desk>,
    /// Rung when something is put on the desk, and when the house closes.
    bell: Condvar,
    remembered: Cache<Digest, Arc<[f32]>>,
    status: watch::Sender<Status>,
    queue: usize,
    workers: usize,
}

/// What is to be done, and who waits for it.
#[derive(Default)]
struct Desk {
    waiting: VecDeque<Job>,
    /// Everyone who waits for a text's vector, from when it is queued until it is made.
    flights: HashMap<Digest, Vec<oneshot::Sender<Arc<[f32]>>>>,
    /// Texts that are being computed, once for each worker who may help.
    invitations: Vec<Arc<Pass>>,
    /// Workers who wait for the bell.
    idle: usize,
    closed: bool,
}

/// What a worker finds on the desk.
enum Work {
    Texts(Vec<Job>),
    Help(Arc<Pass>),
}

struct Job {
    key: Digest,
    text: String,
}

impl Workers {
    /// Starts finding and reading the weights on a thread of its own, and comes back at once.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(config: Config, progress: Progress) -> Result<Self, LoadError> {
        let (workers, shared) = Self::open(&config);
        spawn("embed-load", move || {
            if let Err(error) = Encoder::load(&config, &progress).and_then(|encoder| staff(&shared, encoder)) {
                tracing::warn!(%error, "no encoder; contexts are lexical");
                shared.status.send_replace(Status::Failed(error.to_string()));
            }
        })?;
        Ok(workers)
    }

    /// Starts with an encoder that is loaded already.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn with(encoder: Encoder, config: &Config) -> Result<Self, LoadError> {
        let (workers, shared) = Self::open(config);
        staff(&shared, encoder)?;
        Ok(workers)
    }

    fn open(config: &Config) -> (Self, Arc<Shared>) {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            desk: Mutex::default(),
            bell: Condvar::new(),
            remembered: Cache::new(config.remembered),
            status: watch::Sender::new(Status::Loading),
            queue: config.queue,
            workers: config.workers.unwrap_or_else(cores),
        });
        (Self { shared: Arc::clone(&shared), id: config.id() }, shared)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.desk.lock().closed = true;
        self.shared.bell.notify_all();
    }
}

impl Embedder for Workers {
    fn embed<'a>(&'a self, text: &'a str, wait: Duration) -> Pending<'a, Option<Embedding>> {
        Box::pin(async move {
            let text = cut(text);
            let key = Digest::of(text.as_bytes());
            let made = match self.shared.ask(key, &text) {
                Answer::Known(vector) => vector,
                Answer::Coming(vector) => tokio::time::timeout(wait, vector).await.ok()?.ok()?,
                Answer::Refused => return None,
            };
            Some(Embedding { vector: made, origin: Origin::Encoder })
        })
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    fn settled(&self) -> Pending<'_, Status> {
        let mut status = self.shared.status.subscribe();
        Box::pin(async move {
            match status.wait_for(|status| *status != Status::Loading).await {
                Ok(status) => status.clone(),
                Err(_) => Status::Failed("the encoder was dropped".to_owned()),
            }
        })
    }
}

/// What a caller is told at once.
enum Answer {
    Known(Arc<[f32]>),
    Coming(oneshot::Receiver<Arc<[f32]>>),
    Refused,
}

impl Shared {
    fn ask(&self, key: Digest, text: &str) -> Answer {
        if let Some(vector) = self.remembered.get(&key) {
            return Answer::Known(vector);
        }
        if *self.status.borrow() != Status::Ready {
            return Answer::Refused;
        }
        let (sender, receiver) = oneshot::channel();
        let mut desk = self.desk.lock();
        let full = desk.waiting.len() >= self.queue;
        if let Some(others) = desk.flights.get_mut(&key) {
            others.push(sender);
            return Answer::Coming(receiver);
        }
        // It may have landed between the look into memory and the lock.
        if let Some(vector) = self.remembered.get(&key) {
            return Answer::Known(vector);
        }
        if full {
            return Answer::Refused;
        }
        desk.flights.insert(key, vec![sender]);
        desk.waiting.push_back(Job { key, text: text.to_owned() });
        drop(desk);
        self.bell.notify_one();
        Answer::Coming(receiver)
    }

    /// Waits for work: one text, or several short ones if they are here already, or else a text that another worker
    /// is at. `None` when the house is closed.
    fn take(&self) -> Option<Work> {
        let mut desk = self.desk.lock();
        loop {
            if desk.closed {
                return None;
            }
            // A fair share, so that the other workers have something too.
            let share = desk.waiting.len().div_ceil(self.workers).min(TOGETHER);
            let mut taken: Vec<Job> = Vec::new();
            while taken.is_empty() || taken.len() < share {
                let fits = |job: &mut Job| {
                    taken.first().is_none_or(|first| first.text.len() <= SHORT && job.text.len() <= SHORT)
                };
                let Some(next) = desk.waiting.pop_front_if(fits) else { break };
                if desk.anyone_waits_for(next.key) {
                    taken.push(next);
                }
            }
            if !taken.is_empty() {
                return Some(Work::Texts(taken));
            }
            if let Some(pass) = desk.invitations.pop() {
                return Some(Work::Help(pass));
            }
            desk.idle += 1;
            self.bell.wait(&mut desk);
            desk.idle -= 1;
        }
    }

    /// Invites idle workers to a pass, as many as are of use.
    fn invite(&self, pass: &Arc<Pass>) {
        let of_use = (pass.rows() / ROWS_EACH).saturating_sub(1);
        if of_use == 0 {
            return;
        }
        let mut desk = self.desk.lock();
        let invited = desk.idle.min(of_use);
        desk.invitations.extend(iter::repeat_n(pass, invited).cloned());
        drop(desk);
        for _ in 0..invited {
            self.bell.notify_one();
        }
    }

    /// Takes back the invitations nobody followed.
    fn disinvite(&self) {
        self.desk.lock().invitations.retain(|pass| !pass.is_over());
    }

    /// Remembers the vector and hands it to everyone who waits. The order matters: who finds no flight looks into
    /// memory again.
    fn land(&self, key: Digest, vector: Option<Arc<[f32]>>) {
        if let Some(vector) = &vector {
            self.remembered.insert(key, Arc::clone(vector));
        }
        let waiting = self.desk.lock().flights.remove(&key);
        if let Some(vector) = vector {
            for one in waiting.into_iter().flatten() {
                // A caller that has gone is no fault.
                let _ = one.send(Arc::clone(&vector));
            }
        }
    }
}

impl Desk {
    /// Whether someone still waits for this text; if not, its flight is struck.
    fn anyone_waits_for(&mut self, key: Digest) -> bool {
        let wanted = self.flights.get(&key).is_some_and(|waiting| waiting.iter().any(|one| !one.is_closed()));
        if !wanted {
            self.flights.remove(&key);
        }
        wanted
    }
}

/// Starts the worker threads and opens the queue.
fn staff(shared: &Arc<Shared>, encoder: Encoder) -> Result<(), LoadError> {
    let encoder = Arc::new(encoder);
    for i in 0..shared.workers {
        let (shared, encoder) = (Arc::clone(shared), Arc::clone(&encoder));
        spawn(&format!("embed-{i}"), move || {
            // candle and gemm split their work over the current pool; here that is this thread alone.
            let _pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
            while let Some(work) = shared.take() {
                match work {
                    Work::Texts(jobs) => encode(&shared, &encoder, &jobs),
                    // Should it panic, who began the pass says so.
                    Work::Help(pass) => drop(catch_unwind(AssertUnwindSafe(|| encoder.help(&pass)))),
                }
            }
        })?;
    }
    shared.status.send_replace(Status::Ready);
    Ok(())
}

/// Makes the vectors of these texts and lands every one of them, come what may: a text left in the air would be
/// waited for by everyone who asks for it later.
fn encode(shared: &Shared, encoder: &Encoder, jobs: &[Job]) {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let tokens = jobs.iter().map(|job| encoder.tokens(&job.text)).collect::<Result<Vec<_>, _>>()?;
        encoder.forward_with(&tokens, &|pass| shared.invite(pass))
    }));
    shared.disinvite();
    let vectors = match made {
        Ok(Ok(vectors)) => vectors.into_iter().map(|vector| Some(vector.into())).collect(),
        Ok(Err(error)) => {
            tracing::warn!(%error, texts = jobs.len(), "texts got no vector");
            vec![None; jobs.len()]
        }
        Err(_) => {
            tracing::error!(texts = jobs.len(), "the encoder panicked; texts got no vector");
            vec![None; jobs.len()]
        }
    };
    jobs.iter().zip(vectors).for_each(|(job, vector)| shared.land(job.key, vector));
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), LoadError> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop).map_err(LoadError::Thread)
}
