//! The words that name a task.
//!
//! The encoder was trained on English and blurs "translate", "rewrite" and "summarise" into the text that they are
//! about. So the heads also read the words themselves: each word, its beginning (as a stem, for languages that
//! inflect), pairs of neighbouring words, and, in scripts without spaces, pairs of characters. Each is hashed to one
//! of [`TERMS`] places; what is at the front weighs most, for that is where a task is named.

use crate::embed::text::cut;

/// How many places terms are hashed to.
pub const TERMS: usize = 4096;

/// Words at the front that weigh fully, and the weight of those behind them.
const FRONT: usize = 16;
const BEHIND: f32 = 0.4;
/// Characters of a word that stand for its stem.
const STEM: usize = 4;

/// The places that a text touches and how strongly: a vector of length 1, without its zeros, in ascending order.
#[must_use]
pub fn terms(text: &str) -> Vec<(usize, f32)> {
    let read = cut(text).to_lowercase();
    let mut found: Vec<(usize, f32)> = Vec::with_capacity(4 * read.len() / 5 + 8);
    let mut before = hash("", 0);
    let words = read.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        let weight = if at < FRONT { 1.0 } else { BEHIND };
        if word.chars().any(is_wide) {
            pairs(word, weight, &mut found);
            continue;
        }
        let whole = hash(word, 1);
        found.push((place(whole), weight));
        found.push((place(before.rotate_left(9) ^ whole), 0.5 * weight));
        if let Some((end, _)) = word.char_indices().nth(STEM) {
            found.push((place(hash(&word[..end], 2)), weight));
        }
        before = whole;
    }
    gather(found)
}

/// Letters of scripts that are written without spaces.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

fn pairs(word: &str, weight: f32, found: &mut Vec<(usize, f32)>) {
    let letters: Vec<(usize, char)> = word.char_indices().collect();
    for pair in letters.windows(2) {
        let text = &word[pair[0].0..pair[1].0 + pair[1].1.len_utf8()];
        found.push((place(hash(text, 3)), weight));
    }
}

/// Terms at one place count once, with their greatest weight; then the whole is brought to length 1.
fn gather(mut found: Vec<(usize, f32)>) -> Vec<(usize, f32)> {
    found.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    found.dedup_by_key(|term| term.0);
    let length = found.iter().map(|term| term.1 * term.1).sum::<f32>().sqrt();
    for term in &mut found {
        term.1 /= length;
    }
    found
}

/// FNV-1a with a salt: the same on every machine.
fn hash(text: &str, salt: u64) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The place of a hash. Its bits are spread first: FNV's own are good only at the low end.
fn place(hash: u64) -> usize {
    let spread = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> 52) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn terms_are_a_sparse_unit_vector(text in "(\\PC|[a-z ]|[\u{4e00}-\u{4fff}]){0,600}") {
            let terms = terms(&text);
            prop_assert!(terms.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert!(terms.iter().all(|&(place, weight)| place < TERMS && weight.is_finite() && weight > 0.0));
            let length: f32 = terms.iter().map(|term| term.1 * term.1).sum();
            prop_assert!(terms.is_empty() || (length - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn inflected_words_share_a_term() {
        let places = |text| terms(text).into_iter().map(|term| term.0).collect::<std::collections::BTreeSet<_>>();
        assert!(places("zusammenfassen").intersection(&places("Zusammenfassung")).count() >= 1);
        assert!(places("翻訳してください").intersection(&places("英語に翻訳")).count() >= 1);
    }
}
