//! Rules that forbid a reuse whatever the similarity says. English; lexical; a veto costs a miss, never an error.
//!
//! Vectors do not see the difference between "enable" and "disable", 2 and 3, or who did what to whom. These
//! rules do. They hardly move the error of everyday traffic; they cut off the catastrophic tail.
//!
//! The last one is against prompts that were made to be near: an encoder can be searched for a text whose vector is that
//! of another, and an answer made for it would be given to those who ask the other. Of the pairs of questions at cosine
//! .85 and more that do share an answer, none has so few words in common. A veto on length (more than two and a half
//! times the words) was tried against those that repeat their victim and drag a tail: it costs .009 of the right pairs
//! and made no stream better.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Why a pair of prompts must not share an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Veto {
    /// Their numbers and codes differ.
    Numbers,
    /// One is negated and the other is not, or one more often.
    Negation,
    /// One has a word, the other its opposite.
    Antonym,
    /// The same content words in another order: roles may be swapped.
    Order,
    /// One side has a word, the other the same with a prefix that denies it: eligible, ineligible.
    Prefix,
    /// Of the content words of both, not one in ten is in both.
    Unrelated,
}

impl Veto {
    /// Every rule, in the order in which they are asked.
    pub const ALL: [Self; 6] =
        [Self::Numbers, Self::Negation, Self::Antonym, Self::Order, Self::Prefix, Self::Unrelated];

    /// Its name, in metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Negation => "negation",
            Self::Antonym => "antonym",
            Self::Order => "order",
            Self::Prefix => "prefix",
            Self::Unrelated => "unrelated",
        }
    }

    fn forbids(self, stored: &[String], asked: &[String]) -> bool {
        match self {
            Self::Numbers => numbers(stored) != numbers(asked),
            Self::Negation => {
                let (denials, others) = (negations(stored), negations(asked));
                denials % 2 != others % 2 || (denials == 0) != (others == 0)
            }
            Self::Antonym => opposed(stored, asked),
            Self::Order => {
                let (first, second) = (content(stored), content(asked));
                first != second && counted(&first) == counted(&second)
            }
            Self::Prefix => denied(stored, asked) || denied(asked, stored),
            Self::Unrelated => {
                let of = |words| content(words).into_iter().collect::<BTreeSet<&str>>();
                let (first, second) = (of(stored), of(asked));
                10 * first.intersection(&second).count() < first.union(&second).count()
            }
        }
    }
}

/// The first rule that forbids this reuse, if one does.
#[must_use]
pub fn veto(stored: &str, asked: &str) -> Option<Veto> {
    let (stored, asked) = (words(stored), words(asked));
    Veto::ALL.into_iter().find(|rule| rule.forbids(&stored, &asked))
}

/// All rules that forbid this reuse.
#[must_use]
pub fn vetoes(stored: &str, asked: &str) -> Vec<Veto> {
    let (stored, asked) = (words(stored), words(asked));
    Veto::ALL.into_iter().filter(|rule| rule.forbids(&stored, &asked)).collect()
}

