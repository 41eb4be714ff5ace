//! One form for equal JSON: sorted keys, numbers by value, strings in Unicode's composed form.
//!
//! The form is fed to a hasher and never read back, so it is length-prefixed rather than pretty. Numbers keep every
//! digit (`serde_json`'s own value type would fold big integers together, and two requests that differ in the
//! twentieth digit of a seed are two requests).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

/// A JSON value, understood as far as equality needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// `null`, `true`, `false`
    Word(&'a str),
    /// A number, as [`number`] writes it.
    Number(String),
    /// A string, unescaped and composed.
    Text(String),
    /// An array.
    List(Vec<Node<'a>>),
    /// An object.
    Map(BTreeMap<String, Node<'a>>),
}

/// Reads JSON text. `None` if it is not JSON, names a key of an object twice, or is nested deeper than 128.
#[must_use]
pub fn parse(json: &[u8]) -> Option<Node<'_>> {
    let mut reader = Reader { text: std::str::from_utf8(json).ok()?, at: 0 };
    let node = reader.value(0)?;
    reader.space();
    (reader.at == reader.text.len()).then_some(node)
}

/// The keys of a JSON object, unescaped, each with the place of its value; in the order of the text.
/// `None` if it is not an object.
#[must_use]
pub fn fields(json: &[u8]) -> Option<Vec<(Cow<'_, str>, Range<usize>)>> {
    let mut reader = Reader { text: std::str::from_utf8(json).ok()?, at: 0 };
    let mut found = Vec::new();
    reader.space();
    reader.object(|reader, key| {
        let start = reader.at;
        reader.value(1)?;
        found.push((key, start..reader.at));
        Some(())
    })?;
    reader.space();
    (reader.at == reader.text.len()).then_some(found)
}

impl Node<'_> {
    /// Feeds the node to `sink`; different nodes give different bytes.
    pub fn feed(&self, sink: &mut impl FnMut(&[u8])) {
        let mut long = |tag: u8, bytes: &[u8]| {
            sink(&[tag]);
            sink(&(bytes.len() as u64).to_le_bytes());
            sink(bytes);
        };
        match self {
            Self::Word(word) => long(b'w', word.as_bytes()),
            Self::Number(number) => long(b'n', number.as_bytes()),
            Self::Text(text) => long(b't', text.as_bytes()),
            Self::List(items) => {
                sink(b"l");
                sink(&(items.len() as u64).to_le_bytes());
                for item in items {
                    item.feed(sink);
                }
            }
            Self::Map(entries) => {
                sink(b"m");
                sink(&(entries.len() as u64).to_le_bytes());
                for (key, value) in entries {
                    sink(&(key.len() as u64).to_le_bytes());
                    sink(key.as_bytes());
                    value.feed(sink);
                }
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        if depth > 128 {
            return None;
        }
        self.space();
        match self.peek()? {
            b'{' => {
                let mut map = BTreeMap::new();
                self.object(|reader, key| {
                    let value = reader.value(depth + 1)?;
                    map.insert(key.nfc().collect(), value).is_none().then_some(())
                })?;
                Some(Node::Map(map))
            }
            b'[' => {
                self.at += 1;
                let mut list = Vec::new();
                self.space();
                if self.take(b']').is_some() {
                    return Some(Node::List(list));
                }
                loop {
                    list.push(self.value(depth + 1)?);
                    self.space();
                    if self.take(b',').is_none() {
                        return self.take(b']').map(|()| Node::List(list));
                    }
                }
            }
            b'"' => self.string().map(|text| Node::Text(text.nfc().collect())),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                ["null", "true", "false"].into_iter().find(|word| self.text[self.at..].starts_with(word)).map(|word| {
                    self.at += word.len();
                    Node::Word(word)
                })
            }
        }
    }

    fn object(&mut self, mut entry: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            entry(self, key)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        self.take(b'"')?;
        let mut plain = true;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at)?;
        if plain {
            Some(Cow::Borrowed(&quoted[1..quoted.len() - 1]))
        } else {
            serde_json::from_str(quoted).ok().map(Cow::Owned)
        }
    }

    fn number(&mut self) -> Option<Node<'a>> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        number(&self.text[start..self.at]).map(Node::Number)
    }
}

/// A number by its value: sign, digits without zeros at either end, power of ten. `1`, `1.0` and `10e-1` are all
/// `1e0`; every zero is `0`. `None` if the text is not a JSON number.
fn number(text: &str) -> Option<String> {
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let Ok(exponent) = exponent.parse::<i64>() else {
        return Some(text.to_owned());
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let power =
        exponent.saturating_sub(i64::try_from(fraction.len()).ok()?).saturating_add(i64::try_from(trailing).ok()?);
    Some(format!("{sign}{significant}e{power}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_equal_by_value_to_the_last_digit() {
        for same in ["1", "1.0", "1e0", "10e-1", "0.1E1", "100e-2"] {
            assert_eq!(number(same).as_deref(), Some("1e0"), "{same}");
        }
        assert_eq!(number("-0.0").as_deref(), Some("0"));
        assert_ne!(number("12345678901234567890123"), number("12345678901234567890124"));
        for bad in ["01", "1.", "+1", "--1", "1e", "e1", "-"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_named_twice_has_no_canonical_form() {
        assert_eq!(parse(br#"{"a":1,"a":1}"#), None);
        assert_eq!(parse(br#"{"a":{"b":1,"\u0062":2}}"#), None);
    }

    #[test]
    fn the_places_of_fields_are_those_of_their_values() {
        let json = br#" {"id" : "x\"y", "n":[1,{"id":2}] ,"e\u0301":null}"#;
        let places: Vec<(String, &[u8])> =
            fields(json).expect("an object").into_iter().map(|(key, at)| (key.into_owned(), &json[at])).collect();
        assert_eq!(places[0], ("id".to_owned(), br#""x\"y""#.as_slice()));
        assert_eq!(places[1], ("n".to_owned(), br#"[1,{"id":2}]"#.as_slice()));
        assert_eq!(places[2], ("e\u{301}".to_owned(), b"null".as_slice()));
    }

    proptest! {
        #[test]
        fn what_serde_reads_is_read_and_nothing_panics(text in r#"[\[\]{}",:0-9a-z\\ .eE+-]{0,40}"#) {
            let ours = parse(text.as_bytes());
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            if ours.is_some() {
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{}", text);
            }
            if let Ok(serde_json::Value::Array(_) | serde_json::Value::Number(_)) = theirs {
                prop_assert!(ours.is_some() || text.contains('{'), "{}", text);
            }
        }
    }
}
