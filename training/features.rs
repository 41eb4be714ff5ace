//! Trains the projection and the heads from `datasets/prompts` and writes `models/features-v1` with its card.
//!
//! `--embed` makes the prompts' vectors anew with the encoder (needed when the prompts have changed). The logic is
//! `pointsman::features::fit`; this file opens files.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pointsman::embed::{Config, Encoder, Precision, Progress, Step};
use pointsman::features::fit::{self, Vectors};
use pointsman::features::prompts;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("datasets/prompts");
    let prompts = fs::read_to_string(folder.join("prompts.jsonl")).context("prompts.jsonl")?;
    let prompts = prompts::read(&prompts).map_err(anyhow::Error::msg).context("prompts.jsonl")?;
    let file = folder.join("vectors.safetensors");
    if std::env::args().any(|argument| argument == "--embed") {
        let progress: Progress = Arc::new(|step: &Step| eprintln!("{step:?}"));
        let encoder = Encoder::load(&Config { precision: Precision::F32, ..Config::default() }, &progress)?;
        let (plain, mistyped) = fit::texts(&prompts);
        let mistyped: Vec<&str> = mistyped.iter().map(String::as_str).collect();
        let vectors = Vectors { prompts: encoder.embed_batch(&plain)?, mistyped: encoder.embed_batch(&mistyped)? };
        fs::write(&file, vectors.write(&prompts)?)?;
    }
    let vectors = Vectors::read(&fs::read(&file).context("vectors.safetensors; make it with --embed")?, &prompts)
        .context("vectors.safetensors is not of these prompts; make it with --embed")?;
    let files = fit::train(&prompts, &vectors)?;
    let card = fit::card(&files.artefact()?, &prompts, &vectors);
    let target = root.join("models/features-v1");
    fs::create_dir_all(&target)?;
    fs::write(target.join("manifest.toml"), &files.manifest)?;
    fs::write(target.join("projection.safetensors"), &files.projection)?;
    fs::write(target.join("heads.safetensors"), &files.heads)?;
    fs::write(target.join("README.md"), &card)?;
    println!("{card}");
    Ok(())
}
