//! A set of outcomes in numbers: who was asked what, how good each model was, and what it cost.
//!
//! No prompt text: a prompt is its hash, its embedding, ten lexical counts and its length. Rows stand in the order
//! of their hashes, which is as good as shuffled and the same for whoever makes the table.

mod bundled;
pub mod import;
mod lexical;
mod rows;

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, Axis};
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

pub use bundled::quantise;
pub use lexical::{LEXICAL, lexical};
pub use rows::{Intake, LeftOut, Limits, RowsError, read_rows};

/// The hash that names a row: SHA-256 of the prompt after NFKC, lower case, white space collapsed and trimmed.
pub type RowId = [u8; 32];

/// One set of outcomes. All row-wise parts have the same length, rows in `ids` order.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Name of the set.
    pub set: String,
    /// Names of the rows, ascending.
    pub ids: Vec<RowId>,
    /// Names of the groups (tasks, subjects), sorted.
    pub groups: Vec<String>,
    /// Each row's group as an index into `groups`; `None` where the source names none.
    pub group: Vec<Option<u16>>,
    /// Unit embeddings of the prompts, `[n, 384]`.
    pub vectors: Array2<f32>,
    /// The ten counts of [`lexical()`], `[n, 10]`.
    pub lexical: Array2<f32>,
    /// Unicode scalar values of each prompt.
    pub chars: Vec<u32>,
    /// Names of the models, sorted.
    pub models: Vec<String>,
    /// Quality of each model's answer, 0..1, `[n, K]`.
    pub score: Array2<f32>,
    /// US dollars of each answer, `[n, K]`; NaN = unknown. `None` where the source knows none at all.
    pub cost: Option<Array2<f32>>,
    /// Tokens of each prompt as each model counts them, `[n, K]`; -1 = unknown.
    pub tokens_in: Option<Array2<i32>>,
    /// Tokens of each answer, `[n, K]`; -1 = unknown.
    pub tokens_out: Option<Array2<i32>>,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Where a table came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Repository or page.
    pub source: String,
    /// Revision of the source.
    pub commit: String,
    /// Licence of the outcomes.
    pub licence: String,
    /// SHA-256 (hex) of the rows the table was made from.
    pub rows_sha256: String,
}

/// Why bytes are not a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The container cannot be read.
    #[error("not a safetensors file: {0}; fetch the table again or re-make it with the `tables` example")]
    Container(#[from] safetensors::SafeTensorError),
    /// A tensor is absent or of another type or shape.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Its name.
        name: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
    /// A metadata entry is absent or cannot be read.
    #[error("metadata `{name}`: {problem}")]
    Metadata {
        /// Its name.
        name: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
    /// A row breaks a rule.
    #[error("row {row}: {problem}")]
    Row {
        /// Its place, from 0.
        row: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl Table {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether routing is between a weak and a strong model without costs: the axis is then the share of strong calls.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        self.cost.is_none() && self.models.len() == 2
    }

    /// Name of a row's group, if it has one.
    #[must_use]
    pub fn group_name(&self, row: usize) -> Option<&str> {
        self.group[row].map(|g| self.groups[usize::from(g)].as_str())
    }

    /// Rows of each group, by group index; rows without a group are in none.
    #[must_use]
    pub fn by_group(&self) -> BTreeMap<u16, Vec<usize>> {
        let mut map: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (row, group) in self.group.iter().enumerate() {
            if let Some(group) = group {
                map.entry(*group).or_default().push(row);
            }
        }
        map
    }

    /// The embedding of one row.
    #[must_use]
    pub fn vector(&self, row: usize) -> ArrayView1<'_, f32> {
        self.vectors.row(row)
    }

    /// Whether every outcome has a known cost.
    #[must_use]
    pub fn costs_are_complete(&self) -> bool {
        self.cost.as_ref().is_some_and(|cost| cost.iter().all(|c| c.is_finite()))
    }

    /// These rows alone, which must be in ascending order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let floats = |matrix: &Array2<f32>| matrix.select(Axis(0), rows);
        let integers = |matrix: &Array2<i32>| matrix.select(Axis(0), rows);
        Self {
            set: self.set.clone(),
            ids: rows.iter().map(|row| self.ids[*row]).collect(),
            groups: self.groups.clone(),
            group: rows.iter().map(|row| self.group[*row]).collect(),
            vectors: floats(&self.vectors),
            lexical: floats(&self.lexical),
            chars: rows.iter().map(|row| self.chars[*row]).collect(),
            models: self.models.clone(),
            score: floats(&self.score),
            cost: self.cost.as_ref().map(floats),
            tokens_in: self.tokens_in.as_ref().map(integers),
            tokens_out: self.tokens_out.as_ref().map(integers),
            provenance: self.provenance.clone(),
        }
    }

    /// A table whose costs are all known or all unknown, and what was done for it. Rows with an unknown cost are left out
    /// while most rows have all of them; else the costs are, and only scores are judged.
    #[must_use]
    pub fn settled(mut self) -> (Self, Option<String>) {
        let Some(cost) = self.cost.as_ref().filter(|_| !self.costs_are_complete()) else { return (self, None) };
        let known: Vec<usize> = (0..self.len()).filter(|row| cost.row(*row).iter().all(|c| c.is_finite())).collect();
        if known.len() >= 10 && 2 * known.len() >= self.len() {
            let note = format!("{} rows left out: a cost is unknown", self.len() - known.len());
            return (self.select(&known), Some(note));
        }
        let note = format!("{} of {} rows know all costs: scores alone are judged", known.len(), self.len());
        self.cost = None;
        (self, Some(note))
    }

    /// The digest of everything a result depends on: names, vectors, outcomes.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.set.as_bytes());
        self.ids.iter().for_each(|id| hasher.update(id));
        for model in &self.models {
            hasher.update(model.as_bytes());
        }
        let numbers = self.vectors.iter().chain(&self.lexical).chain(&self.score).chain(self.cost.iter().flatten());
        numbers.for_each(|x| hasher.update(x.to_le_bytes()));
        hex(&hasher.finalize()[..8])
    }
}

/// The name of a prompt's row.
#[must_use]
pub fn row_id(prompt: &str) -> RowId {
    let folded = prompt.nfkc().collect::<String>().to_lowercase();
    let mut hasher = Sha256::new();
    for (i, word) in folded.split_whitespace().enumerate() {
        if i > 0 {
            hasher.update(b" ");
        }
        hasher.update(word.as_bytes());
    }
    hasher.finalize().into()
}

/// Lower-case hexadecimal digits of these bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
