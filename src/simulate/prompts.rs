//! The bundled prompts, and a guess at what any other text asks for.

use std::collections::HashMap;
use std::sync::LazyLock;

pub use crate::features::prompts::{Difficulty, Prompt};

/// What models are good or bad at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Writing and mending programs, queries and tables.
    Code,
    /// Calculation, proof, logic.
    Maths,
    /// Working on a given text: translating, shortening, sorting, rewriting.
    Text,
    /// Talking, advising, making things up.
    Talk,
    /// Knowing and explaining.
    Facts,
}

/// The bundled prompts. The router never sees their labels.
#[must_use]
pub fn bundled() -> &'static [Prompt] {
    static BUNDLED: LazyLock<Vec<Prompt>> = LazyLock::new(crate::features::prompts::bundled);
    &BUNDLED
}

/// What this text asks for, and how hard it is: as labelled if it is a bundled prompt, by its words if not.
pub(super) fn read(text: &str) -> (Domain, Difficulty) {
    static LABELS: LazyLock<HashMap<&'static str, (Domain, Difficulty)>> = LazyLock::new(|| {
        bundled().iter().map(|prompt| (prompt.prompt.as_str(), (domain(&prompt.intent), prompt.difficulty))).collect()
    });
    LABELS.get(text).copied().unwrap_or_else(|| guess(text))
}

fn domain(intent: &str) -> Domain {
    match intent {
        "code" | "debugging" | "data" => Domain::Code,
        "maths" | "reasoning" => Domain::Maths,
        "translation" | "rewriting" | "summarising" | "extraction" | "classification" => Domain::Text,
        "creative" | "chat" | "advice" | "sensitive" => Domain::Talk,
        _ => Domain::Facts,
    }
}

/// By words that give a text away; the first that fits. Longer texts are taken to be harder.
fn guess(text: &str) -> (Domain, Difficulty) {
    const WORDS: [(Domain, &[&str]); 4] = [
        (Domain::Code, &["```", "code", "function", "python", "rust", "sql", "bug", "compile", "json", "regex"]),
        (Domain::Maths, &["prove", "solve", "calculate", "equation", "probability", "how many", "logic", "integral"]),
        (Domain::Text, &["translate", "summarise", "summarize", "rewrite", "extract", "classify", "shorten"]),
        (Domain::Talk, &["write a", "story", "poem", "hello", "thanks", "advice", "should i", "how are you"]),
    ];
    let lower = text.to_lowercase();
    let domain = WORDS.iter().find(|(_, words)| words.iter().any(|word| lower.contains(word)));
    let difficulty = match text.chars().count() {
        0..=80 => Difficulty::Easy,
        81..=400 => Difficulty::Medium,
        _ => Difficulty::Hard,
    };
    (domain.map_or(Domain::Facts, |(domain, _)| *domain), difficulty)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_enough_prompts_and_none_twice() {
        let texts: BTreeSet<_> = bundled().iter().map(|prompt| &prompt.prompt).collect();
        assert!(texts.len() >= 600 && texts.len() == bundled().len(), "{} of {}", texts.len(), bundled().len());
    }

    #[test]
    fn a_bundled_prompt_is_read_by_its_label_and_any_other_by_its_words() {
        let hard = bundled().iter().find(|prompt| prompt.difficulty == Difficulty::Hard).expect("there are hard ones");
        assert_eq!(read(&hard.prompt), (domain(&hard.intent), Difficulty::Hard));
        assert_eq!(read("Write a function that reverses a list."), (Domain::Code, Difficulty::Easy));
        assert_eq!(read("Translate: guten Morgen"), (Domain::Text, Difficulty::Easy));
        assert_eq!(read("Who was Ada Lovelace?"), (Domain::Facts, Difficulty::Easy));
    }
}
