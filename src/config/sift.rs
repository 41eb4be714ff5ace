//! Reading with all mistakes at once.
//!
//! Serde stops at the first mistake. Here each mistake is written down with its path, cut out of the tree, and
//! the rest is read again, until what is left can be read. What comes out is every mistake, and a value of all
//! that was right, on which the checks of meaning then work.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::Value;

use crate::base::Problem;

/// Everything readable in the file, and everything that is not.
///
/// `None` comes with a text that is not TOML at all, or whose mistake cannot be cut out.
pub(super) fn sift<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Problem>) {
    let mut tree = match toml::from_str::<toml::Table>(text) {
        Ok(table) => Value::Table(table),
        Err(error) => return (None, vec![not_toml(text, &error)]),
    };
    let mut problems = Vec::new();
    loop {
        match serde_path_to_error::deserialize::<_, T>(tree.clone()) {
            Ok(value) => return (Some(value), problems),
            Err(error) => {
                let steps: Vec<Step> = error.path().iter().filter_map(step).collect();
                problems.push(problem(&steps, error.inner().message()));
                if !cut(&mut tree, &steps) {
                    return (None, problems);
                }
            }
        }
    }
}

/// One step down the tree.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Map { key } | Segment::Enum { variant: key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Unknown => None,
    }
}

/// Removes what stands at the end of the path, or the nearest thing above it that is there. `false`: nothing is.
fn cut(tree: &mut Value, steps: &[Step]) -> bool {
    (1..=steps.len()).rev().any(|length| remove(tree, &steps[..length]))
}

/// Removes what stands exactly there. An element of a list stays, emptied, so that the numbers of its neighbours
/// stay what the reader sees; it goes only if it was empty before.
fn remove(tree: &mut Value, steps: &[Step]) -> bool {
    let Some((last, above)) = steps.split_last() else { return false };
    let place = above.iter().try_fold(tree, |place, step| match (step, place) {
        (Step::Key(key), Value::Table(table)) => table.get_mut(key),
        (Step::Index(index), Value::Array(list)) => list.get_mut(*index),
        _ => None,
    });
    match (last, place) {
        (Step::Key(key), Some(Value::Table(table))) => table.remove(key).is_some(),
        (Step::Index(index), Some(Value::Array(list))) if *index < list.len() => {
            let empty = Value::Table(toml::Table::new());
            if list[*index] == empty {
                list.remove(*index);
            } else {
                list[*index] = empty;
            }
            true
        }
        _ => false,
    }
}

fn path_of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                    path.push_str(key);
                } else {
                    let _ = write!(path, "{key:?}");
                }
            }
            Step::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
        }
    }
    path
}

/// Serde's sentence, taken apart into what was found and what is allowed.
fn problem(steps: &[Step], message: &str) -> Problem {
    let message = message.lines().next().unwrap_or_default().trim();
    let path = path_of(steps);
    if let Some(rest) = message.strip_prefix("unknown field `")
        && let Some((name, rest)) = rest.split_once("`, ")
    {
        let mut allowed = rest.trim_start_matches("expected ").trim_start_matches("one of ").to_owned();
        if let Some(near) = nearest(name, rest) {
            allowed = format!("did you mean `{near}`? Keys here: {allowed}");
        }
        return Problem::new(path, format!("the unknown key `{name}`"), allowed);
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return Problem::new(path, format!("no {name}"), format!("it must have {name}"));
    }
    for kind in ["invalid type: ", "invalid value: ", "unknown variant ", "invalid length "] {
        if let Some(rest) = message.strip_prefix(kind)
            && let Some((found, allowed)) = rest.split_once(", expected ")
        {
            return Problem::new(path, found, allowed);
        }
    }
    if let Some(rest) = message.strip_prefix("expected ")
        && let Some((allowed, found)) = rest.rsplit_once(", got ")
    {
        return Problem::new(path, found, allowed);
    }
    Problem::new(path, "a value that cannot be read", message)
}

/// The backquoted name in `among` that differs from `name` by at most two fifths of its letters.
fn nearest<'a>(name: &str, among: &'a str) -> Option<&'a str> {
    among
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.chars().count() * 2 / 5).max(1))
        .map(|(_, known)| known)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(left != *right)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

fn not_toml(text: &str, error: &toml::de::Error) -> Problem {
    let line =
        error.span().map_or(1, |span| text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1));
    Problem::new(format!("line {line}"), "a text that is not TOML", error.message().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        name: String,
        count: u8,
        parts: Vec<Part>,
        named: BTreeMap<String, Part>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Part {
        size: Option<u8>,
        pair: Option<Pair>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair {
        left: u8,
        right: u8,
    }

    fn paths(text: &str) -> Vec<String> {
        sift::<File>(text).1.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn every_mistake_is_found_and_the_rest_is_read() {
        let text = "name = 3\ncount = 7\nnmae = 'x'\n[[parts]]\nsize = 300\n[[parts]]\npair = { left = 1 }\n[named.'a/b']\nsize = 'x'\n";
        let (file, problems) = sift::<File>(text);
        let mut found: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ["name", "named.\"a/b\".size", "nmae", "parts[0].size", "parts[1].pair"]);
        let file = file.expect("the rest is readable");
        assert_eq!((file.count, file.parts.len(), file.named.len()), (7, 2, 1));
    }

    #[test]
    fn a_misspelt_key_is_told_its_neighbour() {
        let (_, problems) = sift::<File>("cuont = 1");
        assert!(problems[0].allowed.starts_with("did you mean `count`?"), "{}", problems[0]);
    }

    #[test]
    fn a_list_where_a_table_belongs_is_one_mistake() {
        assert_eq!(paths("parts = [1, {}]"), ["parts[0]"]);
        assert_eq!(paths("parts = 1"), ["parts"]);
    }

    #[test]
    fn what_is_not_toml_is_told_its_line() {
        assert_eq!(paths("name = 'a'\n= 3\n"), ["line 2"]);
    }

    proptest! {
        #[test]
        fn it_always_ends(text in "((name|count|parts|named|x|'') ?= ?(1|'a'|\\[1, \\{\\}\\]|\\{size=1\\}|\\{pair=\\{\\}\\})\n){0,6}") {
            let (file, problems) = sift::<File>(&text);
            prop_assert!(file.is_some() || !problems.is_empty());
        }
    }
}
