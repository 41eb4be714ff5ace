//! `pointsman demo`: the real endpoint in front of simulated providers, learning while you watch.
//!
//! Nothing here reaches into the router. The prompts go to it over HTTP like anybody's; what an answer was worth is
//! read off the answer by the demonstration, which plays the user, and told to the router as feedback over HTTP, for
//! some of the answers only. The figures of "always the same model" come from the simulated truth on the same prompts.

mod client;
mod figures;
mod screen;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client::Client;
use self::figures::Run;
use self::screen::{EncoderBar, Screen};
use super::{Failure, serve};
use crate::app::App;
use crate::base::{DeploymentId, ModelId};
use crate::catalog::{Capability, Catalog, Deployment};
use crate::config::{Config, Environment};
use crate::simulate::{self, Prompt, Served, Truth, World, prompts};

/// See it learn, without any key: the real endpoint in front of simulated providers.
///
/// Starts five simulated providers on this machine (different price, speed and skill; one fails now and then),
/// serves the real endpoint in front of them, sends the bundled prompts at it, grades some of the answers as a user
/// would, and shows what is learned: who answers what, at which cost and quality, and what is saved against always
/// asking the best model. Then it keeps serving until Ctrl-C.
///
/// It starts knowing nothing, keeps nothing unless --keep names a folder, and needs the network only to fetch the
/// encoder the first time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End when the prompts are answered, instead of serving on.
    #[arg(long)]
    once: bool,
    /// Print one JSON object with the figures, and nothing else, on the standard output.
    #[arg(long)]
    json: bool,
    /// How many prompts to send; beyond the bundled ones they are sent again, in another order.
    #[arg(long, value_name = "N", default_value_t = 1984, value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    requests: u32,
    /// How many at once.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=256))]
    at_once: u16,
    /// What chance is made from: the order of the prompts, and how each answer turns out.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Listen here.
    #[arg(long, short, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8484")]
    listen: SocketAddr,
    /// Keep what was logged in this folder, which must be new or empty, with a configuration beside it: there `train`,
    /// `evaluate`, `replay` and `policy` work as on real traffic.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Do not fetch the encoder and do not use it: choose by the words of a prompt alone.
    #[arg(long)]
    no_encoder: bool,
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let (tasks, providers_stop) = (TaskTracker::new(), CancellationToken::new());
    let world = Arc::new(World::new(args.seed));
    let truth: Arc<dyn Truth> = world.clone();
    let providers = simulate::serve(truth, args.seed, &tasks, &providers_stop).await.map_err(Failure::failed)?;

    let mut config = Config::of_environment(&Environment::default());
    config.catalog = Catalog::new(providers.iter().map(deployment).collect(), Default::default(), None);
    config.sections.embed.enabled = !args.no_encoder;
    // On a slow machine the demonstration would rather wait for a vector than show what words alone can do.
    config.sections.gateway.embedding_wait = Duration::from_millis(100);
    // For `train`, which may refit the feature map then.
    config.sections.gateway.log_vectors = args.keep.is_some();
    let folder = args.keep.as_ref().map_or_else(Folder::new, |folder| Folder::kept(folder, &providers))?;
    let bar = EncoderBar::new();
    let app = App::start(config, folder.as_ref(), bar.progress()).await.map_err(Failure::failed)?;
    let encoder = app.gateway().embedder().settled().await;
    bar.settled(&encoder);

    let listener = listen(args).await?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    let client = Client::new(address, args.seed).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    let show = async {
        let run = tokio::select! {
            run = drive(args, &client, world.as_ref(), &providers) => run,
            () = stop.cancelled() => return,
        };
        if args.json {
            println!("{}", run.json(args.seed, &encoder));
        }
        if let Some(folder) = &args.keep {
            eprintln!("{}", what_next(folder));
        }
        if args.once {
            stop.cancel();
        } else {
            eprintln!("{}", invitation(address));
        }
    };
    let signal = async {
        tokio::select! {
            () = serve::wait_for_signal() => stop.cancel(),
            () = stop.cancelled() => {}
        }
    };
    let (served, (), ()) = tokio::join!(app.serve(listener, stop.cancelled()), show, signal);
    providers_stop.cancel();
    served.map_err(Failure::Failed)
}

/// Sends the prompts, a few at a time, and shows what comes of it.
async fn drive(args: &Args, client: &Client, truth: &dyn Truth, providers: &[Served]) -> Run {
    let order = order(args.seed, args.requests as usize);
    let mut run = Run::new(truth, providers, &order);
    let mut screen = Screen::new();
    let mut turns = futures::stream::iter(order.iter().enumerate())
        .map(|(index, prompt)| client.turn(index, prompt))
        .buffer_unordered(usize::from(args.at_once));
    while let Some(turn) = turns.next().await {
        run.add(turn);
        screen.draw(&run);
    }
    screen.last(&run, !args.json);
    run
}

/// The bundled prompts in an order of chance, as often as it takes.
fn order(seed: u64, requests: usize) -> Vec<&'static Prompt> {
    let bundled = prompts::bundled();
    let mut order = Vec::with_capacity(requests);
    for pass in 0.. {
        let mut pass: Vec<(f64, &Prompt)> =
            bundled.iter().map(|prompt| (simulate::chance(seed ^ pass, &["order", &prompt.prompt]), prompt)).collect();
        pass.sort_by(|a, b| a.0.total_cmp(&b.0));
        order.extend(pass.into_iter().map(|(_, prompt)| prompt).take(requests - order.len()));
        if order.len() == requests {
            break;
        }
    }
    order
}

