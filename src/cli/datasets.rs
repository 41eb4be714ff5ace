//! `pointsman datasets`: what the benchmark runs on, whether it is whole, and how to bring more.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use comfy_table::{Table as Grid, presets};
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::Failure;
use crate::embed::{Config, DIMENSIONS, Encoder, Precision};
use crate::eval::table::import::{Imported, long_json, wide_csv, wide_parquet};
use crate::eval::table::{Intake, Limits, Provenance, Table, hex, lexical, read_rows};

/// A table that is part of the program.
pub struct Bundled {
    /// Its name.
    pub name: &'static str,
    bytes: &'static [u8],
}

macro_rules! bundled {
    ($($name:literal),* $(,)?) => {
        &[$(Bundled { name: $name, bytes: include_bytes!(concat!("../../datasets/", $name, "/", $name, ".safetensors")) }),*]
    };
}

/// The tables that are part of the program, in the order they are reported.
pub const BUNDLED: &[Bundled] =
    bundled!["llmrouter-ulab", "zeroeval", "paretobandit", "routellm-mmlu", "routellm-gsm8k", "routellm-mtbench"];

/// The set whose vectors give the contexts of the streams.
pub const CONTEXT_SET: &str = "routellm-mmlu";

/// Checksums of the bundled tables, as `sha256sum` writes them.
const CHECKSUMS: &str = include_str!("../../datasets/SHA256SUMS");

/// List, check, fetch and import the data sets of the benchmark.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do with data sets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What the program carries.
    List,
    /// Check the bundled tables, and against their source rows where those are at hand.
    Verify {
        /// Folder with SET/rows.jsonl.gz of the source rows; also checks the vectors by the encoder.
        #[arg(long, value_name = "FOLDER")]
        rows: Option<PathBuf>,
    },
    /// Bring the files of a public set from its source repository.
    Fetch {
        /// Name of the set.
        set: String,
        /// Where to put them.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        to: PathBuf,
    },
    /// Turn local files into rows of the common form: rows (.jsonl, .jsonl.gz), wide CSV or Parquet (RouteLLM,
    /// `RouterBench`), long JSON (`LLMRouterBench`, `RouterArena`).
    Import {
        /// The files: one rows file, or any number of CSV, Parquet or long JSON files (a table a task: the file's name is the
        /// group).
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Name of the set.
        #[arg(long, default_value = "imported")]
        set: String,
        /// Where the rows go.
        #[arg(long, value_name = "FILE", default_value = "rows.jsonl")]
        to: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// [`Failure`] with the file or the set and what is wrong.
pub async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(),
        Command::Verify { rows } => tokio::task::block_in_place(|| verify(rows.as_deref())),
        Command::Fetch { set, to } => fetch(&set, &to).await,
        Command::Import { files, set, to } => import(&files, &set, &to),
    }
}

/// The bundled table of this name.
///
/// # Errors
/// [`Failure::Usage`] with the known names.
pub fn table(name: &str) -> Result<Table, Failure> {
    let found = BUNDLED.iter().find(|set| set.name == name).ok_or_else(|| unknown(name))?;
    Table::from_bytes(found.bytes).map_err(|e| Failure::failed(format!("{name}: {e}")))
}

fn unknown(name: &str) -> Failure {
    let known: Vec<&str> = BUNDLED.iter().map(|set| set.name).collect();
    Failure::Usage(format!("no set `{name}`; known: {}", known.join(", ")))
}

fn list() -> Result<(), Failure> {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING)
        .set_header(["set", "rows", "models", "groups", "costs", "bytes", "licence", "source"]);
    for set in BUNDLED {
        let table = table(set.name)?;
        grid.add_row([
            set.name.to_owned(),
            table.len().to_string(),
            table.models.len().to_string(),
            table.groups.len().to_string(),
            if table.cost.is_some() { "yes" } else { "no" }.to_owned(),
            set.bytes.len().to_string(),
            table.provenance.licence.clone(),
            format!("{} at {}", table.provenance.source, &table.provenance.commit.get(..8).unwrap_or("-")),
        ]);
    }
    println!("{grid}");
    Ok(())
}

