//! May this caller, now?
//!
//! Two questions, in this order. Who is calling: without configured keys everybody is the tenant `local` (the
//! composition root lets such a door open on loopback only); with keys, the bearer key must be one of them.
//! Only hashes of keys are kept, and they are compared in constant time, all of them, so that the time of a
//! refusal tells nothing. And is there room: a cap on requests in flight. What passes holds a [`Ticket`];
//! dropping it gives the place back. Refusals are counted and make no event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::base::problem::Problem;
use crate::base::{Error, Kind, ModelId, TenantId};
use crate::telemetry;

/// The tenant of everybody while no keys are configured.
pub const LOCAL: &str = "local";

/// Who may call, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The keys; none = open.
    pub keys: Vec<Key>,
    /// Requests served at once, over all callers; beyond it the answer is 503 with `Retry-After`.
    pub max_in_flight: usize,
    /// Greatest request body, bytes.
    pub max_body_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { keys: Vec::new(), max_in_flight: 1_024, max_body_bytes: 20 * 1_000_000 }
    }
}

/// One key and what it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose it is. Several keys may open the same tenant.
    pub tenant: TenantId,
    /// SHA-256 of the key, 64 hexadecimal digits: `printf %s KEY | sha256sum`. The key itself is kept nowhere.
    pub sha256: String,
    /// The preset in force where a request asks for plain `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The models it may use; absent = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeSet<ModelId>>,
}

impl Config {
    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            if read_hash(&key.sha256).is_none() {
                problems.push(Problem::new(
                    format!("keys[{index}].sha256"),
                    format!("{} characters", key.sha256.len()),
                    "64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them",
                ));
            }
            if key.tenant.as_str().is_empty() {
                problems.push(Problem::new(format!("keys[{index}].tenant"), "nothing", "a name"));
            }
        }
        if self.max_in_flight == 0 {
            problems.push(Problem::new("max_in_flight", 0, "1 or more"));
        }
        if self.max_body_bytes == 0 {
            problems.push(Problem::new("max_body_bytes", 0, "1 or more"));
        }
        problems
    }
}

fn read_hash(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose requests, answers, feedback and traces these are.
    pub tenant: TenantId,
    /// The preset in force where the request asks for plain `auto`.
    pub preset: Option<String>,
    /// The models the caller may use; `None` = all.
    pub models: Option<Arc<BTreeSet<ModelId>>>,
}

impl Caller {
    /// The caller of an open door.
    #[must_use]
    pub fn local() -> Self {
        Self { tenant: LOCAL.into(), preset: None, models: None }
    }

    /// Whether the caller may use this model.
    #[must_use]
    pub fn may_use(&self, model: &ModelId) -> bool {
        self.models.as_ref().is_none_or(|models| models.contains(model))
    }
}

/// The door.
#[derive(Debug)]
pub struct Admission {
    rules: ArcSwap<Rules>,
    in_flight: Arc<AtomicUsize>,
    closed: AtomicBool,
}

/// A [`Config`], ready to be asked.
#[derive(Debug)]
struct Rules {
    keys: Vec<([u8; 32], Caller)>,
    max_in_flight: usize,
    max_body_bytes: usize,
}

impl Rules {
    fn new(config: &Config) -> Self {
        let opens = |key: &Key| Caller {
            tenant: key.tenant.clone(),
            preset: key.preset.clone(),
            models: key.models.clone().map(Arc::new),
        };
        Self {
            // An unreadable hash stands as one that no key has: the list must not become empty, which means open.
            keys: config.keys.iter().map(|key| (read_hash(&key.sha256).unwrap_or_default(), opens(key))).collect(),
            max_in_flight: config.max_in_flight,
            max_body_bytes: config.max_body_bytes,
        }
    }
}

