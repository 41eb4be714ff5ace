//! Makes the bundled tables from source rows: `cargo run --release --example tables -- ROWS DATASETS [SET ...]`.
//!
//! ROWS has a folder a set with `rows.jsonl.gz` and a `README.md` that names the source (its line `- **From** ... at
//! COMMIT`) and the licence (`- **Licence** ...`). DATASETS gets SET/SET.safetensors and SET/README.md, and the checksums
//! of all. No prompt text is written.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pointsman::cli::datasets;
use pointsman::eval::table::{Limits, Provenance, hex};
use sha2::{Digest as _, Sha256};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rows = PathBuf::from(arguments.next().context("usage: tables ROWS DATASETS [SET ...]")?);
    let to = PathBuf::from(arguments.next().context("usage: tables ROWS DATASETS [SET ...]")?);
    let mut sets: Vec<String> = arguments.collect();
    if sets.is_empty() {
        sets = datasets::BUNDLED.iter().map(|set| set.name.to_owned()).collect();
    }
    let encoder = datasets::encoder().map_err(|e| anyhow::anyhow!("{e}"))?;
    for set in &sets {
        let folder = rows.join(set);
        let page =
            std::fs::read_to_string(folder.join("README.md")).with_context(|| format!("{set}: its README.md"))?;
        let file = folder.join("rows.jsonl.gz");
        let intake = datasets::rows_of(&file, Limits { keep: usize::MAX }).map_err(|e| anyhow::anyhow!("{e}"))?;
        anyhow::ensure!(intake.left_out.is_empty(), "{set}: {:?}", intake.left_out);
        let table =
            datasets::encoded(intake, &encoder, provenance(&page), &|_| ()).map_err(|e| anyhow::anyhow!("{e}"))?;
        let bytes = table.to_bytes()?;
        let into = to.join(set);
        std::fs::create_dir_all(&into)?;
        std::fs::write(into.join(format!("{set}.safetensors")), &bytes)?;
    }
    sums(&to)
}

/// The source and the licence, from the page of the rows.
fn provenance(page: &str) -> Provenance {
    let line = |mark: &str| {
        page.lines().find_map(|line| line.strip_prefix(&format!("- **{mark}** "))).unwrap_or_default().to_owned()
    };
    let from = line("From");
    let (source, rest) = from.split_once(" at `").unwrap_or((from.as_str(), ""));
    let commit = rest.split('`').next().unwrap_or_default().to_owned();
    let licence = line("Licence").split([' ', ';']).next().unwrap_or_default().to_owned();
    Provenance { source: source.to_owned(), commit, licence, rows_sha256: String::new() }
}

/// Writes the checksums of every table in the folder, as `sha256sum` does.
fn sums(folder: &Path) -> Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for set in datasets::BUNDLED {
        let name = format!("{0}/{0}.safetensors", set.name);
        if let Ok(bytes) = std::fs::read(folder.join(&name)) {
            lines.push(format!("{}  {name}\n", hex(&Sha256::digest(&bytes))));
        }
    }
    std::fs::write(folder.join("SHA256SUMS"), lines.concat())?;
    Ok(())
}
