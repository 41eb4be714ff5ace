//! The common row form: one JSON object a line, read as a stream.
//!
//! A row that breaks a rule is left out, with its line number and what was wrong; it never stops the reading and is
//! never mended by guessing. Memory is bounded whatever the length of the file: of more rows than are asked for, those
//! with the least hash are kept, which is a fair sample and the same one each time.

use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::io::{self, BufRead, Read as _};

use ndarray::Array2;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{LEXICAL, Provenance, RowId, Table, hex, lexical, row_id};
use crate::embed::DIMENSIONS;

/// Bytes of the longest line that is read.
const LONGEST_LINE: u64 = 16 << 20;
/// Rows of a file at most.
const MOST_ROWS: usize = 1_000_000;
/// Rows of a file at least.
const FEWEST_ROWS: usize = 10;
/// Models of a file: at least and at most.
const MODELS: std::ops::RangeInclusive<usize> = 2..=50;
/// Complaints of one kind that keep their line numbers.
const LINES_KEPT: usize = 5;

/// How much of a file is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows kept at most; of more, a sample by hash.
    pub keep: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keep: 12_000 }
    }
}

/// Rows left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What was wrong, in the words of the first such row.
    pub reason: String,
    /// How many rows.
    pub count: usize,
    /// The first few line numbers, from 1.
    pub lines: Vec<usize>,
}

/// Why a file is no set of rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file cannot be read.
    #[error("line {line}: cannot be read: {source}")]
    Read {
        /// Where reading stopped.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// Too few sound rows.
    #[error("expected at least {FEWEST_ROWS} sound rows, got {kept}{}", list(.left_out))]
    TooFew {
        /// Sound rows found.
        kept: usize,
        /// What was wrong with the others.
        left_out: Vec<LeftOut>,
    },
    /// Too many rows.
    #[error("line {line}: more than {MOST_ROWS} rows; split the file")]
    TooMany {
        /// The first line too many.
        line: usize,
    },
    /// Too few or too many models.
    #[error("line {line}: expected {} to {} models in `outcomes`, got {models}", MODELS.start(), MODELS.end())]
    Models {
        /// The first sound row.
        line: usize,
        /// How many models it has.
        models: usize,
    },
}

fn list(left_out: &[LeftOut]) -> String {
    left_out.iter().map(|out| format!("\n  {out}")).collect()
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        let more = if self.count > self.lines.len() { ", ..." } else { "" };
        let rows = if self.count == 1 { "row" } else { "rows" };
        write!(f, "{} {rows} left out: {} (line {}{more})", self.count, self.reason, lines.join(", "))
    }
}