fn verify(rows: Option<&Path>) -> Result<(), Failure> {
    for set in BUNDLED {
        let sum = hex(&Sha256::digest(set.bytes));
        let known = CHECKSUMS.lines().any(|line| line.starts_with(&sum) && line.contains(set.name));
        let table = table(set.name)?;
        if !known {
            return Err(Failure::failed(format!("{}: checksum {sum} is not the recorded one", set.name)));
        }
        let mut said = format!("{}: {} rows, checksum and form are right", set.name, table.len());
        if let Some(folder) = rows {
            said += &against_rows(&table, &folder.join(set.name).join("rows.jsonl.gz"))?;
        }
        println!("{said}");
    }
    Ok(())
}

/// Compares a table with the rows it was made from.
fn against_rows(table: &Table, file: &Path) -> Result<String, Failure> {
    let intake = rows_of(file, Limits { keep: usize::MAX })?;
    let wrong = |what: &str| Failure::failed(format!("{}: {what} differs from {}", table.set, file.display()));
    if intake.sha256 != table.provenance.rows_sha256 {
        return Err(wrong("the checksum of the rows"));
    }
    let encoder = encoder()?;
    let prompts = intake.prompts();
    let vectors = encoder.embed_batch(&prompts).map_err(Failure::failed)?;
    let mut least = f32::INFINITY;
    for (row, (vector, prompt)) in vectors.iter().zip(&prompts).enumerate() {
        let kept = table.vector(row);
        let product: f32 = kept.iter().zip(vector).map(|(a, b)| a * b).sum();
        least = least.min(product / kept.dot(&kept).sqrt());
        if table.lexical.row(row).iter().zip(lexical(prompt)).any(|(a, b)| (a - b).abs() > 1e-6) {
            return Err(wrong("a lexical count"));
        }
    }
    if least < 0.9995 {
        return Err(wrong(&format!("a vector (cosine {least:.5}, at least .9995 wanted)")));
    }
    Ok(format!("; made from these rows, least cosine of a vector {least:.5}"))
}

/// The encoder that makes the vectors of tables and rows.
///
/// # Errors
/// [`Failure`] if its weights are nowhere.
pub fn encoder() -> Result<Encoder, Failure> {
    let config = Config { precision: Precision::F32, ..Config::default() };
    let quiet: crate::embed::Progress = std::sync::Arc::new(|_| ());
    Encoder::load(&config, &quiet).map_err(Failure::failed)
}

/// Reads a rows file, plain or gzipped.
///
/// # Errors
/// [`Failure`] with the file, the line and what is wrong.
pub fn rows_of(file: &Path, limits: Limits) -> Result<Intake, Failure> {
    let opened = File::open(file).map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
    let gzipped = file.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) };
    read_rows(BufReader::with_capacity(1 << 16, reader), limits)
        .map_err(|e| Failure::failed(format!("{}: {e}", file.display())))
}

/// The table of a rows file and what was said of its rows. `encoder` makes the vectors of the prompts.
///
/// # Errors
/// [`Failure`] if the encoder fails.
pub fn encoded(
    intake: Intake,
    encoder: &Encoder,
    provenance: Provenance,
    done: &dyn Fn(usize),
) -> Result<Table, Failure> {
    let mut vectors: Vec<Vec<f32>> = Vec::new();
    for some in intake.prompts().chunks(64) {
        vectors.extend(encoder.embed_batch(some).map_err(Failure::failed)?);
        done(some.len());
    }
    debug_assert!(vectors.iter().all(|vector| vector.len() == DIMENSIONS));
    Ok(intake.into_table(&vectors, provenance))
}

