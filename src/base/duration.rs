//! Durations as people write them: `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`.
//!
//! For a configuration's fields: `#[serde(with = "crate::base::duration")] pub idle: Duration`, and
//! `#[serde(default, with = "crate::base::duration::option")]` where `None` means "not limited".

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// The units, longest first, with their length in microseconds.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as \"250ms\", \"30s\", \"5m\", \"2h\" or \"7d\", got {0:?}")]
pub struct NotADuration(pub String);

/// Reads a number and a unit; a fraction is allowed (`"1.5s"`), a missing unit is not.
///
/// # Errors
/// [`NotADuration`] with the text.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let wrong = || NotADuration(text.to_owned());
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = (&trimmed[..split], trimmed[split..].trim_start());
    let (_, micros) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    // Whole numbers stay whole, so that what was printed reads back exactly.
    let total = if let Ok(whole) = number.parse::<u64>() {
        whole.checked_mul(micros).ok_or_else(wrong)?
    } else {
        let micros = number.parse::<f64>().map_err(|_| wrong())? * micros as f64;
        if micros < 1e18 { micros.round() as u64 } else { return Err(wrong()) }
    };
    Ok(Duration::from_micros(total))
}

/// The shortest exact form: the longest unit that divides it. Anything below a microsecond is cut off.
#[must_use]
pub fn format(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    match UNITS.into_iter().find(|(_, unit)| micros >= *unit && micros % unit == 0) {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None => "0s".to_owned(),
    }
}

/// Writes the short form.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads the short form.
///
/// # Errors
/// If the value is not a text, or not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;
    impl de::Visitor<'_> for Text {
        type Value = Duration;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a duration in quotes such as \"250ms\", \"30s\", \"5m\", \"2h\" or \"7d\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text)
}

/// The same for a duration that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// Writes the short form, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the short form.
    ///
    /// # Errors
    /// If the value is neither absent nor a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Short(#[serde(with = "super")] Duration);
        Ok(Option::<Short>::deserialize(deserializer)?.map(|short| short.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2 h", 7_200_000), ("1.5s", 1_500)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("7d"), Ok(Duration::from_hours(168)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "30", "s", "-5s", "5 parsecs", "1e3s", "1..2s", "99999999999999999999d", "٣s"] {
            assert_eq!(parse(text), Err(NotADuration(text.to_owned())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(micros in 0..u64::MAX / 2) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
