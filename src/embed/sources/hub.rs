//! The model hub, and its cache on this machine, through `hf-hub`.
//!
//! `HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and the stored token work as they do for other programs.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo};

use super::{NEEDED, POOLING};
use crate::embed::{Progress, Step};

/// How long to try to reach the hub before another source is tried. A firewall that drops packets would
/// otherwise hold the start for minutes.
const REACH: Duration = Duration::from_secs(5);

/// The folder in the hub's cache that holds this model.
pub(super) fn cached(model: &str) -> Result<PathBuf, String> {
    let repo = Cache::from_env().repo(Repo::model(model.to_owned()));
    let path = repo.get("model.safetensors").ok_or("is not there")?;
    Ok(folder_of(&path))
}

/// Downloads this model's files into the hub's cache and gives their folder.
pub(super) fn fetch(model: &str, progress: &Progress) -> Result<PathBuf, String> {
    if std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| matches!(value.as_str(), "1" | "true" | "TRUE" | "yes")) {
        return Err("HF_HUB_OFFLINE is set".to_owned());
    }
    reachable()?;
    let api = ApiBuilder::from_env().with_progress(false).build().map_err(|e| e.to_string())?;
    let repo = api.model(model.to_owned());
    let mut folder = None;
    for name in NEEDED {
        let bar = Bar { progress, name, bytes: 0, total: 0 };
        let cached = Cache::from_env().repo(Repo::model(model.to_owned())).get(name);
        let path = match cached {
            Some(path) => path,
            None => repo.download_with_progress(name, bar).map_err(|e| format!("{name}: {e}"))?,
        };
        folder = Some(folder_of(&path));
    }
    // Most encoders have this file, some do not: without it the mean is taken.
    if repo.get(POOLING).is_err() {
        progress(&Step::Passed(format!("{model} has no {POOLING}; token vectors are averaged")));
    }
    folder.ok_or_else(|| "gave no files".to_owned())
}

/// Whether the hub answers a connection. Behind a proxy only the proxy can tell, so there nothing is tried.
fn reachable() -> Result<(), String> {
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
    if proxies.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(());
    }
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_owned());
    let (host, port) = authority(&endpoint).ok_or_else(|| format!("HF_ENDPOINT {endpoint:?} is not a URL"))?;
    let mut addresses = (host, port).to_socket_addrs().map_err(|e| format!("{host} has no address: {e}"))?;
    let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
    TcpStream::connect_timeout(&address, REACH).map(drop).map_err(|e| format!("{host} does not answer: {e}"))
}

/// Host and port of a URL.
fn authority(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, if scheme == "http" { 80 } else { 443 })),
    }
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Passes the hub's progress on.
struct Bar<'a> {
    progress: &'a Progress,
    name: &'static str,
    bytes: u64,
    total: u64,
}

impl hf_hub::api::Progress for Bar<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        self.total = size as u64;
    }

    fn update(&mut self, size: usize) {
        self.bytes += size as u64;
        if self.name == "model.safetensors" {
            (self.progress)(&Step::Fetched { bytes: self.bytes, total: self.total });
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn an_endpoint_is_read_as_host_and_port() {
        assert_eq!(authority("https://hub.example"), Some(("hub.example", 443)));
        assert_eq!(authority("http://mirror.example/models"), Some(("mirror.example", 80)));
        assert_eq!(authority("http://127.0.0.1:8080/"), Some(("127.0.0.1", 8080)));
        assert_eq!(authority("mirror.example"), None);
        assert_eq!(authority("https://"), None);
    }
}