/// Files of the public sets in their repositories.
fn sources(set: &str) -> Option<Vec<String>> {
    let raw = |repository: &str, commit: &str, files: &[&str]| {
        files.iter().map(|file| format!("https://raw.githubusercontent.com/{repository}/{commit}/{file}")).collect()
    };
    Some(match set {
        "routellm-gsm8k" => raw(
            "lm-sys/RouteLLM",
            "0b64fdafe049e596a3f5657c219329f24af24198",
            &["routellm/evals/gsm8k/gsm8k_responses.csv"],
        ),
        "llmrouter-ulab" => raw(
            "ulab-uiuc/LLMRouter",
            "4e7a796942ce26e9d5f2b93191c7c2585c99c2e3",
            &["data/dcrouter_preprocessed/train.json", "data/dcrouter_preprocessed/test.json"],
        ),
        "paretobandit" => raw(
            "ParetoBandit/ParetoBandit",
            "72ccbefe5cb858c95e00368e2b68de3c2b28a2ee",
            &["data_collection/rewards/val_k4.jsonl"],
        ),
        _ => return None,
    })
}

async fn fetch(set: &str, to: &Path) -> Result<(), Failure> {
    if !BUNDLED.iter().any(|bundled| bundled.name == set) {
        return Err(unknown(set));
    }
    let Some(files) = sources(set) else {
        let from = table(set)?.provenance.source;
        return Err(Failure::Usage(format!(
            "{set} is spread over many files: clone {from} and give them to `pointsman datasets import`"
        )));
    };
    let client = reqwest::Client::new();
    for url in files {
        let failed = |e: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{url}: {e}. The bundled table needs no network; `datasets import` reads local files"
            ))
        };
        let answer =
            client.get(&url).send().await.and_then(reqwest::Response::error_for_status).map_err(|e| failed(&e))?;
        let bytes = answer.bytes().await.map_err(|e| failed(&e))?;
        let path = to.join(url.rsplit('/').next().unwrap_or(set));
        std::fs::write(&path, &bytes).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        println!("{} ({} bytes, sha256 {})", path.display(), bytes.len(), hex(&Sha256::digest(&bytes)));
    }
    Ok(())
}

fn import(files: &[PathBuf], set: &str, to: &Path) -> Result<(), Failure> {
    let wrong = |file: &Path, e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", file.display()));
    let open = |file: &PathBuf| File::open(file).map(BufReader::new).map_err(|e| wrong(file, &e));
    let first = &files[0];
    let name = first.to_string_lossy().to_lowercase();
    if [".pkl", ".pickle"].iter().any(|end| name.ends_with(end)) {
        return Err(Failure::Usage(format!(
            "{0}: pickles are not read (a pickle is a program). Write it as Parquet first, where you trust it: python -c \
             \"import pandas as pd; pd.read_pickle('{0}').to_parquet('rows.parquet')\"",
            first.display()
        )));
    }
    if name.ends_with(".jsonl") || name.ends_with(".jsonl.gz") {
        let intake = rows_of(first, Limits::default())?;
        intake.left_out.iter().for_each(|out| println!("{out}"));
        println!(
            "{}: {} sound rows of {} models; run `pointsman bench --rows {}`",
            first.display(),
            intake.found,
            intake.models.len(),
            first.display()
        );
        return Ok(());
    }
    let mut out = BufWriter::new(File::create(to).map_err(|e| wrong(to, &e))?);
    let group = |file: &PathBuf| (files.len() > 1).then(|| file.file_stem().map(|s| s.to_string_lossy().into_owned()));
    let imported: Imported = if name.ends_with(".csv") {
        let opened = files.iter().map(|file| Ok((group(file).flatten(), open(file)?)));
        wide_csv(set, opened.collect::<Result<Vec<_>, Failure>>()?, &mut out).map_err(|e| wrong(first, &e))?
    } else if name.ends_with(".parquet") {
        let opened = files.iter().map(|file| Ok((group(file).flatten(), open(file)?.into_inner())));
        wide_parquet(set, opened.collect::<Result<Vec<_>, Failure>>()?, &mut out).map_err(|e| wrong(first, &e))?
    } else {
        let readers = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        long_json(set, readers, &mut out).map_err(|e| wrong(first, &e))?
    };
    out.flush().map_err(|e| wrong(to, &e))?;
    println!(
        "{}: {} rows of {} models ({}), {} left out",
        to.display(),
        imported.rows,
        imported.models.len(),
        imported.models.join(", "),
        imported.left_out
    );
    Ok(())
}
