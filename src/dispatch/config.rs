//! How patient dispatch is, and how often it tries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Problem, duration};

/// No time that is waited for is longer.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// The settings of dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest time to connect, TLS included.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Longest time from sending a request to the first content of its stream. Pings, roles and empty deltas are
    /// no content. Models that think in silence need minutes.
    #[serde(with = "duration")]
    pub first_token_timeout: Duration,
    /// Longest time between two contents of a stream.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Longest time for a whole answer (not a stream) of one deployment.
    #[serde(with = "duration")]
    pub whole_timeout: Duration,
    /// Longest time for a request, all attempts and pauses together, to the last byte.
    #[serde(with = "duration")]
    pub total_timeout: Duration,
    /// How often one deployment is tried again for one request. Other deployments of the plan come first.
    pub retries: u32,
    /// Pause before the first retry at the same deployment; each further one is twice as long. Jitter takes off
    /// up to half.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// Longest time that one request spends pausing. A provider that asks for more is not waited for: the client
    /// is told when to come back.
    #[serde(with = "duration")]
    pub longest_pause: Duration,
    /// Retries at the same deployment, as a share of all requests: when everything fails, retries must not
    /// multiply the load. Fallbacks to other deployments are not limited.
    pub retry_share: f64,
    /// Failures in a row that open a deployment's breaker.
    pub breaker_failures: u32,
    /// How long the breaker stays open at first; twice as long after every trial that fails.
    #[serde(with = "duration")]
    pub breaker_open: Duration,
    /// The longest it stays open, and how long a deployment is left alone whose key or credit is dead.
    #[serde(with = "duration")]
    pub breaker_longest: Duration,
    /// Greatest number of requests in flight at one deployment; absent = not limited.
    pub max_in_flight: Option<u32>,
    /// Greatest length of a whole answer in bytes.
    pub max_answer_bytes: usize,
    /// Whether `HTTP_PROXY` and its like are obeyed for calls to providers.
    pub proxy_from_environment: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            first_token_timeout: Duration::from_secs(90),
            idle_timeout: Duration::from_mins(1),
            whole_timeout: Duration::from_mins(5),
            total_timeout: Duration::from_mins(15),
            retries: 2,
            backoff: Duration::from_millis(250),
            longest_pause: Duration::from_secs(5),
            retry_share: 0.2,
            breaker_failures: 5,
            breaker_open: Duration::from_secs(5),
            breaker_longest: Duration::from_mins(5),
            max_in_flight: None,
            max_answer_bytes: 64 << 20,
            proxy_from_environment: false,
        }
    }
}

impl Config {
    /// Everything that is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("first_token_timeout", self.first_token_timeout),
            ("idle_timeout", self.idle_timeout),
            ("whole_timeout", self.whole_timeout),
            ("total_timeout", self.total_timeout),
            ("backoff", self.backoff),
            ("breaker_open", self.breaker_open),
        ] {
            if value.is_zero() || value > LONGEST {
                problems.push(Problem::new(name, duration::format(value), "more than 0s, no more than 7d"));
            }
        }
        if !(self.breaker_open..=LONGEST).contains(&self.breaker_longest) {
            let found = duration::format(self.breaker_longest);
            problems.push(Problem::new("breaker_longest", found, "no less than `breaker_open`, no more than 7d"));
        }
        if self.longest_pause > LONGEST {
            problems.push(Problem::new("longest_pause", duration::format(self.longest_pause), "no more than 7d"));
        }
        if self.retries > 10 {
            problems.push(Problem::new("retries", self.retries, "0 to 10"));
        }
        if !(0.0..=1.0).contains(&self.retry_share) {
            problems.push(Problem::new("retry_share", self.retry_share, "0 to 1"));
        }
        if self.breaker_failures == 0 {
            problems.push(Problem::new("breaker_failures", 0, "1 or more"));
        }
        if self.max_in_flight == Some(0) {
            problems.push(Problem::new("max_in_flight", 0, "1 or more, or nothing for no limit"));
        }
        if self.max_answer_bytes == 0 {
            problems.push(Problem::new("max_answer_bytes", 0, "1 or more"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        assert_eq!(Config::default().problems(), []);
        let wrong = Config {
            idle_timeout: Duration::ZERO,
            total_timeout: Duration::MAX,
            breaker_longest: Duration::from_secs(1),
            retries: 99,
            retry_share: f64::NAN,
            breaker_failures: 0,
            max_in_flight: Some(0),
            max_answer_bytes: 0,
            ..Config::default()
        };
        let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(
            paths,
            [
                "idle_timeout",
                "total_timeout",
                "breaker_longest",
                "retries",
                "retry_share",
                "breaker_failures",
                "max_in_flight",
                "max_answer_bytes"
            ]
        );
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"idle_timeout":"30s"}"#).is_ok());
        assert!(serde_json::from_str::<Config>(r#"{"idle_time":"30s"}"#).is_err());
    }
}
