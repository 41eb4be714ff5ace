//! One deployment's breaker: passive, pure, and it only ever extends.
//!
//! It learns from real requests alone. A 429 closes the door for as long as it asks. A run of failures closes it
//! for a while, then one request may try; if that fails, for twice as long. A dead key closes it for long at
//! once. Whatever is learned while the door is closed can move its opening later, never earlier: the success of a
//! request that began before says nothing about the time after.
//!
//! A stream that starts well and dies at its fortieth token is a failure, too: starting ends a trial, but only
//! ending well ends a run.

use std::time::Duration;

use super::Config;
use crate::dialect::{Class, Fault};

/// How long to look away while somebody else tries.
const TRIAL_WAIT: Duration = Duration::from_millis(100);

/// Pause after a 429 that does not say for how long; doubled by every further one in a row.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(1);

/// The state. All times are those of one monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures in a row.
    run: u32,
    /// 429s in a row.
    limited: u32,
    /// How often it opened without a success since.
    opened: u32,
    /// Nobody may call before this.
    until: Duration,
    /// Whether one trial must succeed before everybody may call.
    open: bool,
    /// Whether that trial is under way.
    trial: bool,
    /// What closed the door last.
    cause: Option<Class>,
}

impl Breaker {
    /// How long it is still to be left alone; `None` = it may be called.
    pub(super) fn closed_for(&self, now: Duration) -> Option<Duration> {
        match self.until.checked_sub(now) {
            Some(wait) if !wait.is_zero() => Some(wait),
            _ => (self.open && self.trial).then_some(TRIAL_WAIT),
        }
    }

    /// Why it is left alone.
    pub(super) const fn cause(&self) -> Option<Class> {
        self.cause
    }

    /// Lets a request in, or says how long to wait. `true`: it is the trial.
    pub(super) fn admit(&mut self, now: Duration) -> Result<bool, Duration> {
        if let Some(wait) = self.closed_for(now) {
            return Err(wait);
        }
        self.trial = self.open;
        Ok(self.open)
    }

    /// A request got its first content, or its whole answer.
    pub(super) fn started(&mut self, trial: bool, config: &Config) {
        if trial {
            (self.trial, self.open) = (false, false);
            // One failure more opens it again, for longer than before.
            self.run = config.breaker_failures.saturating_sub(1);
        }
    }

    /// A request ended well, or in a way that shows the deployment is.
    pub(super) fn ended_well(&mut self, trial: bool, now: Duration) {
        if trial {
            self.trial = false;
        }
        // Before the deadline this is the word of a request from before it.
        if now >= self.until {
            *self = Self { until: self.until, ..Self::default() };
        }
    }

    /// A request ended without telling anything: the client hung up.
    pub(super) const fn abandoned(&mut self, trial: bool) {
        if trial {
            self.trial = false;
        }
    }

    /// A request failed.
    pub(super) fn failed(&mut self, trial: bool, fault: &Fault, now: Duration, config: &Config) {
        if trial {
            self.trial = false;
        }
        let wait = match fault.class {
            Class::Invalid | Class::ContextLength | Class::ContentPolicy => return self.ended_well(trial, now),
            Class::RateLimited => {
                self.limited = self.limited.saturating_add(1);
                let guess = doubled(RATE_LIMIT_PAUSE, self.limited - 1).min(config.breaker_longest);
                fault.retry_after.unwrap_or(guess)
            }
            Class::Quota | Class::KeyDead | Class::Missing => {
                self.open = true;
                config.breaker_longest.max(fault.retry_after.unwrap_or_default())
            }
            Class::Broken | Class::Unreachable | Class::Timeout | Class::Protocol => {
                self.run = self.run.saturating_add(1);
                let opens = trial || self.run >= config.breaker_failures;
                let asked = fault.retry_after.unwrap_or_default();
                if opens {
                    self.open = true;
                    let wait = doubled(config.breaker_open, self.opened).min(config.breaker_longest);
                    // Failures of requests that were under way when it opened are the same incident.
                    if now >= self.until {
                        self.opened = self.opened.saturating_add(1);
                    }
                    wait.max(asked)
                } else {
                    asked
                }
            }
        };
        let until = now.saturating_add(wait);
        if until > self.until {
            self.until = until;
            self.cause = Some(fault.class);
        }
    }
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(1 << times.min(16))
}
