//! How many tokens a text is, before anybody has to pay for it.
//!
//! OpenAI's vocabularies are counted exactly. Other providers publish no small counter, so their texts are
//! counted with o200k; what they report as usage later corrects cost estimates downstream. Counting costs
//! time by the byte, so a long text is counted in samples and the rest is estimated from them: the cost of
//! one count is bounded whatever the body's size.

/// A vocabulary that texts are counted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// OpenAI's models since GPT-4o; the best guess for every other family.
    #[default]
    O200k,
    /// GPT-4, GPT-3.5 and the `text-embedding` models.
    Cl100k,
}

/// Texts up to this many bytes are counted whole.
pub const EXACT_BYTES: usize = 32 * 1024;
/// Samples taken of a longer text, evenly spread, and the bytes of each.
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 2 * 1024;

impl Vocabulary {
    /// The vocabulary of a model by its name, with or without a provider in front (`openai/gpt-4-turbo`).
    #[must_use]
    pub fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let old = ["gpt-4-", "gpt-3.5", "text-embedding-", "text-davinci-"];
        if name == "gpt-4" || old.iter().any(|prefix| name.starts_with(prefix)) { Self::Cl100k } else { Self::O200k }
    }

    /// Tokens of this text: exact up to [`EXACT_BYTES`], estimated from samples beyond.
    #[must_use]
    pub fn count(self, text: &str) -> usize {
        let tokenizer = match self {
            Self::O200k => bpe_openai::o200k_base(),
            Self::Cl100k => bpe_openai::cl100k_base(),
        };
        if text.len() <= EXACT_BYTES {
            return tokenizer.count(text);
        }
        let stride = (text.len() - SAMPLE_BYTES) / (SAMPLES - 1);
        let (mut tokens, mut bytes) = (0, 0);
        for sample in 0..SAMPLES {
            let from = text.floor_char_boundary(sample * stride);
            let to = text.floor_char_boundary(from + SAMPLE_BYTES);
            tokens += tokenizer.count(&text[from..to]);
            bytes += to - from;
        }
        (tokens as f64 * text.len() as f64 / bytes as f64).round() as usize
    }
}

/// Reads both vocabularies, which takes some tens of milliseconds the first time.
pub(super) fn warm_up() {
    for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
        let _ = vocabulary.count("points");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_follows_the_family() {
        assert_eq!(Vocabulary::of("gpt-4o-mini"), Vocabulary::O200k);
        assert_eq!(Vocabulary::of("openai/gpt-4-turbo"), Vocabulary::Cl100k);
        assert_eq!(Vocabulary::of("gpt-4"), Vocabulary::Cl100k);
        assert_eq!(Vocabulary::of("gpt-4.1"), Vocabulary::O200k);
        assert_eq!(Vocabulary::of("auto"), Vocabulary::O200k);
    }

    #[test]
    fn known_texts_have_their_known_counts() {
        assert_eq!(Vocabulary::O200k.count("tiktoken is great!"), 6);
        assert_eq!(Vocabulary::Cl100k.count("tiktoken is great!"), 6);
        assert_eq!(Vocabulary::O200k.count(""), 0);
    }

    #[test]
    fn a_long_text_is_estimated_close_to_its_count() {
        let line = "The tide tables for Harwich were wrong by eleven minutes; nobody noticed until March. ";
        let text = line.repeat(3_000);
        let exact = bpe_openai::o200k_base().count(text.as_str()) as f64;
        let estimate = Vocabulary::O200k.count(&text) as f64;
        assert!((estimate / exact - 1.0).abs() < 0.03, "{estimate} for {exact}");
    }
}