/// What was read of a file: rows that still need their vectors, and what was left out.
#[derive(Debug)]
pub struct Intake {
    /// Name of the set, from its first row.
    pub set: String,
    /// Names of the models, sorted.
    pub models: Vec<String>,
    /// Sound rows found; more than `prompts` if a sample was taken.
    pub found: usize,
    /// What was left out, most frequent first.
    pub left_out: Vec<LeftOut>,
    /// SHA-256 (hex) of the bytes read.
    pub sha256: String,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey([u8; 8], RowId);

#[derive(Debug)]
struct Row {
    key: RowKey,
    group: Option<String>,
    prompt: String,
    outcomes: Vec<Outcome>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Row {}
impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[derive(Deserialize)]
struct RawRow {
    id: Option<String>,
    set: Option<String>,
    group: Option<String>,
    prompt: Option<String>,
    outcomes: Option<BTreeMap<String, Outcome>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Outcome {
    score: Option<f64>,
    cost_usd: Option<f64>,
    tokens_in: Option<i32>,
    tokens_out: Option<i32>,
}

/// Reads rows of the common form.
///
/// # Errors
/// [`RowsError`] if the file cannot be read at all, has too few or too many sound rows, or too few or too many models.
pub fn read_rows(mut reader: impl BufRead, limits: Limits) -> Result<Intake, RowsError> {
    let mut complaints: BTreeMap<&'static str, LeftOut> = BTreeMap::new();
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    let mut kept: BinaryHeap<Row> = BinaryHeap::new();
    let (mut set, mut models): (Option<String>, Vec<String>) = (None, Vec::new());
    let mut hasher = Sha256::new();
    let mut found = 0;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.map_err(|source| RowsError::Read { line: number, source })? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            let source = io::Error::other(format!("longer than {LONGEST_LINE} bytes"));
            return Err(RowsError::Read { line: number, source });
        }
        hasher.update(&line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match sound(&line, &models) {
            Ok(sound) => {
                let mut short = [0; 16];
                short.copy_from_slice(&sound.id[..16]);
                if !seen.insert(short) {
                    complain(&mut complaints, number, "id", format!("id {} stands there already", hex(&sound.id[..4])));
                    continue;
                }
                if models.is_empty() {
                    if !MODELS.contains(&sound.models.len()) {
                        return Err(RowsError::Models { line: number, models: sound.models.len() });
                    }
                    models = sound.models;
                    set = sound.set;
                }
                found += 1;
                if found > MOST_ROWS {
                    return Err(RowsError::TooMany { line: number });
                }
                let mut draw = [0; 8];
                draw.copy_from_slice(&Sha256::digest(format!("sample:{}", hex(&sound.id)))[..8]);
                let key = RowKey(draw, sound.id);
                kept.push(Row { key, group: sound.group, prompt: sound.prompt, outcomes: sound.outcomes });
                if kept.len() > limits.keep {
                    kept.pop();
                }
            }
            Err((kind, reason)) => complain(&mut complaints, number, kind, reason),
        }
    }
    let mut left_out: Vec<LeftOut> = complaints.into_values().collect();
    left_out.sort_by_key(|out| std::cmp::Reverse(out.count));
    if found < FEWEST_ROWS {
        return Err(RowsError::TooFew { kept: found, left_out });
    }
    let mut rows = kept.into_vec();
    rows.sort_by_key(|row| row.key.1);
    let sha256 = hex(&hasher.finalize());
    Ok(Intake { set: set.unwrap_or_else(|| "rows".to_owned()), models, found, left_out, sha256, rows })
}

fn complain(into: &mut BTreeMap<&'static str, LeftOut>, line: usize, kind: &'static str, reason: String) {
    let out = into.entry(kind).or_insert_with(|| LeftOut { reason, count: 0, lines: Vec::new() });
    out.count += 1;
    if out.lines.len() < LINES_KEPT {
        out.lines.push(line);
    }
}

struct Sound {
    id: RowId,
    set: Option<String>,
    group: Option<String>,
    prompt: String,
    models: Vec<String>,
    outcomes: Vec<Outcome>,
}

/// The row if it is sound, else the kind of fault and the words for it. `models` is empty before the first sound row.
fn sound(line: &[u8], models: &[String]) -> Result<Sound, (&'static str, String)> {
    let raw: RawRow = serde_json::from_slice(line).map_err(|e| {
        let text = String::from_utf8_lossy(line);
        if text.contains("NaN") || text.contains("Infinity") {
            ("nan", "a value is not a number (NaN or Infinity)".to_owned())
        } else {
            ("json", format!("not a row of the common form: {e}"))
        }
    })?;
    let prompt = raw.prompt.filter(|p| !p.trim().is_empty()).ok_or(("prompt", "`prompt` is missing".to_owned()))?;
    let outcomes = raw.outcomes.ok_or(("outcomes", "`outcomes` is missing".to_owned()))?;
    if let Some(strange) = outcomes.keys().find(|name| !models.is_empty() && !models.contains(name)) {
        return Err(("new model", format!("model `{strange}` appears half-way: the first row does not have it")));
    }
    if let Some(absent) = models.iter().find(|name| !outcomes.contains_key(*name)) {
        return Err(("absent model", format!("model `{absent}` is missing: every row needs the same models")));
    }
    for (name, outcome) in &outcomes {
        match outcome.score {
            None => return Err(("score", format!("`score` of `{name}` is missing"))),
            Some(s) if !(0.0..=1.0).contains(&s) => {
                return Err(("score range", format!("`score` of `{name}`: expected 0 to 1, got {s}")));
            }
            Some(_) => {}
        }
        if let Some(cost) = outcome.cost_usd.filter(|c| !(0.0..f64::from(f32::MAX)).contains(c)) {
            return Err(("cost", format!("`cost_usd` of `{name}`: expected 0 or more, got {cost}")));
        }
    }
    let id = raw.id.as_deref().map_or_else(|| row_id(&prompt), named);
    let (models, outcomes) = outcomes.into_iter().unzip();
    Ok(Sound { id, set: raw.set, group: raw.group, prompt, models, outcomes })
}

/// A name of 64 hexadecimal digits as it is; any other name by its hash.
fn named(name: &str) -> RowId {
    let mut id = [0; 32];
    let digits = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits {
        return Sha256::digest(name.as_bytes()).into();
    }
    for (byte, pair) in id.iter_mut().zip(name.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| (b as char).to_digit(16).unwrap_or_default() as u8;
        *byte = 16 * digit(pair[0]) + digit(pair[1]);
    }
    id
}

impl Intake {
    /// The prompts of the rows that are kept, in the table's order.
    #[must_use]
    pub fn prompts(&self) -> Vec<&str> {
        self.rows.iter().map(|row| row.prompt.as_str()).collect()
    }

