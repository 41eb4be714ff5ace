//! `cache-control` on a request, as far as RFC 9111 gives it a meaning for us.

use std::time::Duration;

/// What the caller says about answers from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// `no-store`: neither read nor write.
    pub no_store: bool,
    /// `no-cache`: do not read; the fresh answer may be kept.
    pub no_cache: bool,
    /// `max-age`: an answer up to this old is welcome, even where sampling was asked for.
    pub max_age: Option<Duration>,
    /// `only-if-cached`: from memory or not at all.
    pub only_if_cached: bool,
}

impl Control {
    /// Reads the header's value. Unknown directives are passed over, as the RFC demands; a `max-age` that is not
    /// a number counts as 0, so that a typo never makes an answer older than was meant.
    #[must_use]
    pub fn read(value: &str) -> Self {
        let mut control = Self::default();
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => control.no_store = true,
                "no-cache" => control.no_cache = true,
                "only-if-cached" => control.only_if_cached = true,
                "max-age" => {
                    let seconds = argument.trim().trim_matches('"').parse().unwrap_or(0);
                    control.max_age = Some(Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
        control
    }

    /// Whether the caller says that an answer from memory is welcome, whatever the request's temperature.
    #[must_use]
    pub const fn welcomes_repeats(&self) -> bool {
        self.max_age.is_some() || self.only_if_cached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_in_any_case_and_order() {
        let control = Control::read("Only-If-Cached, max-age = \"60\", immutable");
        assert_eq!(
            control,
            Control { only_if_cached: true, max_age: Some(Duration::from_mins(1)), ..Control::default() }
        );
        assert!(Control::read("no-store").no_store && Control::read("NO-CACHE").no_cache);
        assert_eq!(Control::read("max-age=soon").max_age, Some(Duration::ZERO));
        assert_eq!(Control::read(""), Control::default());
    }
}
