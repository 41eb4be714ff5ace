//! The plan, carried out: who is called next, how long to pause, when to give up.
//!
//! There is one rule of order: of the deployments that may still be tried, the first one of the plan that may be
//! called *now* is called. So a failure is answered by the next deployment at once, and the same one is tried
//! again only when no other is ready; then the pause is what it asked for, or a backoff with jitter.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::attempt::Running;
use super::budget::Budget;
use super::call::{self, Line};
use super::health::{Doors, Permit};
use super::stream::{Flow, Limits};
use super::{Config, Failure, Journal, Plan, Reply, ReplyBody};
use crate::base::{Clock, Error, Kind, Retry, Seed};
use crate::catalog::{Availability, Catalog, Deployment};
use crate::chat::ChatRequest;
use crate::dialect::{Class, Fault, openai};

/// Carries out plans. One for the whole process: it holds the connections, the breakers and the retry budget.
pub struct Dispatcher {
    pub(super) config: Arc<Config>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) line: Line,
    pub(super) doors: Doors,
    budget: Budget,
}

/// One deployment of the plan, for one request.
struct Step<'a> {
    deployment: &'a Deployment,
    tries: u32,
    /// Not before this.
    ready: Duration,
    /// Not for this request any more.
    barred: bool,
}

impl Dispatcher {
    /// A dispatcher with its own connections.
    ///
    /// # Errors
    /// [`Kind::Internal`] when TLS cannot be set up on this machine.
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let line = Line::new(&config).map_err(|error| Error::internal("the HTTP client cannot be set up", error))?;
        let (budget, config) = (Budget::new(config.retry_share), Arc::new(config));
        Ok(Self { doors: Doors::new(config.clone(), clock.clone()), config, clock, line, budget })
    }

    /// How every deployment is doing.
    #[must_use]
    pub fn availability(&self) -> Availability {
        self.doors.availability()
    }

    /// Carries out the plan: comes back when an answer is whole or a stream has its first content. `seed` makes
    /// the jitter; every attempt is written into `journal` the moment it ends.
    ///
    /// Dropping the future, or the stream in the reply, cancels the upstream call at once.
    ///
    /// # Errors
    /// [`Failure`] when no deployment of the plan served.
    pub async fn run(
        &self,
        plan: &Plan,
        request: &ChatRequest,
        catalog: &Catalog,
        seed: Seed,
        journal: &Journal,
    ) -> Result<Reply, Failure> {
        let give_up = Instant::now() + self.config.total_timeout;
        let mut steps: Vec<Step<'_>> = plan
            .steps
            .iter()
            .filter_map(|id| catalog.deployment(id.as_str()))
            .map(|deployment| Step { deployment, tries: 0, ready: Duration::ZERO, barred: false })
            .collect();
        let mut last: Option<Fault> = None;
        let mut paused = Duration::ZERO;
        self.budget.pay_in();
        loop {
            let now = self.clock.monotonic();
            let (index, permit) = match self.next(&mut steps, now) {
                Ok(found) => found,
                Err(Some(wait)) if paused + wait <= self.config.longest_pause && Instant::now() + wait < give_up => {
                    paused += wait;
                    tokio::time::sleep(wait).await;
                    continue;
                }
                Err(_) => break,
            };
            let step = &mut steps[index];
            let failed = journal.attempts();
            let running = Running::new(step.deployment, request, permit, self.clock.clone(), journal);
            match self.attempt(running, step.deployment, request, give_up).await {
                Ok((body, upstream_request_id)) => {
                    return Ok(Reply { served: step.deployment.id.clone(), upstream_request_id, failed, body });
                }
                Err(fault) => {
                    step.tries += 1;
                    let backoff = self.backoff(seed, index, step.tries);
                    step.ready = self.clock.monotonic() + backoff.max(fault.retry_after.unwrap_or_default());
                    step.barred = fault.class.retry() == Retry::Elsewhere;
                    let never = fault.class.retry() == Retry::Never;
                    last = Some(fault);
                    if never || Instant::now() >= give_up {
                        break;
                    }
                }
            }
        }
        Err(self.failure(&steps, last, journal))
    }

    /// The first step that may be taken now, or how long until one may be.
    fn next(&self, steps: &mut [Step<'_>], now: Duration) -> Result<(usize, Permit), Option<Duration>> {
        let mut soonest: Option<Duration> = None;
        for (index, step) in steps.iter_mut().enumerate() {
            if step.barred || step.tries > self.config.retries {
                continue;
            }
            let wait = match step.ready.checked_sub(now) {
                Some(wait) if !wait.is_zero() => {
                    let closed = self.doors.closed_for(&step.deployment.id).map_or(Duration::ZERO, |(wait, _)| wait);
                    wait.max(closed)
                }
                _ => match self.doors.enter(step.deployment) {
                    Ok(permit) if step.tries == 0 || self.budget.take() => return Ok((index, permit)),
                    Ok(_) => {
                        step.barred = true;
                        continue;
                    }
                    Err(wait) => wait,
                },
            };
            soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
        }
        Err(soonest)
    }

    /// `backoff * 2^(tries - 1)`, of which the jitter takes off up to half.
    fn backoff(&self, seed: Seed, step: usize, tries: u32) -> Duration {
        let whole = self.config.backoff.saturating_mul(1 << tries.saturating_sub(1).min(16));
        whole.mul_f64(1.0 - seed.uniform(&format!("backoff/{step}/{tries}")) / 2.0)
    }

    async fn attempt(
        &self,
        mut running: Running,
        deployment: &Deployment,
        request: &ChatRequest,
        give_up: Instant,
    ) -> Result<(ReplyBody, Option<String>), Fault> {
        let stream = request.view.stream;
        let patience = if stream { self.config.first_token_timeout } else { self.config.whole_timeout };
        let late = (Instant::now() + patience).min(give_up);
        let response = match self.head(&mut running, deployment, request, late).await {
            Ok(response) => response,
            Err(fault) => {
                running.failed(&fault);
                return Err(fault);
            }
        };
        let request_id = call::request_id(&response);
        if stream && !call::is_json(&response) {
            let limits = Limits { first: late, idle: self.config.idle_timeout, total: give_up };
            let flow = Flow::new(Box::pin(call::bytes(response)), running, limits, request.usage_was_added());
            return Ok((ReplyBody::Stream(Box::pin(flow.commit().await?)), request_id));
        }
        let whole = async {
            let body = call::whole(response, self.config.max_answer_bytes);
            let bytes = timeout_at(late, body).await.map_err(|_| too_late("did not finish its answer"))??;
            let said = openai::whole(&bytes)?;
            if stream {
                return Err(Fault::new(Class::Protocol, "the provider answered a stream request without a stream"));
            }
            Ok((bytes, said))
        };
        match whole.await {
            Ok((bytes, said)) => {
                running.said = said;
                let attempt = running.served();
                let answer = Box::new(std::mem::take(&mut running.said).into_answer());
                Ok((ReplyBody::Whole { bytes, answer, attempt }, request_id))
            }
            Err(fault) => {
                running.failed(&fault);
                Err(fault)
            }
        }
    }

    /// The head of a good answer. A provider that refuses `stream_options` is asked again without them: they are
    /// our addition, and the client's request is none the worse.
    async fn head(
        &self,
        running: &mut Running,
        deployment: &Deployment,
        request: &ChatRequest,
        late: Instant,
    ) -> Result<Response, Fault> {
        loop {
            let asks = request.usage_was_added() && running.permit.may_ask_usage();
            let sending = self.line.send(deployment, request, asks, running.permit.ahead);
            let response = timeout_at(late, sending).await.map_err(|_| too_late("did not answer"))??;
            running.status = Some(response.status().as_u16());
            if response.status().is_success() {
                return Ok(response);
            }
            let fault = call::refusal(response, self.clock.now()).await;
            let ours = fault.message.contains("stream_options") || fault.param.as_deref() == Some("stream_options");
            if !(asks && ours && fault.class == Class::Invalid) {
                return Err(fault);
            }
            running.permit.refuses_usage();
        }
    }

    /// What to tell the client when nobody served.
    fn failure(&self, steps: &[Step<'_>], last: Option<Fault>, journal: &Journal) -> Failure {
        let doors: Vec<_> = steps.iter().map(|step| self.doors.closed_for(&step.deployment.id)).collect();
        // If one of them may be called, there is no time to wait for.
        let soonest = doors
            .iter()
            .copied()
            .collect::<Option<Vec<_>>>()
            .and_then(|closed| closed.into_iter().min_by_key(|(wait, _)| *wait));
        let error = match last {
            Some(fault) => Error::from(fault),
            None if steps.is_empty() => Error::new(Kind::Internal, "the plan names no deployment of the catalogue"),
            None => {
                let class = soonest.and_then(|(_, cause)| cause).unwrap_or(Class::Broken);
                let message = "every deployment that could serve this is resting after failures; try again later";
                Error::from(Fault::new(class, message))
            }
        };
        let waits = !matches!(error.retry, Retry::Never) && error.blame() == crate::base::Blame::Upstream;
        let soonest = soonest.map(|(wait, _)| wait).filter(|_| waits);
        Failure { error: error.with_retry_after(soonest), attempts: journal.attempts() }
    }
}

fn too_late(what: &str) -> Fault {
    Fault::new(Class::Timeout, format!("the provider {what} in time"))
}
