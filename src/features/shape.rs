//! The shape of a text: what can be counted without understanding a word of it.
//!
//! Length, lines, code, digits, quotations, questions. A vector of meaning is blind to most of this, and
//! it says much about how hard a request is. Every number is finite and of order one; long texts are counted
//! by their head and tail, so the cost is bounded.

use crate::embed::text::cut;

/// How many numbers [`shape`] gives.
pub const SHAPE: usize = 20;

/// The shape of this text.
#[must_use]
pub fn shape(text: &str) -> [f32; SHAPE] {
    let read = cut(text);
    let mut tally = Tally::default();
    tally.read(&read);
    let chars = tally.chars.max(1) as f32;
    let words = tally.words.max(1) as f32;
    let scripts = (tally.wide + tally.other_letters) as f32;
    let log = |count: usize| (count as f32).ln_1p();
    let flag = |yes: bool| f32::from(u8::from(yes));
    [
        log(text.len()) / 4.0,
        log(tally.words) / 3.0,
        log(tally.lines) / 2.0,
        log(tally.longest_line) / 4.0,
        log(tally.sentences) / 2.0,
        log(tally.commas) / 2.0,
        log(tally.questions),
        log(tally.list_items) / 2.0,
        log(tally.digits) / 3.0,
        flag(tally.fences > 0),
        flag(tally.blank_lines > 0),
        flag(read.trim_end().ends_with('?') || read.trim_end().ends_with('？')),
        10.0 * tally.code as f32 / chars,
        10.0 * tally.mathematics as f32 / chars,
        4.0 * tally.digits as f32 / chars,
        2.0 * scripts / chars,
        tally.wide as f32 / chars,
        4.0 * tally.capitals as f32 / chars,
        log(tally.quotes) / 2.0,
        (chars / words).min(20.0) / 8.0,
    ]
}

#[derive(Default)]
struct Tally {
    chars: usize,
    words: usize,
    lines: usize,
    longest_line: usize,
    blank_lines: usize,
    sentences: usize,
    commas: usize,
    questions: usize,
    list_items: usize,
    fences: usize,
    digits: usize,
    quotes: usize,
    capitals: usize,
    /// Characters that are rare in prose and common in code.
    code: usize,
    /// Operators and relations.
    mathematics: usize,
    /// Letters of scripts without spaces between words.
    wide: usize,
    /// Other letters beyond ASCII.
    other_letters: usize,
}

impl Tally {
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim();
            self.lines += 1;
            self.longest_line = self.longest_line.max(line.len());
            self.blank_lines += usize::from(line.is_empty());
            self.fences += usize::from(line.starts_with("```"));
            let item = line.trim_start_matches(|c: char| c.is_ascii_digit());
            self.list_items += usize::from(
                line.starts_with("- ") || line.starts_with("* ") || (item.len() < line.len() && item.starts_with('.')),
            );
            self.words += line.split_whitespace().count();
            line.chars().for_each(|c| self.character(c));
        }
        // Scripts without spaces: about two characters a word.
        self.words += self.wide / 2;
    }

    fn character(&mut self, c: char) {
        self.chars += 1;
        match c {
            '0'..='9' => self.digits += 1,
            'a'..='z' | ' ' => {}
            'A'..='Z' => self.capitals += 1,
            '.' | '!' | '。' | '।' => self.sentences += 1,
            ',' | ';' | '，' | '、' | '；' | '،' => self.commas += 1,
            '?' | '？' | '؟' => self.questions += 1,
            '{' | '}' | '[' | ']' | '(' | ')' | '_' | '\\' | '|' | '#' | '$' | '&' | '@' => self.code += 1,
            '=' | '+' | '^' | '*' | '/' | '<' | '>' | '%' | '≥' | '≤' | '≡' | '√' | '∫' | '²' => {
                self.mathematics += 1;
            }
            '"' | '“' | '”' | '„' | '«' | '»' | '「' | '」' | '`' => self.quotes += 1,
            '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' => self.wide += 1,
            c if !c.is_ascii() && c.is_alphabetic() => self.other_letters += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_has_a_finite_shape_of_order_one(text in "(\\PC|[a-z0-9 \n.?]){0,2000}") {
            for (index, number) in shape(&text).into_iter().enumerate() {
                prop_assert!(number.is_finite() && (0.0..=20.0).contains(&number), "{index}: {number}");
            }
        }
    }

    #[test]
    fn code_and_a_question_look_different() {
        let code = shape("```c\nint a[3] = {0};\n```");
        let question = shape("Why is the sky blue?");
        assert!(code[9] > question[9] && code[12] > question[12]);
        assert!(question[11] > code[11]);
    }
}
