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
                let asked = fault.retry_after.unwrap_or_default();
                // Failures of requests that were under way when it opened are the same incident.
                let opens = now >= self.until && (trial || self.run >= config.breaker_failures);
                if opens {
                    self.open = true;
                    let wait = doubled(config.breaker_open, self.opened).min(config.breaker_longest);
                    self.opened = self.opened.saturating_add(1);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fault(class: Class) -> Fault {
        Fault::new(class, "x")
    }

    fn limited(seconds: u64) -> Fault {
        Fault { retry_after: Some(SECOND * u32::try_from(seconds).expect("small")), ..fault(Class::RateLimited) }
    }

    #[test]
    fn a_second_shorter_wait_does_not_shrink_the_first() {
        let (config, mut breaker) = (Config::default(), Breaker::default());
        breaker.failed(false, &limited(30), Duration::ZERO, &config);
        breaker.failed(false, &limited(2), SECOND, &config);
        assert_eq!(breaker.closed_for(SECOND), Some(29 * SECOND));
        // Nor does the success of a request that began before.
        breaker.ended_well(false, 2 * SECOND);
        assert_eq!(breaker.closed_for(2 * SECOND), Some(28 * SECOND));
        assert_eq!(breaker.admit(30 * SECOND), Ok(false), "a limit that has passed needs no trial");
    }

    #[test]
    fn a_run_of_failures_opens_it_and_one_trial_closes_it() {
        let (config, mut breaker) = (Config::default(), Breaker::default());
        for _ in 1..config.breaker_failures {
            breaker.failed(false, &fault(Class::Broken), Duration::ZERO, &config);
            assert_eq!(breaker.admit(Duration::ZERO), Ok(false));
        }
        breaker.failed(false, &fault(Class::Timeout), Duration::ZERO, &config);
        assert_eq!(breaker.admit(Duration::ZERO), Err(config.breaker_open));
        let later = config.breaker_open;
        assert_eq!(breaker.admit(later), Ok(true));
        assert_eq!(breaker.admit(later), Err(TRIAL_WAIT), "one trial at a time");
        breaker.started(true, &config);
        assert_eq!(breaker.admit(later), Ok(false), "it started, so the others may come");
        breaker.ended_well(false, later);
        for _ in 1..config.breaker_failures {
            breaker.failed(false, &fault(Class::Broken), later, &config);
        }
        assert_eq!(breaker.admit(later), Ok(false), "it counts anew");
    }

    #[test]
    fn a_trial_that_fails_late_opens_it_for_longer() {
        let (config, mut breaker) = (Config::default(), Breaker::default());
        for _ in 0..config.breaker_failures {
            breaker.failed(false, &fault(Class::Broken), Duration::ZERO, &config);
        }
        let later = config.breaker_open;
        assert_eq!(breaker.admit(later), Ok(true));
        breaker.started(true, &config);
        breaker.failed(false, &fault(Class::Protocol), later, &config);
        assert_eq!(breaker.admit(later), Err(2 * config.breaker_open));
    }

    #[test]
    fn a_trial_that_tells_nothing_leaves_room_for_the_next() {
        let (config, mut breaker) = (Config::default(), Breaker::default());
        breaker.failed(false, &fault(Class::KeyDead), Duration::ZERO, &config);
        let later = config.breaker_longest;
        assert_eq!(breaker.admit(later), Ok(true));
        breaker.abandoned(true);
        assert_eq!(breaker.admit(later), Ok(true));
    }

    #[test]
    fn what_is_wrong_with_a_request_is_not_held_against_the_deployment() {
        let (config, mut breaker) = (Config::default(), Breaker::default());
        for class in [Class::Invalid, Class::ContextLength, Class::ContentPolicy].repeat(5) {
            breaker.failed(false, &fault(class), Duration::ZERO, &config);
        }
        assert_eq!(breaker.closed_for(Duration::ZERO), None);
    }

    #[test]
    fn failures_at_once_are_one_incident() {
        let (config, mut breaker) = (Config::default(), Breaker::default());
        for _ in 0..50 {
            breaker.failed(false, &fault(Class::Broken), Duration::ZERO, &config);
        }
        assert_eq!(breaker.closed_for(Duration::ZERO), Some(config.breaker_open));
    }

    proptest! {
        #[test]
        fn the_deadline_never_moves_towards_now(steps in proptest::collection::vec((0_u8..6, 0_u64..40, 0_u64..10), 1..60)) {
            let (config, mut breaker) = (Config::default(), Breaker::default());
            let mut now = Duration::ZERO;
            let mut trial = false;
            for (what, wait, pass) in steps {
                let until = breaker.until;
                match what {
                    0 => trial = breaker.admit(now).unwrap_or(trial),
                    1 => breaker.started(std::mem::take(&mut trial), &config),
                    2 => breaker.ended_well(std::mem::take(&mut trial), now),
                    3 => breaker.failed(std::mem::take(&mut trial), &limited(wait), now, &config),
                    4 => breaker.failed(std::mem::take(&mut trial), &fault(Class::Broken), now, &config),
                    _ => breaker.failed(std::mem::take(&mut trial), &fault(Class::Quota), now, &config),
                }
                prop_assert!(breaker.until >= until);
                now += SECOND * u32::try_from(pass).expect("small");
            }
        }
    }
}