/// A simulated provider as the router sees it: like any other.
fn deployment(served: &Served) -> Deployment {
    let model = served.provider.models[0].as_str();
    Deployment {
        id: DeploymentId::from(served.provider.name.as_str()),
        model: ModelId::from(model),
        provider: served.provider.name.clone(),
        upstream_model: model.to_owned(),
        base_url: served.base_url.clone(),
        key: None,
        headers: Default::default(),
        price: Some(served.provider.price.clone()),
        capabilities: vec![Capability::Tools, Capability::JsonMode, Capability::JsonSchema],
        context_window: Some(128_000),
        max_output: Some(8_192),
        weight: 1.0,
        tags: vec!["simulated".to_owned()],
        auto: true,
        like: None,
    }
}

/// The asked-for address; if it is taken, a free port beside it, unless it was asked for by hand.
async fn listen(args: &Args) -> Result<TcpListener, Failure> {
    let asked = TcpListener::bind(args.listen).await;
    let by_default = args.listen == SocketAddr::from(([127, 0, 0, 1], 8484));
    let listener = match asked {
        Err(_) if by_default => TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await,
        asked => asked,
    };
    listener.map_err(|error| Failure::Failed(format!("cannot listen on {}: {error}", args.listen)))
}

fn invitation(address: SocketAddr) -> String {
    format!(
        "Still serving, and still learning. Try it (Ctrl-C ends it):\n\n  \
         curl -si http://{address}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\": \"auto\", \"messages\": [{{\"role\": \"user\", \"content\": \"Write a function that reverses a list.\"}}]}}'\n"
    )
}

fn what_next(folder: &Path) -> String {
    format!(
        "What was logged is kept. Learn from it, and say what else would have been worth:\n\n  \
         cd {}\n  pointsman train\n  pointsman evaluate --html gate.html\n  pointsman replay\n",
        folder.display()
    )
}

/// Where the data of the demonstration is: a temporary folder that is gone when this is, or one to keep.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new() -> Result<Self, Failure> {
        let made = tempfile::Builder::new().prefix("pointsman-demo-").tempdir();
        made.map(Self::Temporary).map_err(|error| Failure::Failed(format!("no temporary folder: {error}")))
    }

    /// A new or empty folder, with a configuration that lists these providers.
    fn kept(folder: &Path, providers: &[Served]) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("--keep {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        if std::fs::read_dir(folder).map_err(failed)?.next().is_some() {
            return Err(Failure::Usage(format!("--keep {}: expected a new or an empty folder", folder.display())));
        }
        std::fs::write(folder.join("pointsman.toml"), configuration(providers)).map_err(failed)?;
        Ok(Self::Kept(folder.to_owned()))
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// The configuration under which the kept log was made: the simulated providers, which are gone, at their prices.
fn configuration(providers: &[Served]) -> String {
    let mut text = String::from(
        "# Of `pointsman demo --keep`. Its simulated providers are gone; what they answered is in the ledger here.\n\
         version = 1\ndata = \".\"\n\n[gateway]\nlog_vectors = true\n",
    );
    for Served { provider, base_url } in providers {
        let (name, model, price) = (&provider.name, &provider.models[0], &provider.price);
        text += &format!(
            "\n[providers.{name}]\nbase_url = \"{base_url}\"\n\n[[deployments]]\nid = \"{name}\"\nprovider = \
             \"{name}\"\nname = \"{model}\"\nmodel = \"{model}\"\nprice = {{ input = {:?}, output = {:?} }}\n",
            price.input, price.output
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn the_kept_configuration_lists_the_deployments_of_the_demonstration_at_their_prices() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let world: Arc<dyn Truth> = Arc::new(World::new(1));
        let providers = simulate::serve(world, 1, &tasks, &stop).await.expect("ports are to be had");
        stop.cancel();
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("kept");
        drop(Folder::kept(&place, &providers).map_err(|failure| failure.to_string()).expect("a new folder"));
        let config = Config::load(Some(&place.join("pointsman.toml")), &Environment::default()).expect("it is right");
        let told = |catalog: &Catalog| {
            let mut told: Vec<_> =
                catalog.deployments.iter().map(|d| (d.id.clone(), d.model.clone(), d.price.clone())).collect();
            told.sort_by(|a, b| a.0.cmp(&b.0));
            told
        };
        let expected = Catalog::new(providers.iter().map(deployment).collect(), Default::default(), None);
        assert_eq!(told(&config.catalog), told(&expected));
        assert!(Folder::kept(&place, &providers).is_err(), "what is there is not written over");
    }

    #[test]
    fn every_prompt_comes_once_before_any_comes_twice_and_then_in_another_order() {
        let bundled = prompts::bundled().len();
        let order = order(5, 2 * bundled);
        let texts = |part: &[&'static Prompt]| part.iter().map(|prompt| &prompt.prompt).collect::<BTreeSet<_>>().len();
        assert_eq!((texts(&order[..bundled]), texts(&order[bundled..])), (bundled, bundled));
        assert_ne!(order[..bundled], order[bundled..]);
        assert_eq!(super::order(5, 7), order[..7]);
    }
}
