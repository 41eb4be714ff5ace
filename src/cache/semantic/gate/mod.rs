//! Which prompts may be answered by an answer to another prompt at all.
//!
//! Similarity and vetoes compare two prompts; some prompts must not be compared, because the right answer depends on
//! what neither says: the time, the person, the thing an identifier names, what was said before. And some ask for an
//! act, which a remembered answer would only pretend. Each has a reason with a name. English, by words; it errs
//! towards the exact tier, which answers such prompts as before.

mod lists;

use serde::{Deserialize, Serialize};

use self::lists::{ACTS, IDENTIFIED, OWN, POINTER_PAIRS, POINTERS, TIME_PAIRS, TIMES};
use super::vetoes::{NEGATIONS, STOP_WORDS, words};
use crate::chat::{ChatRequest, Role};

/// Why a prompt is not compared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// It says nothing.
    Empty,
    /// It is longer than the encoder reads.
    Long,
    /// Its answer changes with time.
    TimeBound,
    /// Its answer is about the one who asks.
    Personal,
    /// It asks for an act.
    Act,
    /// It names a thing by a number or code, an address, a person's data.
    Identifier,
    /// It holds code.
    Code,
    /// It points back to what was said before.
    Dependent,
    /// It is in a language whose negations and opposites are not known here.
    Language,
    /// It does not end in words of the user.
    NotAQuestion,
}

impl Unfit {
    /// Its name, in metrics and explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Long => "long",
            Self::TimeBound => "time_bound",
            Self::Personal => "personal",
            Self::Act => "act",
            Self::Identifier => "identifier",
            Self::Code => "code",
            Self::Dependent => "dependent",
            Self::Language => "language",
            Self::NotAQuestion => "not_a_question",
        }
    }
}

/// Word pieces that the encoder reads, less the two it adds.
const MOST_PIECES: usize = 254;
/// Content words that a later turn needs to stand alone.
const STANDS_ALONE: usize = 4;

/// Whether the request's last words may be compared with others.
///
/// # Errors
/// The reason why not.
pub fn fit(request: &ChatRequest) -> Result<(), Unfit> {
    let messages = &request.view.messages;
    if messages.last().is_none_or(|last| last.role != Role::User) {
        return Err(Unfit::NotAQuestion);
    }
    let prompt = request.prompt();
    let first_turn = !messages.iter().any(|message| message.role == Role::Assistant);
    fit_text(prompt, first_turn)
}

/// Whether this text, as the first turn or a later one, may be compared with others.
///
/// # Errors
/// The reason why not.
pub fn fit_text(text: &str, first_turn: bool) -> Result<(), Unfit> {
    let said = words(text);
    let has = |list: &[&str]| said.iter().any(|word| list.contains(&word.as_str()));
    let pair = |list: &[(&str, &str)]| said.windows(2).any(|two| list.contains(&(two[0].as_str(), two[1].as_str())));
    if said.is_empty() {
        return Err(Unfit::Empty);
    }
    if !is_read_whole(text) {
        return Err(Unfit::Long);
    }
    if text.contains("```") || text.lines().filter(|line| line.trim_end().ends_with([';', '{', '}'])).count() > 3 {
        return Err(Unfit::Code);
    }
    if said.iter().any(|word| names_a_thing(word)) || has_address(text) || has_long_number(text) || has(IDENTIFIED) {
        return Err(Unfit::Identifier);
    }
    if has(TIMES) || pair(TIME_PAIRS) {
        return Err(Unfit::TimeBound);
    }
    if pair(OWN) || asks_of_oneself(&said) {
        return Err(Unfit::Personal);
    }
    if acts(&said) {
        return Err(Unfit::Act);
    }
    if foreign(text, &said) {
        return Err(Unfit::Language);
    }
    let content = said.iter().filter(|word| !STOP_WORDS.contains(&word.as_str())).count();
    if !first_turn && (content < STANDS_ALONE || has(POINTERS) || pair(POINTER_PAIRS)) {
        return Err(Unfit::Dependent);
    }
    Ok(())
}

/// Whether the encoder reads this text to its end.
#[must_use]
pub fn is_read_whole(text: &str) -> bool {
    pieces(text) <= MOST_PIECES
}

/// Word pieces, rather too many than too few: a word of letters breaks into pieces of three or more, anything else
/// counts by the character.
fn pieces(text: &str) -> usize {
    let word = |word: &str| {
        let other = word.chars().filter(|c| !c.is_ascii_alphabetic()).count();
        let letters = word.chars().count() - other;
        other + letters.div_ceil(3).max(usize::from(letters > 0))
    };
    text.split_whitespace().map(word).sum()
}

