//! Slips of the finger, to see whether features survive them.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Share of the words of four letters and more that get a slip.
const SHARE: f64 = 0.1;

/// Neighbours on the keyboard, row by row.
const ROWS: [&str; 3] = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];

/// The text with a slip in one long word of ten: two letters swapped, one left out, one doubled, or one replaced by
/// its neighbour on the keyboard. The same text and seed give the same slips.
#[must_use]
pub fn mistype(text: &str, seed: u64) -> String {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut typed = String::with_capacity(text.len() + 16);
    for piece in text.split_inclusive(|c: char| !c.is_alphabetic()) {
        let mut letters: Vec<char> = piece.chars().collect();
        let long = letters.iter().filter(|c| c.is_alphabetic()).count() >= 4;
        if long && dice.random_bool(SHARE) {
            let at = dice.random_range(1..letters.iter().filter(|c| c.is_alphabetic()).count() - 1);
            match dice.random_range(0..4) {
                0 => letters.swap(at, at + 1),
                1 => drop(letters.remove(at)),
                2 => letters.insert(at, letters[at]),
                _ => letters[at] = neighbour(letters[at]),
            }
        }
        typed.extend(letters);
    }
    typed
}

/// The key to the right, or to the left at the end of a row; a letter on no row stays.
fn neighbour(letter: char) -> char {
    for row in ROWS {
        if let Some(at) = row.find(letter) {
            let beside = if at + 1 < row.len() { at + 1 } else { at - 1 };
            return row.as_bytes()[beside] as char;
        }
    }
    letter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_few_and_repeatable() {
        let text = "Please translate this sentence about mountains into every language that your grandmother speaks. ";
        let text = text.repeat(10);
        let typed = mistype(&text, 7);
        assert_eq!(typed, mistype(&text, 7));
        let changed = text.split(' ').zip(typed.split(' ')).filter(|(a, b)| a != b).count();
        assert!((3..30).contains(&changed), "{changed}");
    }
}
