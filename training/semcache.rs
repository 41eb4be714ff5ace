//! Makes the numeric form of the cache's streams and suites: `cargo run --example semcache -- SOURCE datasets/semcache`.
//!
//! SOURCE has `qqp-stream.jsonl.gz` (`{"text", "component"}` a line) and suites of pairs (`{"suite", "class", "text_a",
//! "text_b", "same"}`). What is written holds classes, cosines, verdicts and veto flags, and no text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use flate2::read::MultiGzDecoder;
use pointsman::cache::semantic::gate::fit_text;
use pointsman::cli::datasets;
use pointsman::embed::Encoder;
use pointsman::eval::reuse::{GATE, Neighbours, Suite, Suites, bits};
use serde_json::Value;

const SUITES: [&str; 6] = ["checklist", "banking94", "finance-traps", "general-traps", "gptcache-mock", "qqp-pairs"];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(source), Some(to)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: semcache SOURCE TO");
    };
    let encoder = datasets::encoder().map_err(|error| anyhow!("{error}"))?;
    std::fs::create_dir_all(&to)?;
    let mut suites = Suites::default();
    for name in SUITES {
        let rows = rows(&source.join(format!("{name}.jsonl.gz")))?;
        suites.0.insert(name.to_owned(), suite(&rows, &encoder)?);
    }
    std::fs::write(to.join("suites.safetensors"), suites.to_bytes().map_err(|error| anyhow!(error))?)?;
    let rows = rows(&source.join("qqp-stream.jsonl.gz"))?;
    let texts: Vec<&str> = rows.iter().map(|row| text(row, "text")).collect();
    let classes: Vec<String> = rows.iter().map(|row| row["component"].to_string()).collect();
    let stream = Neighbours::of(&texts, &classes, &encoder.embed_batch(&texts)?);
    std::fs::write(to.join("stream.safetensors"), stream.to_bytes().map_err(|error| anyhow!(error))?)?;
    Ok(())
}

fn rows(file: &Path) -> Result<Vec<Value>> {
    let opened = File::open(file).with_context(|| file.display().to_string())?;
    let lines = BufReader::new(MultiGzDecoder::new(opened)).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn suite(rows: &[Value], encoder: &Encoder) -> Result<Suite> {
    let all: Vec<&str> = rows.iter().flat_map(|row| [text(row, "text_a"), text(row, "text_b")]).collect();
    let vectors = encoder.embed_batch(&all)?;
    let mut names: BTreeMap<&str, u8> = rows.iter().map(|row| (text(row, "class"), 0)).collect();
    for (at, number) in names.values_mut().enumerate() {
        *number = u8::try_from(at)?;
    }
    let mut suite = Suite { classes: names.keys().map(|name| (*name).to_owned()).collect(), ..Suite::default() };
    for (row, pair) in rows.iter().zip(vectors.chunks(2)) {
        let (a, b) = (text(row, "text_a"), text(row, "text_b"));
        let gated = fit_text(a, true).is_err() || fit_text(b, true).is_err();
        suite.class.push(names[text(row, "class")]);
        suite.cosine.push(pair[0].iter().zip(&pair[1]).map(|(x, y)| x * y).sum());
        suite.same.push(row["same"] == Value::Bool(true));
        suite.forbidden.push(bits(a, b) | if gated { GATE } else { 0 });
    }
    Ok(suite)
}
