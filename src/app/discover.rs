//! Asking providers what they serve.

use std::time::Duration;

use serde::Deserialize;

use super::PATIENCE;
use crate::config::{Config, Discovery};

#[derive(Deserialize)]
struct List {
    data: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// The configuration with the models of every provider that lists its own. One that does not answer is passed over
/// with a warning; it is asked again at the next reload.
pub async fn discover(mut config: Config) -> Config {
    let asked = config.discoveries.iter().map(|discovery| ask(discovery, PATIENCE));
    for (index, answer) in futures::future::join_all(asked).await.into_iter().enumerate() {
        let discovery = config.discoveries[index].clone();
        match answer {
            Ok(names) => config = config.with_discovered(&discovery, &names),
            Err(error) => {
                let Discovery { provider, base_url, .. } = discovery;
                config.warnings.push(format!("{provider} does not list its models ({base_url}/models: {error})"));
            }
        }
    }
    config
}

async fn ask(discovery: &Discovery, patience: Duration) -> Result<Vec<String>, String> {
    let words = |error: reqwest::Error| {
        // Without its address: that is said anyway.
        let error = error.without_url();
        let cause = std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
        cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
    };
    let client = reqwest::Client::builder().no_proxy().timeout(patience).build().map_err(words)?;
    let mut request = client.get(format!("{}/models", discovery.base_url));
    if let Some(key) = &discovery.key {
        request = request.bearer_auth(key.expose());
    }
    for (name, value) in &discovery.headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(words)?;
    let list: List = answer.json().await.map_err(words)?;
    Ok(list.data.into_iter().map(|model| model.id).collect())
}
