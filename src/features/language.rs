//! The language of a prompt, where it can be told.
//!
//! Trigram statistics are sure of a paragraph and guess at a greeting, so below the detector's own threshold
//! of reliability the answer is `None`. Code is left out first: it looks like no language and drowns the sentence
//! that asks about it.

/// Letters beyond which more text does not change the answer, only its cost.
const ENOUGH: usize = 400;

/// ISO 639-3 code of the language, or `None` where the text is too short, mixed or not prose.
#[must_use]
pub fn language(text: &str) -> Option<String> {
    let prose = prose(text);
    let info = whatlang::detect(&prose)?;
    info.is_reliable().then(|| info.lang().code().to_owned())
}

/// The first [`ENOUGH`] bytes or so of the text that stand outside code fences.
fn prose(text: &str) -> String {
    let mut prose = String::with_capacity(ENOUGH + 64);
    let mut fenced = false;
    for line in text[..text.floor_char_boundary(8 * ENOUGH)].lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let room = ENOUGH.saturating_sub(prose.len());
            prose.push_str(&line[..line.floor_char_boundary(room)]);
            prose.push('\n');
            if prose.len() >= ENOUGH {
                break;
            }
        }
    }
    prose
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_a_language_and_a_greeting_has_none() {
        let german = "Kannst du mir bitte erklären, warum der Zug heute schon wieder zu spät gekommen ist?";
        assert_eq!(language(german).as_deref(), Some("deu"));
        assert_eq!(language("この文章を英語に翻訳してください。").as_deref(), Some("jpn"));
        assert_eq!(language("ok"), None);
        assert_eq!(language(""), None);
    }

    #[test]
    fn code_in_a_fence_is_not_read_as_prose() {
        let text = "```rust\nfn main() { println!(\"hello\"); }\n```\nPourquoi est-ce que ce programme n'affiche rien du \
                    tout quand je le lance depuis mon terminal, alors qu'il fonctionne chez mon collègue ?";
        assert_eq!(language(text).as_deref(), Some("fra"));
    }
}
