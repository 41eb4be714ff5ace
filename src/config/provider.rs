//! Where a provider is and what opens it: addresses, keys and prices, checked.

use super::environment::Environment;
use super::prices::{self, Known};
use super::raw;
use crate::base::{KeySource, Problem, Secret};
use crate::catalog::Price;

/// `host`, `host:port` or a whole address, as an OpenAI-compatible base address. A server that is told to listen
/// on every interface is called on this one.
pub(super) fn local_url(address: &str, port: u16) -> String {
    let address = address.trim_end_matches('/');
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let (host, path) = rest.split_once('/').unwrap_or((rest, "v1"));
    let host = host.replace("0.0.0.0", "127.0.0.1");
    let host = if host.contains(':') || address.contains("://") && scheme == "https" {
        host
    } else {
        format!("{host}:{port}")
    };
    format!("{scheme}://{host}/{path}")
}

pub(super) fn base_url(
    provider: &raw::Provider,
    known: Option<&Known>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    const ALLOWED: &str = "an address up to and including the version, such as \"http://localhost:8000/v1\"";
    let Some(written) = &provider.base_url else {
        if known.is_none() {
            let names: Vec<&str> = prices::bundled().providers.iter().map(|known| known.id.as_str()).collect();
            let allowed = format!("{ALLOWED}; only these need none: {}", names.join(", "));
            problems.push(Problem::new(format!("{path}.base_url"), "nothing", allowed));
        }
        return known.map(|known| known.base_url.clone());
    };
    let url =
        reqwest::Url::parse(written).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        problems.push(Problem::new(format!("{path}.base_url"), format!("{written:?}"), ALLOWED));
    }
    url.map(|_| written.trim_end_matches('/').to_owned())
}

/// The key that is kept there.
pub(super) fn secret(
    source: &KeySource,
    environment: &Environment,
    path: String,
    problems: &mut Vec<Problem>,
) -> Option<Secret> {
    match source {
        KeySource::Env(name) => {
            let key = environment.get(name);
            if key.is_none() {
                let allowed = format!("a variable that holds the key; for example: export {name}=...");
                problems.push(Problem::new(path, format!("the variable {name}, which is not set"), allowed));
            }
            key.map(Secret::new)
        }
        KeySource::File(file) => match std::fs::read_to_string(file) {
            Ok(key) if !key.trim().is_empty() => Some(Secret::new(key.trim())),
            Ok(_) => {
                problems.push(Problem::new(
                    path,
                    format!("the file {}, which is empty", file.display()),
                    "a file that holds the key",
                ));
                None
            }
            Err(error) => {
                let found = format!("the file {}, which cannot be read ({error})", file.display());
                problems.push(Problem::new(path, found, "a file that holds the key"));
                None
            }
        },
    }
}

pub(super) fn key(
    provider: &raw::Provider,
    known: Option<&Known>,
    environment: &Environment,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Secret> {
    let path = format!("{path}.key");
    match &provider.key {
        Some(source) => secret(source, environment, path, problems),
        None => {
            let known = known.filter(|_| provider.base_url.is_none())?;
            let key = known.keys.iter().find_map(|name| environment.get(name));
            if key.is_none() {
                let allowed = format!("key = {{ env = \"NAME\" }}, or {} in the environment", known.keys.join(" or "));
                problems.push(Problem::new(path, "no key", allowed));
            }
            key.map(Secret::new)
        }
    }
}

pub(super) fn check_price(price: Option<&Price>, path: &str, problems: &mut Vec<Problem>) {
    let Some(price) = price else { return };
    let fields = [
        ("input", Some(price.input)),
        ("output", Some(price.output)),
        ("cached_input", price.cached_input),
        ("cache_write", price.cache_write),
        ("reasoning", price.reasoning),
    ];
    for (name, value) in fields {
        if let Some(value) = value
            && !(value.is_finite() && value >= 0.0)
        {
            let allowed = "US dollars per million tokens, 0 or more";
            problems.push(Problem::new(format!("{path}.price.{name}"), value, allowed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_is_completed() {
        for (address, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            ("gpu", "http://gpu:11434/v1"),
            ("http://gpu:8000/", "http://gpu:8000/v1"),
            ("http://gpu:8000/v1", "http://gpu:8000/v1"),
            ("https://llm.example.com/v1", "https://llm.example.com/v1"),
        ] {
            assert_eq!(local_url(address, 11434), url, "{address}");
        }
    }
}
