//! The command line: one file a command, each thin. What a command prints on the standard output is its result;
//! what it says on the way goes to the standard error.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks by printing")]

pub mod bench;
pub mod bench_cache;
pub mod budgets;
pub mod cache;
pub mod check;
pub mod datasets;
pub mod demo;
pub mod evaluate;
pub mod explain;
pub mod export;
pub mod import;
pub mod models;
pub mod policy;
pub mod replay;
pub mod serve;
mod study;
pub mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{Config, Environment};

const ABOUT: &str = "One OpenAI-compatible endpoint that learns which model answers what.

Point an OpenAI client at it (only its base URL changes), ask for the model `auto`, and each prompt goes to the cheapest model that answers it well. What that is, it learns from what happens.";

const START: &str = "To see it learn, without any key:  pointsman demo
To serve, with a key at hand:      OPENAI_API_KEY=... pointsman serve";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true, about = ABOUT, after_help = START)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "what each command does stands at its Args, where the help text is made from")]
pub enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Check(check::Args),
    Budgets(budgets::Args),
    Evaluate(evaluate::Args),
    Export(export::Args),
    Import(import::Args),
    Train(train::Args),
    Replay(replay::Args),
    Route(explain::Route),
    Explain(explain::Explain),
    Cache(cache::Args),
    Bench(bench::Args),
    Datasets(datasets::Args),
    Models(models::Args),
    Policy(policy::Args),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct Source {
    /// The configuration file. Without one: `pointsman.toml` in this folder if it is there, else the keys in the
    /// environment.
    #[arg(long, short, value_name = "FILE", env = "POINTSMAN_CONFIG")]
    pub config: Option<PathBuf>,
}

impl Source {
    /// The file to read, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let here = || Some(PathBuf::from("pointsman.toml")).filter(|file| file.is_file());
        self.config.clone().or_else(here)
    }
}

/// Which data folder.
#[derive(Debug, Args)]
pub struct Data {
    #[command(flatten)]
    source: Source,
    /// The folder of the ledger (else `data` of the configuration, else where `serve` keeps it).
    #[arg(long, short, value_name = "FOLDER", env = "POINTSMAN_DATA")]
    data: Option<PathBuf>,
}

impl Data {
    /// The configuration, for what works on the folder alone: no key is needed.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn config(&self) -> Result<Config, Failure> {
        Config::load_offline(self.source.file().as_deref(), &Environment::of_process())
            .map_err(|problems| Failure::Usage(problems.to_string()))
    }

    /// The same for what judges by the deployments listed. Offline, nothing is known of those that only the environment or
    /// a provider's own list would bring.
    ///
    /// # Errors
    /// If it is wrong, or a file that lists none.
    pub fn config_with_deployments(&self) -> Result<Config, Failure> {
        let config = self.config()?;
        match self.source.file() {
            Some(file) if config.catalog.deployments.is_empty() => Err(Failure::Usage(format!(
                "{} lists no deployment, so there is nothing to judge by: what the environment or a provider's own list \
                 would bring is not known here; name the providers and their models in the file",
                file.display()
            ))),
            _ => Ok(config),
        }
    }

    /// The folder that is meant.
    ///
    /// # Errors
    /// If the configuration must be asked and is wrong.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.data {
            return Ok(folder.clone());
        }
        Ok(self.config()?.data.unwrap_or_else(|| app::data_folder(&Environment::of_process())))
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It was called or configured wrongly; exit code 2.
    Usage(String),
    /// It went wrong on the way; exit code 1.
    Failed(String),
    /// The gate's verdict: what serves is kept; exit code 3.
    Keep(String),
    /// The gate's verdict: more events are needed; exit code 4.
    More(String),
}

impl Failure {
    /// A failure on the way.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Keep(_) => 3,
            Self::More(_) => 4,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Usage(sentence) | Self::Failed(sentence) | Self::Keep(sentence) | Self::More(sentence)) = self;
        f.write_str(sentence)
    }
}

/// Does what the command line says.
///
/// # Errors
/// [`Failure`] says why it could not be done, in words for the terminal.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => serve::run(&args).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Check(args) => check::run(&args),
        Command::Budgets(args) => tokio::task::block_in_place(|| budgets::run(&args)),
        Command::Evaluate(args) => tokio::task::block_in_place(|| evaluate::run(&args)),
        Command::Replay(args) => tokio::task::block_in_place(|| replay::run(&args)),
        Command::Train(args) => tokio::task::block_in_place(|| train::run(&args)),
        Command::Import(args) => import::run(&args).await,
        Command::Export(args) => tokio::task::block_in_place(|| export::run(&args)),
        Command::Route(args) => explain::route(&args).await,
        Command::Explain(args) => explain::explain(&args).await,
        Command::Cache(args) => cache::run(&args).await,
        Command::Bench(args) => tokio::task::block_in_place(|| bench::run(&args)),
        Command::Datasets(args) => datasets::run(args.command).await,
        Command::Models(args) => models::run(&args),
        Command::Policy(args) => tokio::task::block_in_place(|| policy::run(&args)),
    }
}