/// Lower-case words; apostrophes vanish, so that "don't" is "dont".
pub(super) fn words(text: &str) -> Vec<String> {
    let text: String = text.to_lowercase().chars().filter(|c| !matches!(c, '\'' | '\u{2019}')).collect();
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The numbers and codes: words with a digit, and number words to twelve. "One" is mostly a pronoun and does not count.
fn numbers(words: &[String]) -> BTreeSet<&str> {
    words
        .iter()
        .filter_map(|word| {
            if word.chars().any(|c| c.is_ascii_digit()) {
                Some(word.as_str())
            } else {
                NUMBER_WORDS.iter().find(|(name, _)| name == word).map(|(_, digits)| *digits)
            }
        })
        .collect()
}

fn negations(words: &[String]) -> usize {
    words.iter().filter(|word| NEGATIONS.contains(&word.as_str())).count()
}

fn opposed(stored: &[String], asked: &[String]) -> bool {
    static ROOTS: LazyLock<Vec<(&str, &str)>> =
        LazyLock::new(|| ANTONYMS.iter().map(|(one, other)| (root(one), root(other))).collect());
    let (stored, asked) = (roots(stored), roots(asked));
    let has = |side: &[&str], root: &str| side.contains(&root);
    ROOTS.iter().any(|&(one, other)| {
        let swapped = |one: &str, other: &str| {
            has(&stored, one) && has(&asked, other) && !has(&asked, one) && !has(&stored, other)
        };
        swapped(one, other) || swapped(other, one)
    })
}

fn roots(words: &[String]) -> Vec<&str> {
    words.iter().map(|word| root(word)).collect()
}

/// What the forms of a verb or noun share: enable, enabled and enabling are "enabl", and so are its opposites by their
/// own. Short words keep an s: news are not new.
fn root(word: &str) -> &str {
    let bare = [("ing", 3), ("ed", 3), ("es", 4), ("s", 4)]
        .into_iter()
        .find_map(|(ending, least)| word.strip_suffix(ending).filter(|bare| bare.len() >= least));
    let bare = bare.unwrap_or(word);
    bare.strip_suffix('e').filter(|bare| bare.len() >= 3).unwrap_or(bare)
}

/// Whether `other` has a word of `side` with a denying prefix that neither side has both of.
fn denied(side: &[String], other: &[String]) -> bool {
    let has = |side: &[String], word: &str| side.iter().any(|w| w == word);
    let bare = |word: &str| {
        let bare = PREFIXES.iter().filter_map(|prefix| word.strip_prefix(prefix));
        bare.filter(|bare| bare.len() >= 4).any(|bare| has(side, bare) && !has(other, bare))
    };
    other.iter().any(|word| !has(side, word) && bare(word))
}

/// Prefixes that turn a word into its opposite, where the word without them is one too.
const PREFIXES: &[&str] = &["un", "in", "im", "ir", "il", "non", "dis", "de", "anti", "mis"];

/// The words that carry the meaning, stemmed, in order.
fn content(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).filter(|word| !STOP_WORDS.contains(word)).map(stem).collect()
}

/// The word without its commonest endings; only ever compared with other stems.
fn stem(word: &str) -> &str {
    for ending in ["ing", "ed", "es", "s"] {
        if let Some(stem) = word.strip_suffix(ending).filter(|stem| stem.len() >= 3) {
            return stem;
        }
    }
    word
}

fn counted<'a>(words: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(*word).or_default() += 1;
    }
    counts
}

/// Words and their opposites, in any form of theirs.
const ANTONYMS: &[(&str, &str)] = &[
    ("above", "below"),
    ("accept", "reject"),
    ("add", "remove"),
    ("advantages", "disadvantages"),
    ("allow", "deny"),
    ("always", "never"),
    ("approve", "reject"),
    ("ascending", "descending"),
    ("attach", "detach"),
    ("attack", "defend"),
    ("before", "after"),
    ("begin", "end"),
    ("best", "worst"),
    ("better", "worse"),
    ("boy", "girl"),
    ("bull", "bear"),
    ("buy", "sell"),
    ("call", "put"),
    ("cheap", "expensive"),
    ("client", "server"),
    ("compile", "interpret"),
    ("cover", "exclude"),
    ("credit", "debit"),
    ("day", "night"),
    ("deposit", "withdraw"),
    ("domestic", "international"),
    ("early", "late"),
    ("east", "west"),
    ("easy", "hard"),
    ("enable", "disable"),
    ("encode", "decode"),
    ("encrypt", "decrypt"),
    ("enter", "exit"),
    ("even", "odd"),
    ("expand", "collapse"),
    ("fast", "slow"),
    ("first", "last"),
    ("fixed", "variable"),
    ("forward", "backward"),
    ("freeze", "unfreeze"),
    ("gain", "lose"),
    ("gain", "loss"),
    ("good", "bad"),
    ("grant", "revoke"),
    ("gross", "net"),
    ("he", "she"),
    ("high", "low"),
    ("highest", "lowest"),
    ("him", "her"),
    ("his", "her"),
    ("hot", "cold"),
    ("husband", "wife"),
    ("import", "export"),
    ("in", "out"),
    ("inbound", "outbound"),
    ("include", "exclude"),
    ("increase", "decrease"),
    ("input", "output"),
    ("inside", "outside"),
    ("install", "uninstall"),
    ("internal", "external"),
    ("left", "right"),
    ("legal", "illegal"),
    ("lend", "borrow"),
    ("lock", "unlock"),
    ("login", "logout"),
    ("long", "short"),
    ("lost", "found"),
    ("love", "hate"),
    ("major", "minor"),
    ("male", "female"),
    ("man", "woman"),
    ("max", "min"),
    ("maximum", "minimum"),
    ("men", "women"),
    ("more", "less"),
    ("morning", "evening"),
    ("mother", "father"),
    ("north", "south"),
    ("old", "new"),
    ("older", "younger"),
    ("on", "off"),
    ("open", "close"),
    ("pass", "fail"),
    ("positive", "negative"),
    ("possible", "impossible"),
    ("profit", "loss"),
    ("pros", "cons"),
    ("public", "private"),
    ("push", "pull"),
    ("read", "write"),
    ("rich", "poor"),
    ("rise", "fall"),
    ("roth", "traditional"),
    ("row", "column"),
    ("safe", "dangerous"),
    ("send", "receive"),
    ("show", "hide"),
    ("simple", "compound"),
    ("single", "married"),
    ("start", "stop"),
    ("strong", "weak"),
    ("succeed", "fail"),
    ("success", "failure"),
    ("summer", "winter"),
    ("taxable", "exempt"),
    ("taxable", "free"),
    ("thick", "thin"),
    ("today", "tomorrow"),
    ("today", "yesterday"),
    ("top", "bottom"),
    ("true", "false"),
    ("up", "down"),
    ("upgrade", "downgrade"),
    ("upload", "download"),
    ("vertical", "horizontal"),
    ("waive", "charge"),
    ("wide", "narrow"),
    ("win", "lose"),
];

