//! Whether two answers say the same, as far as that can be told without asking anybody.
//!
//! Sure where the answers are equal, or are data (JSON, a number): then a difference is sure as well. Where a question
//! has but a few possible answers, two are equal by chance, and that they are equal teaches nothing. Free text that is
//! not equal is left to whoever can compare meanings: [`by_vectors`] does so by the cosine of the two answers.

use serde::{Deserialize, Serialize};

use crate::cache::canonical;

/// What was found of a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It would have been right.
    Right,
    /// It would have been wrong.
    Wrong,
    /// Nobody can say. Teaches nothing, and counts as wrong in what is promised.
    Unclear,
}

/// From this cosine on, two answers in words say the same.
const ALIKE: f64 = 0.9;
/// Below this one they do not.
const UNLIKE: f64 = 0.7;
/// Answers up to so many letters and digits are of few possible ones.
const FEW: usize = 3;

/// The verdict that the two answers alone allow; `None` if it takes more than that.
#[must_use]
pub fn surely(stored: &str, fresh: &str) -> Option<Verdict> {
    let (one, other) = (plain(stored), plain(fresh));
    if one == other {
        let few = one.chars().filter(|c| c.is_alphanumeric()).count() <= FEW || CLOSED.contains(&one.as_str());
        return Some(if few { Verdict::Unclear } else { Verdict::Right });
    }
    if let (Some(one), Some(other)) = (data(stored), data(fresh)) {
        return Some(if one == other { Verdict::Right } else { Verdict::Wrong });
    }
    if CLOSED.contains(&one.as_str()) && CLOSED.contains(&other.as_str()) {
        return Some(Verdict::Wrong);
    }
    // Words about different numbers differ, however alike they sound.
    (numbers(&one) != numbers(&other)).then_some(Verdict::Wrong).filter(|_| one.len().max(other.len()) <= 200)
}

/// The verdict from the cosine of the answers' vectors.
#[must_use]
pub fn by_vectors(cosine: f64) -> Verdict {
    if cosine >= ALIKE {
        Verdict::Right
    } else if cosine < UNLIKE {
        Verdict::Wrong
    } else {
        Verdict::Unclear
    }
}

/// Answers of which a question has but few.
const CLOSED: [&str; 8] = ["yes", "no", "true", "false", "none", "correct", "incorrect", "maybe"];

/// Lower case, one space between words, no full stop at the end, no fence around.
fn plain(text: &str) -> String {
    let text = unfenced(text).to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches(['.', '!']).to_owned()
}

fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.and_then(|inner| inner.split_once('\n')).map_or(text, |(_, inner)| inner)
}

/// JSON that is more than words, or a number; by value.
fn data(text: &str) -> Option<canonical::Node<'_>> {
    let node = canonical::parse(unfenced(text).as_bytes())?;
    matches!(node, canonical::Node::Map(_) | canonical::Node::List(_) | canonical::Node::Number(_)).then_some(node)
}

fn numbers(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|n| n.trim_matches('.'))
        .filter(|n| !n.is_empty())
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_or_data_is_sure_and_chance_is_no_verdict() {
        for (stored, fresh, verdict) in [
            ("The capital is Paris.", " the  capital is\nParis", Some(Verdict::Right)),
            ("{\"a\": 1.0, \"b\": [2]}", "```json\n{\"b\":[2],\"a\":1}\n```", Some(Verdict::Right)),
            ("{\"a\": 1}", "{\"a\": 2}", Some(Verdict::Wrong)),
            ("42", "42.0", Some(Verdict::Right)),
            ("42", "43", Some(Verdict::Wrong)),
            ("Yes.", "yes", Some(Verdict::Unclear)),
            ("Yes", "No", Some(Verdict::Wrong)),
            ("B", "b", Some(Verdict::Unclear)),
            ("It takes 3 days", "It takes 5 days", Some(Verdict::Wrong)),
            ("The sky is blue because of scattering", "Scattering makes the sky blue", None),
        ] {
            assert_eq!(surely(stored, fresh), verdict, "{stored:?} {fresh:?}");
        }
        assert_eq!([0.95, 0.8, 0.5].map(by_vectors), [Verdict::Right, Verdict::Unclear, Verdict::Wrong]);
    }
}
