//! A vector without weights: signed feature hashing.
//!
//! Words, pairs of neighbouring words and character triples of the lower-cased text are hashed to one of
//! [`DIMENSIONS`] places with a sign, and added up (Weinberger et al. 2009, "Feature Hashing for Large Scale
//! Multitask Learning"). Texts that share words or parts of words point in similar directions; meaning beyond
//! that is not seen. It takes microseconds, so it stands in when the encoder is late, not loaded or switched off.
//! Its vectors live in a space of their own: [`Origin::Lexical`].

use std::time::Duration;

use super::text::cut;
use super::{DIMENSIONS, Embedder, Embedding, Origin, Pending, Status};

/// Weight of a single word, of a pair of words, of three characters.
const WORD: f32 = 1.0;
const PAIR: f32 = 0.6;
const TRIPLE: f32 = 0.35;

/// Salts, so that the same letters as a word and as a triple fall into different places.
const WORD_SALT: u64 = 0x9e37_79b9_7f4a_7c15;
const PAIR_SALT: u64 = 0xc2b2_ae3d_27d4_eb4f;
const TRIPLE_SALT: u64 = 0x1656_67b1_9e37_79f9;
/// What stands before the first and after the last word, and in place of a missing one.
const EDGE: u64 = 0x2545_f491_4f6c_dd1d;

/// The lexical vector of this text; of a long one, of its head and tail. The same for the same text on every machine.
#[must_use]
pub fn embed(text: &str) -> Embedding {
    let lower = cut(text).to_lowercase();
    let mut sums = [0_f32; DIMENSIONS];
    let mut before = EDGE;
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let hash = word.bytes().fold(WORD_SALT, |hash, byte| mix(hash ^ u64::from(byte)));
        add(&mut sums, hash, WORD);
        add(&mut sums, mix(before.rotate_left(17) ^ hash ^ PAIR_SALT), PAIR);
        before = hash;
        let (mut first, mut second) = (' ', ' ');
        for third in word.chars().chain([' ']) {
            if second != ' ' {
                let triple = (first as u64) << 42 ^ (second as u64) << 21 ^ third as u64;
                add(&mut sums, mix(triple ^ TRIPLE_SALT), TRIPLE);
            }
            (first, second) = (second, third);
        }
    }
    add(&mut sums, mix(before.rotate_left(17) ^ EDGE ^ PAIR_SALT), PAIR);

    let length = sums.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        sums.iter_mut().for_each(|x| *x /= length);
    } else {
        sums[0] = 1.0;
    }
    Embedding { vector: sums.as_slice().into(), origin: Origin::Lexical }
}

/// Adds the weight at the hash's place with the hash's sign.
fn add(sums: &mut [f32; DIMENSIONS], hash: u64, weight: f32) {
    // The high half chooses the place (multiply-shift instead of a division), the lowest bit the sign.
    let place = ((hash >> 32) * DIMENSIONS as u64) >> 32;
    sums[place as usize] += if hash & 1 == 0 { weight } else { -weight };
}

/// A bijection of 64 bits that spreads every input bit over all output bits (the finaliser of splitmix64).
const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The embedder of a machine on which the encoder is switched off: every vector is lexical and comes at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lexical;

impl Embedder for Lexical {
    fn embed<'a>(&'a self, text: &'a str, _wait: Duration) -> Pending<'a, Option<Embedding>> {
        Box::pin(std::future::ready(Some(embed(text))))
    }

    fn id(&self) -> &'static str {
        "lexical@1"
    }

    fn status(&self) -> Status {
        Status::Ready
    }

    fn settled(&self) -> Pending<'_, Status> {
        Box::pin(std::future::ready(Status::Ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cosine(a: &str, b: &str) -> f32 {
        embed(a).vector.iter().zip(embed(b).vector.iter()).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn shared_words_and_shared_stems_bring_texts_together() {
        let asked = "How do I sort a list in Python?";
        let same = cosine(asked, "how do i sort a list in python");
        let near = cosine(asked, "Sorting lists with Python");
        let far = cosine(asked, "Write a poem about the autumn sea");
        assert!(same > 0.999, "{same}");
        assert!(near > far + 0.1, "{near} against {far}");
    }

    #[test]
    fn the_order_of_words_counts() {
        assert!(cosine("dog bites man", "man bites dog") < 0.95);
    }

    #[test]
    fn the_vector_is_the_same_on_every_machine() {
        let vector = embed("the points are set").vector;
        let digest = crate::base::Digest::of(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        assert_eq!(digest.to_string(), "6f813bb12f66af47c843554a361defb4");
    }

    proptest! {
        #[test]
        fn every_text_has_a_vector_of_length_one(text in "\\PC{0,300}") {
            let embedding = embed(&text);
            prop_assert_eq!(embedding.vector.len(), DIMENSIONS);
            prop_assert_eq!(embedding.origin, Origin::Lexical);
            let length: f32 = embedding.vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            prop_assert!((length - 1.0).abs() < 1e-5, "{}", length);
        }
    }

    #[test]
    fn silence_has_a_vector_too() {
        for text in ["", "   ", "?!…"] {
            let length: f32 = embed(text).vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-6);
        }
        let long = "word ".repeat(100_000);
        assert_eq!(embed(&long).vector.len(), DIMENSIONS);
    }
}