impl Admission {
    /// A door with these keys. A key whose hash cannot be read opens nothing; [`Config::problems`] names it.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let rules = ArcSwap::from_pointee(Rules::new(config));
        Self { rules, in_flight: Arc::default(), closed: AtomicBool::new(false) }
    }

    /// Puts other keys and limits in force; those inside are not touched.
    pub fn reload(&self, config: &Config) {
        self.rules.store(Arc::new(Rules::new(config)));
    }

    /// Whether everybody may come in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rules.load().keys.is_empty()
    }

    /// The greatest request body, bytes.
    #[must_use]
    pub fn max_body_bytes(&self) -> usize {
        self.rules.load().max_body_bytes
    }

    /// Who presents this key.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] without a key where one is needed, or with an unknown one.
    pub fn identify(&self, key: Option<&str>) -> Result<Caller, Error> {
        let rules = self.rules.load();
        if rules.keys.is_empty() {
            return Ok(Caller::local());
        }
        let Some(key) = key else {
            return Err(refused(Error::new(
                Kind::Unauthorized,
                "no API key was given; send it as `Authorization: Bearer KEY`",
            )));
        };
        let presented: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut found = None;
        for (hash, caller) in &rules.keys {
            if bool::from(hash.ct_eq(&presented)) {
                found = Some(caller);
            }
        }
        found.cloned().ok_or_else(|| {
            refused(Error::new(Kind::Unauthorized, "this API key is not known here; check it for typos"))
        })
    }

    /// A place for one request.
    ///
    /// # Errors
    /// [`Kind::Overloaded`] when every place is taken, or the door is closing.
    pub fn admit(&self, caller: Caller) -> Result<Ticket, Error> {
        let full = |message: &str, after| {
            refused(Error::new(Kind::Overloaded, message).with_retry_after(Some(Duration::from_secs(after))))
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(full("the server is shutting down; send the request again in a moment", 2));
        }
        let most = self.rules.load().max_in_flight;
        let mut taken = self.in_flight.load(Ordering::Relaxed);
        loop {
            if taken >= most {
                return Err(full("the server has as many requests in flight as it takes on; send it again shortly", 1));
            }
            match self.in_flight.compare_exchange_weak(taken, taken + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => taken = now,
            }
        }
        metrics::gauge!(telemetry::IN_FLIGHT).increment(1.0);
        Ok(Ticket { caller, in_flight: Arc::clone(&self.in_flight) })
    }

    /// Requests being served now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Lets nobody in any more; those inside are not touched.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether [`Admission::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

fn refused(error: Error) -> Error {
    metrics::counter!(telemetry::REFUSED, "kind" => error.kind.name()).increment(1);
    error
}

/// The right to be served, held as long as the request lasts.
#[derive(Debug)]
pub struct Ticket {
    /// Who is served.
    pub caller: Caller,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!(telemetry::IN_FLIGHT).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> String {
        Sha256::digest(key.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    fn key(tenant: &str, key: &str) -> Key {
        Key { tenant: tenant.into(), sha256: hash(key), preset: None, models: None }
    }

    #[test]
    fn without_keys_everybody_is_local() {
        let door = Admission::new(&Config::default());
        assert!(door.is_open());
        assert_eq!(door.identify(None).expect("open").tenant.as_str(), LOCAL);
        assert_eq!(door.identify(Some("anything")).expect("open").tenant.as_str(), LOCAL);
    }

    #[test]
    fn a_key_opens_its_tenant_and_nothing_else_does() {
        let config = Config { keys: vec![key("red", "r"), key("blue", "b")], ..Config::default() };
        let door = Admission::new(&config);
        assert_eq!(door.identify(Some("b")).expect("known").tenant.as_str(), "blue");
        for bad in [None, Some(""), Some("R"), Some("rb")] {
            assert_eq!(door.identify(bad).expect_err("unknown").kind, Kind::Unauthorized, "{bad:?}");
        }
    }

    #[test]
    fn an_unreadable_hash_is_a_problem_and_opens_nothing() {
        let broken = Key { sha256: "xyz".into(), ..key("red", "r") };
        let config = Config { keys: vec![broken], max_in_flight: 0, ..Config::default() };
        let problems: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(Admission::new(&config).identify(Some("r")).is_err());
    }

    #[test]
    fn keys_can_be_exchanged_while_it_serves() {
        let door = Admission::new(&Config { keys: vec![key("red", "r")], ..Config::default() });
        door.reload(&Config { keys: vec![key("blue", "b")], ..Config::default() });
        assert!(door.identify(Some("r")).is_err());
        assert_eq!(door.identify(Some("b")).expect("known").tenant.as_str(), "blue");
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let door = Admission::new(&Config { max_in_flight: 2, ..Config::default() });
        let first = door.admit(Caller::local()).expect("room");
        let _second = door.admit(Caller::local()).expect("room");
        let refusal = door.admit(Caller::local()).expect_err("full");
        assert_eq!((refusal.kind, refusal.retry_after), (Kind::Overloaded, Some(Duration::from_secs(1))));
        drop(first);
        assert!(door.admit(Caller::local()).is_ok());
        door.close();
        assert!(door.admit(Caller::local()).is_err());
    }
}
