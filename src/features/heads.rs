//! Intent and complexity: small linear classifiers over what is known of the text.
//!
//! Each reads the encoder's vector (where there is one), the [terms](super::terms) and the [shape](super::shape).
//! Without the encoder the heads that read only the rest answer.

use super::Intent;
use super::artefact::{Tensors, Wrong};
use super::linear::Linear;
use super::shape::{SHAPE, shape};
use super::terms::{TERMS, terms};
use crate::embed::{DIMENSIONS, Origin};

/// Classes of difficulty: easy, medium, hard.
pub const DIFFICULTIES: usize = 3;

/// What the heads read of one text.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    encoder: Option<&'a [f32]>,
    terms: Vec<(usize, f32)>,
    shape: [f32; SHAPE],
}

impl<'a> Input<'a> {
    /// What there is to read of this text, with the encoder's vector of it if there is one.
    #[must_use]
    pub fn of(text: &str, encoder: Option<&'a [f32]>) -> Self {
        Self { encoder, terms: terms(text), shape: shape(text) }
    }

    /// How many numbers the heads of this origin read.
    #[must_use]
    pub const fn width(origin: Origin) -> usize {
        match origin {
            Origin::Encoder => DIMENSIONS + TERMS + SHAPE,
            Origin::Lexical => TERMS + SHAPE,
        }
    }

    /// Which heads read it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        if self.encoder.is_some() { Origin::Encoder } else { Origin::Lexical }
    }

    /// The numbers that are not zero, each with its place: the encoder's first, then the terms, then the shape.
    pub fn entries(&self) -> impl Iterator<Item = (usize, f32)> {
        let encoder = self.encoder.unwrap_or_default();
        let terms_from = encoder.len();
        let shape_from = terms_from + TERMS;
        let terms = self.terms.iter().map(move |&(place, weight)| (terms_from + place, weight));
        let shape = self.shape.iter().enumerate().map(move |(place, &number)| (shape_from + place, number));
        encoder.iter().copied().enumerate().chain(terms).chain(shape)
    }
}

/// The classifiers of both origins.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    intents: Vec<String>,
    encoder: Pair,
    lexical: Pair,
}

#[derive(Clone, Debug, PartialEq)]
struct Pair {
    intent: Linear,
    difficulty: Linear,
}

impl Heads {
    /// The maps `{encoder,lexical}.{intent,difficulty}` of a file.
    pub(super) fn read(tensors: &Tensors<'_>, intents: &[String]) -> Result<Self, Wrong> {
        let pair = |name: &str, origin| {
            let width = Input::width(origin);
            Ok::<_, Wrong>(Pair {
                intent: Linear::read(tensors, &format!("{name}.intent"), width, intents.len())?,
                difficulty: Linear::read(tensors, &format!("{name}.difficulty"), width, DIFFICULTIES)?,
            })
        };
        Ok(Self {
            intents: intents.to_vec(),
            encoder: pair("encoder", Origin::Encoder)?,
            lexical: pair("lexical", Origin::Lexical)?,
        })
    }

    fn pair(&self, input: &Input<'_>) -> &Pair {
        match input.origin() {
            Origin::Encoder => &self.encoder,
            Origin::Lexical => &self.lexical,
        }
    }

    /// The intents, in the order of [`Heads::intents`]' probabilities.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.intents
    }

    /// The probability of every intent.
    #[must_use]
    pub fn intents(&self, input: &Input<'_>) -> Vec<f32> {
        let mut scores = vec![0.0; self.intents.len()];
        self.pair(input).intent.apply(input.entries(), &mut scores);
        softmax(&mut scores);
        scores
    }

    /// The most likely intent; `None` if there is none to choose from.
    #[must_use]
    pub fn intent(&self, input: &Input<'_>) -> Option<Intent> {
        let probabilities = self.intents(input);
        let (name, &probability) = self.intents.iter().zip(&probabilities).max_by(|a, b| a.1.total_cmp(b.1))?;
        Some(Intent { name: name.clone(), probability: f64::from(probability) })
    }

    /// The probabilities of easy, medium and hard.
    #[must_use]
    pub fn difficulties(&self, input: &Input<'_>) -> [f32; DIFFICULTIES] {
        let mut scores = [0.0; DIFFICULTIES];
        self.pair(input).difficulty.apply(input.entries(), &mut scores);
        softmax(&mut scores);
        scores
    }

    /// Expected difficulty: 0 for surely easy, 0.5 for surely medium, 1 for surely hard.
    #[must_use]
    pub fn complexity(&self, input: &Input<'_>) -> f64 {
        let [_, medium, hard] = self.difficulties(input);
        f64::from(0.5 * medium + hard).clamp(0.0, 1.0)
    }
}

/// Scores to probabilities, in place.
pub(crate) fn softmax(scores: &mut [f32]) {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - top).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}
