//! `pointsman serve`: the endpoint.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, Source};
use crate::app::{self, App, Reloaded};
use crate::base::Problem;
use crate::config::{Config, Environment, Problems};
use crate::embed::{self, Step};
use crate::telemetry;

/// Serve the OpenAI-compatible endpoint.
///
/// Providers come from the configuration file or, without one, from the keys in the environment: OPENAI_API_KEY,
/// ANTHROPIC_API_KEY, GEMINI_API_KEY, DEEPSEEK_API_KEY, MISTRAL_API_KEY, GROQ_API_KEY, TOGETHER_API_KEY,
/// OPENROUTER_API_KEY; and from OLLAMA_HOST or VLLM_BASE_URL for models on your own machines.
///
/// Ctrl-C or SIGTERM ends it in good order; SIGHUP, or a change of the file, has the file read again.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "this is a help text: backquotes would be printed")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Listen here instead of where the configuration says (127.0.0.1:8484).
    #[arg(long, short, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Keep the ledger and what was learned here (else `data` of the file, else $XDG_DATA_HOME/pointsman).
    #[arg(long, short, value_name = "FOLDER", env = "POINTSMAN_DATA")]
    data: Option<PathBuf>,
}

/// What to say when there is nothing to call.
const NO_PROVIDER: &str = "\
there is no provider to send requests to. Give one of these:
  a key in the environment:     OPENAI_API_KEY=... pointsman serve
                                (or ANTHROPIC_, GEMINI_, DEEPSEEK_, MISTRAL_, GROQ_, TOGETHER_, OPENROUTER_API_KEY)
  models on your own machine:   OLLAMA_HOST=127.0.0.1:11434 pointsman serve  (or VLLM_BASE_URL=http://...:8000/v1)
  a configuration file:         pointsman serve --config pointsman.toml
To see Pointsman at work without any of them: pointsman demo";

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let file = args.source.file();
    let config = Config::load(file.as_deref(), &environment).map_err(usage)?;
    if config.is_empty() {
        return Err(Failure::Usage(NO_PROVIDER.to_owned()));
    }
    let address = args.listen.unwrap_or(config.sections.server.listen);
    let mut sections = config.sections.clone();
    sections.server.listen = address;
    if let Some(problem) = sections.open_door() {
        return Err(usage(Problems(vec![Problem { path: "--listen".to_owned(), ..problem }])));
    }
    telemetry::init(&config.sections.log);
    let config = app::discover(config).await;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.catalog.deployments.is_empty() {
        let said = config.warnings.join("\n");
        return Err(Failure::Failed(format!("no provider lists a model, so there is nothing to serve.\n{said}")));
    }
    let data = args.data.clone().or_else(|| config.data.clone()).unwrap_or_else(|| app::data_folder(&environment));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(format!("cannot listen on {address}: {error}; choose another with --listen"))
    })?;
    let (models, deployments) = (config.catalog.models().len(), config.catalog.deployments.len());
    let app = App::start(config, &data, log_progress()).await.map_err(Failure::failed)?;
    if let Some(file) = file {
        app.reload_on_change(file, environment, log_reload);
    }
    let address = listener.local_addr().map_err(Failure::failed)?;
    tracing::info!(models, deployments, data = %data.display(), "ready: base URL http://{address}/v1, model auto");
    until_stopped(app, listener).await
}

fn usage(problems: Problems) -> Failure {
    Failure::Usage(problems.to_string())
}

/// Serves until Ctrl-C or SIGTERM, then ends in good order; a second signal ends the process at once.
pub(super) async fn until_stopped(app: App, listener: TcpListener) -> Result<(), Failure> {
    let stopping = CancellationToken::new();
    let first = async {
        wait_for_signal().await;
        tracing::info!("stopping; once more to stop at once");
        stopping.cancel();
    };
    let second = async {
        stopping.cancelled().await;
        wait_for_signal().await;
    };
    tokio::select! {
        served = app.serve(listener, first) => served.map_err(Failure::Failed),
        () = second => Err(Failure::Failed("stopped at once; answers on their way were cut off".to_owned())),
    }
}

/// Completes on Ctrl-C or SIGTERM.
pub(super) async fn wait_for_signal() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

fn log_progress() -> embed::Progress {
    Arc::new(|step: &Step| match step {
        Step::Trying(place) => tracing::info!("encoder: looking at {place}"),
        Step::Fetched { .. } => {}
        Step::Passed(reason) => tracing::info!("encoder: {reason}"),
        Step::Loaded(how) => tracing::info!("encoder: {how}"),
    })
}

fn log_reload(reloaded: &Reloaded) {
    match reloaded {
        Reloaded::Same => tracing::info!("the configuration was read again and says the same"),
        Reloaded::Refused(problems) => tracing::error!("the old configuration stays in force: {problems}"),
        Reloaded::InForce { digest, waiting, warnings } => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(%digest, "the new configuration is in force");
            if !waiting.is_empty() {
                tracing::warn!("these sections wait for the next start: {}", waiting.join(", "));
            }
        }
    }
}
