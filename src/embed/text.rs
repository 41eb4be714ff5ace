//! How much of a text is read.
//!
//! Tokenising costs by the length of the input, not by the number of tokens kept: 100 kB take 36 ms of which
//! all but a fraction is thrown away. So a long text is cut first. Its head usually says what is asked and its
//! tail what was asked last, so both are kept and the middle is left out.

use std::borrow::Cow;

/// Bytes kept of a long text's beginning.
const HEAD: usize = 1536;
/// Bytes kept of a long text's end.
const TAIL: usize = 512;

/// The text itself if it is short, else its head and its tail (about 2 kB together) with a line break between.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= HEAD + TAIL {
        return Cow::Borrowed(text);
    }
    let head = &text[..text.floor_char_boundary(HEAD)];
    let tail = &text[text.ceil_char_boundary(text.len() - TAIL)..];
    Cow::Owned(format!("{head}\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_and_starts_and_ends_as_the_text(text in "(\\PC|[a-z ]){0,4000}") {
            let kept = cut(&text);
            prop_assert!(kept.len() <= HEAD + TAIL + 1);
            prop_assert!(kept.chars().take(300).eq(text.chars().take(300)));
            prop_assert!(kept.chars().rev().take(100).eq(text.chars().rev().take(100)));
            if text.len() <= HEAD + TAIL {
                prop_assert_eq!(kept.as_ref(), text.as_str());
            }
        }
    }
}
