//! Ten counts that anybody can read off a prompt, with no model: the baseline that most learned routers only tie.

/// How many counts there are.
pub const LEXICAL: usize = 10;

/// The ten counts of the raw prompt, with w = words split at white space, n = scalar values, m = number of words:
/// ln(1+n); ln(1+m); runs of ASCII digits/(m+1); line feeds/(m+1); question marks; whether it has `def ` or three
/// back-ticks; whether a line starts with A..E and `.` or `)` (the first line apart); mean word length; characters
/// among `$\^=+*/<>`/(n+1); upper-case characters/(n+1).
#[must_use]
pub fn lexical(prompt: &str) -> [f32; LEXICAL] {
    let (mut n, mut feeds, mut questions, mut signs, mut upper, mut runs) = (0_u32, 0_u32, 0_u32, 0_u32, 0_u32, 0_u32);
    let mut in_digits = false;
    for c in prompt.chars() {
        n += 1;
        feeds += u32::from(c == '\n');
        questions += u32::from(c == '?');
        signs += u32::from("$\\^=+*/<>".contains(c));
        upper += u32::from(c.is_uppercase());
        runs += u32::from(c.is_ascii_digit() && !in_digits);
        in_digits = c.is_ascii_digit();
    }
    let (mut words, mut letters) = (0_u32, 0_u32);
    for word in prompt.split(is_space).filter(|word| !word.is_empty()) {
        words += 1;
        letters += word.chars().count() as u32;
    }
    let code = prompt.contains("def ") || prompt.contains("```");
    let options = prompt
        .as_bytes()
        .windows(3)
        .any(|three| three[0] == b'\n' && (b'A'..=b'E').contains(&three[1]) && matches!(three[2], b'.' | b')'));
    let (n, m) = (f64::from(n), f64::from(words));
    [
        n.ln_1p(),
        m.ln_1p(),
        f64::from(runs) / (m + 1.0),
        f64::from(feeds) / (m + 1.0),
        f64::from(questions),
        f64::from(u8::from(code)),
        f64::from(u8::from(options)),
        if words == 0 { 0.0 } else { f64::from(letters) / m },
        f64::from(signs) / (n + 1.0),
        f64::from(upper) / (n + 1.0),
    ]
    .map(|x| x as f32)
}

/// White space as the reference implementation (Python's `str.split`) sees it: Unicode's and four separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_counts_of_a_small_prompt() {
        let x = lexical("What is 12+34?\nA. 46\nB) 7");
        // 25 scalar values, 7 words of 19 letters, 4 runs of digits, 2 line feeds, one sign (+), 3 upper-case letters.
        let expected: [f64; LEXICAL] =
            [25_f64.ln_1p(), 7_f64.ln_1p(), 4.0 / 8.0, 2.0 / 8.0, 1.0, 0.0, 1.0, 19.0 / 7.0, 1.0 / 26.0, 3.0 / 26.0];
        assert_eq!(x, expected.map(|x| x as f32));
    }

    #[test]
    fn an_empty_prompt_has_no_words_and_no_nan() {
        assert_eq!(lexical(""), [0.0; LEXICAL]);
        assert!(lexical(" \n\t").iter().all(|x| x.is_finite()));
    }

    #[test]
    fn code_is_seen_by_def_or_by_a_fence() {
        assert_eq!(lexical("def f(): pass")[5], 1.0);
        assert_eq!(lexical("a ``` b")[5], 1.0);
        assert_eq!(lexical("define")[5], 0.0);
    }
}