    /// Names of the rows that are kept, in the table's order.
    #[must_use]
    pub fn ids(&self) -> Vec<RowId> {
        self.rows.iter().map(|row| row.key.1).collect()
    }

    /// The table of these rows, given one vector a prompt, in the order of [`Intake::prompts`].
    ///
    /// # Panics
    /// If there are not as many vectors as prompts or one has another length than the encoder's.
    #[must_use]
    pub fn into_table(self, vectors: &[Vec<f32>], provenance: Provenance) -> Table {
        let (n, k) = (self.rows.len(), self.models.len());
        assert_eq!(vectors.len(), n, "one vector a prompt");
        let mut groups: Vec<String> = self.rows.iter().filter_map(|row| row.group.clone()).collect();
        groups.sort_unstable();
        groups.dedup();
        let place = |name: &String| groups.binary_search(name).ok().and_then(|g| u16::try_from(g).ok());
        let cell = |row: usize, model: usize| self.rows[row].outcomes[model];
        let known = |any: &dyn Fn(&Outcome) -> bool| self.rows.iter().any(|row| row.outcomes.iter().any(any));
        let tokens = |of: &dyn Fn(&Outcome) -> Option<i32>| {
            known(&|o| of(o).is_some())
                .then(|| Array2::from_shape_fn((n, k), |(row, model)| of(&cell(row, model)).unwrap_or(-1)))
        };
        let counts: Vec<[f32; LEXICAL]> = self.rows.iter().map(|row| lexical(&row.prompt)).collect();
        Table {
            ids: self.ids(),
            group: self.rows.iter().map(|row| row.group.as_ref().and_then(place)).collect(),
            vectors: Array2::from_shape_fn((n, DIMENSIONS), |(row, d)| vectors[row][d]),
            lexical: Array2::from_shape_fn((n, LEXICAL), |(row, d)| counts[row][d]),
            chars: self.rows.iter().map(|row| row.prompt.chars().count() as u32).collect(),
            score: Array2::from_shape_fn((n, k), |(row, model)| cell(row, model).score.unwrap_or_default() as f32),
            cost: known(&|o| o.cost_usd.is_some()).then(|| {
                Array2::from_shape_fn((n, k), |(row, model)| cell(row, model).cost_usd.map_or(f32::NAN, |c| c as f32))
            }),
            tokens_in: tokens(&|o| o.tokens_in),
            tokens_out: tokens(&|o| o.tokens_out),
            provenance: Provenance { rows_sha256: self.sha256, ..provenance },
            set: self.set,
            groups,
            models: self.models,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(i: usize) -> String {
        format!(
            r#"{{"set":"s","group":"g{}","prompt":"prompt {i}","outcomes":{{"a":{{"score":0.5,"cost_usd":0.1}},"b":{{"score":1}}}}}}"#,
            i % 2
        )
    }

    fn read(lines: &[String], keep: usize) -> Result<Intake, RowsError> {
        read_rows(lines.join("\n").as_bytes(), Limits { keep })
    }

    #[test]
    fn bad_rows_are_left_out_with_their_line_and_the_reason() {
        let mut lines: Vec<String> = (0..12).map(row).collect();
        lines[1] = lines[1].replace("0.5", "NaN");
        lines[2] = lines[2].replace("0.5", "1.5");
        lines[3] = lines[0].clone();
        lines[4] = lines[4].replace("\"b\"", "\"c\"");
        lines.extend((12..20).map(row));
        let intake = read(&lines, 100).expect("enough sound rows");
        assert_eq!((intake.found, intake.models), (16, vec!["a".to_owned(), "b".to_owned()]));
        let said: Vec<String> = intake.left_out.iter().map(ToString::to_string).collect();
        let all = said.join("\n");
        for part in [
            "NaN or Infinity) (line 2)",
            "expected 0 to 1, got 1.5 (line 3)",
            "stands there already (line 4)",
            "model `c` appears half-way: the first row does not have it (line 5)",
        ] {
            assert!(all.contains(part), "{part} in:\n{all}");
        }
    }

    #[test]
    fn too_few_rows_and_too_many_models_are_refused_in_words() {
        let few = read(&(0..9).map(row).collect::<Vec<_>>(), 100).expect_err("nine rows");
        assert_eq!(few.to_string(), "expected at least 10 sound rows, got 9");
        let outcomes: Vec<String> = (0..51).map(|m| format!(r#""m{m}":{{"score":1}}"#)).collect();
        let wide = format!(r#"{{"prompt":"p","outcomes":{{{}}}}}"#, outcomes.join(","));
        let many = read(&[wide], 100).expect_err("51 models");
        assert_eq!(many.to_string(), "line 1: expected 2 to 50 models in `outcomes`, got 51");
    }

    #[test]
    fn of_a_long_file_the_same_sample_is_kept_whatever_the_order() {
        let lines: Vec<String> = (0..200).map(row).collect();
        let backwards: Vec<String> = lines.iter().rev().cloned().collect();
        let (a, b) = (read(&lines, 20).expect("rows"), read(&backwards, 20).expect("rows"));
        assert_eq!((a.found, a.ids().len()), (200, 20));
        assert_eq!(a.ids(), b.ids());
    }

    #[test]
    fn a_table_of_rows_survives_the_bundled_form_and_says_what_is_unknown() {
        let intake = read(&(0..12).map(row).collect::<Vec<_>>(), 100).expect("rows");
        let vectors: Vec<Vec<f32>> =
            intake.prompts().iter().map(|p| crate::embed::hashing::embed(p).vector.to_vec()).collect();
        let table = intake.into_table(&vectors, Provenance::default());
        let back = Table::from_bytes(&table.to_bytes().expect("bytes")).expect("a table");
        assert_eq!(
            (&back.ids, &back.models, &back.group, &back.score),
            (&table.ids, &table.models, &table.group, &table.score)
        );
        for (a, b) in back.vectors.iter().zip(&table.vectors) {
            assert!((a - b).abs() <= 0.5 / 127.0, "{a} {b}");
        }
        assert!(back.cost.as_ref().is_some_and(|cost| cost[[0, 1]].is_nan() && cost[[0, 0]] == 0.1));
        let (settled, note) = back.settled();
        assert!(settled.cost.is_none() && note.is_some_and(|note| note.contains("scores alone are judged")));
    }

    #[test]
    fn a_table_that_was_cut_or_mixed_up_is_refused() {
        let intake = read(&(0..12).map(row).collect::<Vec<_>>(), 100).expect("rows");
        let vectors = vec![vec![0.05; DIMENSIONS]; 12];
        let mut table = intake.into_table(&vectors, Provenance::default());
        let bytes = table.to_bytes().expect("bytes");
        assert!(Table::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(Table::from_bytes(b"").is_err());
        table.ids.swap(0, 1);
        assert!(table.to_bytes().expect_err("out of order").to_string().contains("ascending"));
    }
}