/// Words that deny; apostrophes left out.
pub(super) const NEGATIONS: &[&str] = &[
    "arent", "cannot", "cant", "couldnt", "didnt", "doesnt", "dont", "except", "isnt", "neither", "never", "no",
    "nobody", "none", "nor", "not", "nothing", "nowhere", "shouldnt", "unless", "without", "wont", "wouldnt",
];

/// Number words and their digits.
const NUMBER_WORDS: &[(&str, &str)] = &[
    ("eight", "8"),
    ("eleven", "11"),
    ("five", "5"),
    ("four", "4"),
    ("nine", "9"),
    ("seven", "7"),
    ("six", "6"),
    ("ten", "10"),
    ("three", "3"),
    ("twelve", "12"),
    ("two", "2"),
    ("zero", "0"),
];

/// Words that carry no content of their own.
pub(super) const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "by", "can", "could", "d",
    "did", "do", "does", "for", "from", "get", "give", "got", "had", "has", "have", "he", "her", "here", "him", "his",
    "how", "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "made", "make", "may", "me", "might", "must",
    "my", "need", "o", "of", "on", "or", "our", "please", "re", "s", "shall", "she", "should", "show", "so", "some",
    "such", "t", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those",
    "to", "us", "ve", "want", "was", "we", "were", "what", "when", "where", "which", "who", "whom", "whose", "why",
    "will", "with", "would", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paraphrase_passes() {
        assert_eq!(veto("How do I reset my password?", "What is the way to reset a password?"), None);
        assert_eq!(veto("Is one enough for two people?", "Is 1 enough for 2 people?"), Some(Veto::Numbers));
        assert_eq!(veto("Pick one of three", "Pick one of 3"), None);
    }

    #[test]
    fn each_rule_sees_its_own_difference() {
        assert_eq!(veto("Status of order 4711", "Status of order 4712"), Some(Veto::Numbers));
        assert_eq!(veto("Can I cancel?", "Can't I cancel?"), Some(Veto::Negation));
        assert_eq!(veto("How to enable 2FA", "How to disable 2FA"), Some(Veto::Antonym));
        assert_eq!(veto("What does enabling 2FA do?", "What does disabling 2FA do?"), Some(Veto::Antonym));
        assert_eq!(veto("Are the fees waived abroad?", "Are the fees charged abroad?"), Some(Veto::Antonym));
        assert_eq!(veto("Where are the old papers?", "Where are the news papers?"), None);
        assert_eq!(veto("Who is eligible for it?", "Who is ineligible for it?"), Some(Veto::Prefix));
        assert_eq!(veto("Did Germany invade Poland?", "Did Poland invade Germany?"), Some(Veto::Order));
        assert_eq!(veto("How to reset a password", "Passphrase renewal walkthrough"), Some(Veto::Unrelated));
        assert_eq!(veto("What is it?", "Who are you?"), None, "nothing to compare is no difference");
    }

    #[test]
    fn a_veto_does_not_depend_on_which_prompt_came_first() {
        let prompts = ["Buy 3 shares", "Sell 3 shares", "Never buy 3 shares", "Shares buy 3", "What is a share?"];
        for a in prompts {
            for b in prompts {
                assert_eq!(veto(a, b), veto(b, a), "{a:?} {b:?}");
            }
        }
    }
}
