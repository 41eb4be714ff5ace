//! The project's own prompts: what the heads learn from and the demonstration sends.
//!
//! One JSON object a line. A prompt's name is a hash of its text, and the hash says which side it is on, so that
//! a text can never be on both and nobody chooses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::artefact::sha256;

/// The prompts as they come with this version.
const PROMPTS: &str = include_str!("../../datasets/prompts/prompts.jsonl");

/// How hard a prompt is for a language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difficulty {
    /// Any small model answers it well.
    Easy,
    /// It takes care, several steps or several constraints.
    Medium,
    /// It takes an expert's knowledge or long reasoning.
    Hard,
}

/// What a prompt may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Fitting.
    Train,
    /// Measuring only.
    Heldout,
}

/// A prompt and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// [`id`] of the text.
    pub id: String,
    /// What is wanted.
    pub intent: String,
    /// How hard it is.
    pub difficulty: Difficulty,
    /// ISO 639-1 code of the language it is written in.
    pub language: String,
    /// [`split`] of the id.
    pub split: Split,
    /// The text.
    pub prompt: String,
}

/// SHA-256 of the normalised text (NFKC, lower case, runs of white space to one space, trimmed), in hexadecimal digits.
#[must_use]
pub fn id(text: &str) -> String {
    let lower = text.nfkc().collect::<String>().to_lowercase();
    sha256(lower.split_whitespace().collect::<Vec<_>>().join(" ").as_bytes())
}

/// The side of a prompt: a fifth of all hashes is held out.
#[must_use]
pub fn split(id: &str) -> Split {
    let start = id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(u32::MAX);
    if u64::from(start) * 5 < 1 << 32 { Split::Heldout } else { Split::Train }
}

/// Reads prompts from JSON lines.
///
/// # Errors
/// The number of the first line that is no prompt, and why.
pub fn read(lines: &str) -> Result<Vec<Prompt>, String> {
    let prompt = |(at, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1));
    lines.lines().enumerate().map(prompt).collect()
}

/// The prompts that come with this version, in the order of their ids.
///
/// # Panics
/// Never in a build that passed its tests: the file is part of the binary, and a test reads it.
#[must_use]
pub fn bundled() -> Vec<Prompt> {
    read(PROMPTS).expect("the bundled prompts are read by a test")
}

/// How many prompts there are by intent and difficulty, by language and by side, as Markdown tables.
#[must_use]
pub fn counts(prompts: &[Prompt]) -> String {
    let mut intents: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut languages: BTreeMap<&str, usize> = BTreeMap::new();
    let mut total = [0; 4];
    for prompt in prompts {
        let place = prompt.difficulty as usize;
        let held = usize::from(prompt.split == Split::Heldout);
        let row = intents.entry(&prompt.intent).or_default();
        for row in [row, &mut total] {
            row[place] += 1;
            row[3] += held;
        }
        *languages.entry(&prompt.language).or_default() += 1;
    }
    let mut text = "| intent | easy | medium | hard | all | held out |\n|---|---|---|---|---|---|\n".to_owned();
    for (name, [easy, medium, hard, held]) in intents.into_iter().chain([("**all**", total)]) {
        let all = easy + medium + hard;
        let _ = writeln!(text, "| {name} | {easy} | {medium} | {hard} | {all} | {held} |");
    }
    let mut languages: Vec<_> = languages.into_iter().collect();
    languages.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    let languages: Vec<String> = languages.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let _ = writeln!(text, "\nLanguages (ISO 639-1): {}.", languages.join(", "));
    text
}
