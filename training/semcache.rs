//! Makes the numeric form of the cache's stream and suites:
//! `cargo run --release --example semcache -- SOURCE datasets/semcache`.
//!
//! SOURCE has `qqp-stream.jsonl.gz` (`{"text", "component"}` a line) and suites of pairs (`{"suite", "class", "text_a",
//! "text_b", "same"}`). What is written holds classes, cosines, verdicts and veto flags, and no text.
//!
//! Encoding takes a quarter of an hour of one core. Where only a veto or the gate has changed, `--flags` keeps the
//! cosines that are there and judges the same pairs anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use pointsman::cache::semantic::gate::fit_text;
use pointsman::cli::datasets;
use pointsman::embed::Encoder;
use pointsman::eval::reuse::{GATE, Neighbours, Suite, Suites, bits};
use serde_json::Value;

const SUITES: [&str; 6] = ["checklist", "banking94", "finance-traps", "general-traps", "gptcache-mock", "qqp-pairs"];
/// Texts encoded between two steps of the bar.
const BATCH: usize = 256;

fn main() -> Result<()> {
    let (flags, paths): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word == "--flags");
    let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
    let [source, to] = &paths[..] else {
        anyhow::bail!("usage: semcache SOURCE TO [--flags]");
    };
    std::fs::create_dir_all(to)?;
    let (suites_file, stream_file) = (to.join("suites.safetensors"), to.join("stream.safetensors"));
    let stream_rows = rows(&source.join("qqp-stream.jsonl.gz"))?;
    let texts: Vec<&str> = stream_rows.iter().map(|row| text(row, "text")).collect();
    let (suites, stream) = if flags.is_empty() {
        let encoder = datasets::encoder().map_err(|error| anyhow!("{error}"))?;
        let mut suites = Suites::default();
        for name in SUITES {
            suites.0.insert(name.to_owned(), suite(&suite_rows(source, name)?, &encoder)?);
        }
        let classes: Vec<String> = stream_rows.iter().map(|row| row["component"].to_string()).collect();
        (suites, Neighbours::of(&texts, &classes, &encoded("stream", &texts, &encoder)?, 0))
    } else {
        let mut suites = Suites::from_bytes(&std::fs::read(&suites_file)?).map_err(|error| anyhow!(error))?;
        for (name, suite) in &mut suites.0 {
            let rows = suite_rows(source, name)?;
            ensure!(rows.len() == suite.cosine.len(), "{name}: {} rows, {} cosines", rows.len(), suite.cosine.len());
            suite.forbidden = rows.iter().map(forbidden).collect();
        }
        let mut stream = Neighbours::from_bytes(&std::fs::read(&stream_file)?).map_err(|error| anyhow!(error))?;
        ensure!(texts.len() == stream.len(), "{} prompts, {} in the stream", texts.len(), stream.len());
        stream.judge(&texts);
        (suites, stream)
    };
    std::fs::write(suites_file, suites.to_bytes().map_err(|error| anyhow!(error))?)?;
    std::fs::write(stream_file, stream.to_bytes().map_err(|error| anyhow!(error))?)?;
    Ok(())
}

fn rows(file: &Path) -> Result<Vec<Value>> {
    let opened = File::open(file).with_context(|| file.display().to_string())?;
    let lines = BufReader::new(MultiGzDecoder::new(opened)).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

fn suite_rows(source: &Path, name: &str) -> Result<Vec<Value>> {
    rows(&source.join(format!("{name}.jsonl.gz")))
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn encoded(name: &str, texts: &[&str], encoder: &Encoder) -> Result<Vec<Vec<f32>>> {
    let style = ProgressStyle::with_template("{msg:14} {bar:40} {pos}/{len} {eta}")?;
    let bar = ProgressBar::new(texts.len() as u64).with_style(style).with_message(name.to_owned());
    let mut vectors = Vec::with_capacity(texts.len());
    for batch in texts.chunks(BATCH) {
        vectors.extend(encoder.embed_batch(batch)?);
        bar.inc(batch.len() as u64);
    }
    bar.finish();
    Ok(vectors)
}

/// Which vetoes forbid the pair, and whether the gate lets either prompt not through.
fn forbidden(row: &Value) -> u8 {
    let (a, b) = (text(row, "text_a"), text(row, "text_b"));
    let gated = fit_text(a, true).is_err() || fit_text(b, true).is_err();
    bits(a, b) | if gated { GATE } else { 0 }
}

fn suite(rows: &[Value], encoder: &Encoder) -> Result<Suite> {
    let name = rows.first().map_or("", |row| text(row, "suite"));
    let all: Vec<&str> = rows.iter().flat_map(|row| [text(row, "text_a"), text(row, "text_b")]).collect();
    let vectors = encoded(name, &all, encoder)?;
    let mut names: BTreeMap<&str, u8> = rows.iter().map(|row| (text(row, "class"), 0)).collect();
    for (at, number) in names.values_mut().enumerate() {
        *number = u8::try_from(at)?;
    }
    let mut suite = Suite { classes: names.keys().map(|name| (*name).to_owned()).collect(), ..Suite::default() };
    for (row, pair) in rows.iter().zip(vectors.chunks(2)) {
        suite.class.push(names[text(row, "class")]);
        suite.cosine.push(pair[0].iter().zip(&pair[1]).map(|(x, y)| x * y).sum());
        suite.same.push(row["same"] == Value::Bool(true));
        suite.forbidden.push(forbidden(row));
    }
    Ok(suite)
}