/// A code: letters and digits mixed, as order and part numbers are; years, sizes and versions of known things are left
/// to the veto on numbers.
fn names_a_thing(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    digits >= 2 && letters >= 1 && word.len() >= 5 || digits >= 5
}

fn has_address(text: &str) -> bool {
    text.split_whitespace().any(|word| {
        let at = word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
        at || word.contains("://")
    })
}

/// A telephone, card or account number, however it is spaced.
fn has_long_number(text: &str) -> bool {
    let mut run = 0;
    for c in text.chars() {
        match c {
            '0'..='9' => run += 1,
            ' ' | '-' | '.' | '(' | ')' | '/' | '+' => {}
            _ => run = 0,
        }
        if run >= 7 {
            return true;
        }
    }
    false
}

/// "What do I owe", "when do I fly"; "how do I change a tyre" is what anybody asks.
fn asks_of_oneself(said: &[String]) -> bool {
    (1..said.len()).any(|at| said[at - 1] == "do" && said[at] == "i" && (at < 2 || said[at - 2] != "how"))
}

/// A wish that something be done: an imperative of doing at the beginning, or after "please" and the like.
fn acts(said: &[String]) -> bool {
    let politeness = ["please", "can", "could", "would", "will", "you", "just", "now", "go", "ahead", "and", "kindly"];
    let asks = said.iter().find(|word| !politeness.contains(&word.as_str()));
    let wants = ["i", "id", "we"].contains(&said[0].as_str())
        && said.iter().skip(1).take(3).any(|w| w == "want" || w == "like");
    let begins = asks.is_some_and(|word| ACTS.contains(&word.as_str()));
    begins || (wants && said.iter().take(7).any(|word| ACTS.contains(&word.as_str())))
}

fn foreign(text: &str, said: &[String]) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let other = letters.clone().filter(|c| !c.is_ascii()).count();
    if 5 * other > letters.count() {
        return true;
    }
    let known = |word: &String| STOP_WORDS.contains(&word.as_str()) || NEGATIONS.contains(&word.as_str());
    said.len() >= 5 && !said.iter().any(known)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_reason_is_seen() {
        for (text, reason) in [
            ("  ?! ", Unfit::Empty),
            ("What is the weather in Oslo?", Unfit::TimeBound),
            ("Who is the current president of France?", Unfit::TimeBound),
            ("Which trains run this week?", Unfit::TimeBound),
            ("How much is on my account?", Unfit::Personal),
            ("When do I have to be there?", Unfit::Personal),
            ("Please cancel the subscription of the team", Unfit::Act),
            ("I'd like to transfer 50 dollars to Ann", Unfit::Act),
            ("Where is parcel AB12345 of the shop?", Unfit::Identifier),
            ("What does jo@example.org do for a living?", Unfit::Identifier),
            ("Who has the number (555) 123-4567 there?", Unfit::Identifier),
            ("```\nfn main() {}\n```\nWhat does this do?", Unfit::Code),
            ("Wie kann man einen Reifen selber wechseln lassen", Unfit::Language),
            ("Как сменить колесо у машины?", Unfit::Language),
        ] {
            assert_eq!(fit_text(text, true), Err(reason), "{text}");
        }
        for text in ["How do I change a bicycle tyre?", "What is the capital of France?", "Why is the sky blue?"] {
            assert_eq!(fit_text(text, true), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_later_turn_must_stand_alone() {
        assert_eq!(fit_text("How high is Mount Fuji above the sea?", true), Ok(()));
        assert_eq!(fit_text("And how high is it?", false), Err(Unfit::Dependent));
        assert_eq!(fit_text("What about the second one there?", false), Err(Unfit::Dependent));
        assert_eq!(fit_text("Which volcano has the highest crater in Japan?", false), Ok(()));
    }

    #[test]
    fn what_the_encoder_cannot_read_whole_is_not_compared() {
        let long = "Why do the many rivers of Europe flow into so few seas? ".repeat(25);
        assert_eq!(fit_text(&long, true), Err(Unfit::Long));
        assert_eq!(fit_text(&"如何更换轮胎".repeat(60), true), Err(Unfit::Long));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[a-z ]){0,200}", first in any::<bool>()) {
            let _ = fit_text(&text, first);
        }
    }
}
