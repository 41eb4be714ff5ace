//! Pointsman as a whole in this process, behind a real port, before simulated providers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pointsman::app::{App, Reloaded};
use pointsman::config::{Config, Environment};
use pointsman::ledger::Offset;
use pointsman::simulate::Served;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) struct Running {
    pub(crate) app: App,
    pub(crate) file: PathBuf,
    base: String,
    http: reqwest::Client,
    reloads: mpsc::UnboundedReceiver<bool>,
    _server: JoinSet<()>,
}

/// The providers, in a configuration's words.
pub(crate) fn providers<'a>(served: impl IntoIterator<Item = &'a Served>) -> String {
    let table = |Served { provider, base_url }: &Served| {
        let models = &provider.models;
        let (input, output) = (provider.price.input, provider.price.output);
        format!(
            "[providers.{:?}]\nbase_url = {base_url:?}\nmodels = {models:?}\nprice = {{ input = {input:?}, output = {output:?} }}\n",
            provider.name
        )
    };
    served.into_iter().map(table).collect()
}

/// Puts this in the place of the configuration file, as editors do.
pub(crate) fn write(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).expect("the folder can be written");
    std::fs::rename(beside, file).expect("the folder can be written");
}

impl Running {
    /// Starts it with this configuration, its data in this folder.
    pub(crate) async fn start(folder: &Path, text: &str) -> Self {
        let file = folder.join("pointsman.toml");
        write(&file, text);
        let config = Config::load(Some(&file), &Environment::default()).expect("it is right");
        let app = App::start(config, &folder.join("data"), Arc::new(|_| {})).await.expect("it starts");
        let (tell, reloads) = mpsc::unbounded_channel();
        app.reload_on_change(file.clone(), Environment::default(), move |reloaded| {
            let refused = matches!(reloaded, Reloaded::Refused(_));
            if !matches!(reloaded, Reloaded::Same) {
                // The test may be over.
                let _ = tell.send(!refused);
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}/v1", listener.local_addr().expect("bound"));
        let router = pointsman::http::router(Arc::clone(app.gateway()));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { app, file, base, http, reloads, _server: server }
    }

    /// Puts another configuration in the file's place and waits until it is in force.
    pub(crate) async fn reload(&mut self, text: &str) {
        write(&self.file, text);
        assert_eq!(self.reloads.recv().await, Some(true), "it is taken");
    }

    pub(crate) async fn post(&self, route: &str, body: &Value, headers: &[(&str, &str)]) -> (Value, Option<String>) {
        let mut request = self.http.post(format!("{}/{route}", self.base)).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("it answers");
        let decision = response.headers().get("x-pointsman-decision").map(|id| id.to_str().expect("text").to_owned());
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert!(status.is_success(), "{status}: {body}");
        (body, decision)
    }

    /// Asks, reads what the simulated answer is worth, says so, and waits until that is in the policy. Gives the model
    /// that answered and the worth.
    pub(crate) async fn turn(&self, prompt: &str, headers: &[(&str, &str)]) -> (String, f64) {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
        let (answer, decision) = self.post("chat/completions", &body, headers).await;
        self.app.gateway().drained().await;
        let said = json!({"decision_id": decision, "score": answer["simulated"]["score"]});
        self.post("feedback", &said, &[]).await;
        self.app.learner().published(self.last().await).await;
        let model = answer["model"].as_str().expect("a model").to_owned();
        (model, answer["simulated"]["score"].as_f64().expect("a score"))
    }

    /// The position of the last event.
    pub(crate) async fn last(&self) -> Offset {
        self.app.gateway().ledger().flush().await.expect("flushed")
    }
}
