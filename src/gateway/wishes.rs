//! What a caller may ask for beside the request itself: `x-pointsman-*` headers, or the same names as
//! `metadata.pointsman_*` in the body, for clients that cannot set headers. The header wins.
//!
//! A wish that cannot be read is refused with its name, and so is a name that does not exist: a wish that is
//! silently not granted is worse than an error.

use crate::base::{Error, Usd};
use crate::policy::{CostWeight, Explore, Preferences};

/// The names, without the `x-pointsman-` in front, each with what it takes.
pub const NAMES: [(&str, &str); 12] = [
    ("pin", "the name of a model or a deployment"),
    ("exclude", "names of models or deployments, separated by commas"),
    ("cost-weight", "a number from 0 (quality given up for the dearest candidate's cost), or `N/usd` (per dollar)"),
    ("latency-weight", "a number from 0: points of quality given up per second"),
    ("min-quality", "a number from 0 to 1"),
    ("max-cost-usd", "a number of dollars from 0"),
    ("max-latency-s", "a number of seconds from 0"),
    ("explore", "`never`, `floor` or `full`"),
    ("conversation", "a name of up to 200 characters; its turns tend to the same model"),
    ("tags", "labels of deployments, separated by commas; only deployments with all of them are called"),
    ("cache-tags", "labels by which the kept answer can be purged, separated by commas"),
    ("cache", "`off`: the same as `cache-control: no-store`"),
];

/// The wishes of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// A model or deployment that must serve, whatever `model` says.
    pub pin: Option<String>,
    /// Models and deployments that must not serve.
    pub exclude: Vec<String>,
    /// What money is worth.
    pub cost: Option<CostWeight>,
    /// Points of quality given up per second.
    pub latency_per_second: Option<f64>,
    /// Least expected quality.
    pub min_quality: Option<f64>,
    /// Greatest expected cost.
    pub max_cost: Option<Usd>,
    /// Greatest expected time to the last byte, seconds.
    pub max_latency_s: Option<f64>,
    /// How freely to explore.
    pub explore: Option<Explore>,
    /// The conversation it belongs to.
    pub conversation: Option<String>,
    /// Labels a deployment must have, all of them.
    pub tags: Vec<String>,
    /// Labels by which the kept answer can be purged.
    pub cache_tags: Vec<String>,
    /// Not to be read from the cache nor written to it.
    pub no_cache: bool,
}

impl Wishes {
    /// Reads wishes from headers (name without `x-pointsman-`, value) and from the body's `metadata`, where they
    /// are the keys that start with `pointsman_`.
    ///
    /// # Errors
    /// [`crate::base::Kind::InvalidRequest`] that names the header or metadata key, what it held and what it takes.
    pub fn read<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        metadata: &[(String, String)],
    ) -> Result<Self, Error> {
        let mut wishes = Self::default();
        for (key, value) in metadata {
            if let Some(name) = key.strip_prefix("pointsman_") {
                wishes.set(&name.replace('_', "-"), value, &format!("metadata.{key}"))?;
            }
        }
        for (name, value) in headers {
            wishes.set(name, value, &format!("x-pointsman-{name}"))?;
        }
        Ok(wishes)
    }

    fn set(&mut self, name: &str, value: &str, place: &str) -> Result<(), Error> {
        let value = value.trim();
        let Some((_, takes)) = NAMES.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            return Err(Error::invalid(place, format!("there is no wish `{name}`; there are: {}", names.join(", "))));
        };
        let wrong = || Error::invalid(place, format!("{place} is {:?}; it takes {takes}", shorten(value)));
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(wrong);
        match name {
            "pin" => self.pin = Some(label(value).ok_or_else(wrong)?),
            "exclude" => self.exclude = list(value).ok_or_else(wrong)?,
            "cost-weight" => {
                self.cost = Some(match value.strip_suffix("/usd") {
                    Some(per_usd) => CostWeight::PerUsd(number(per_usd.trim())?),
                    None => CostWeight::Relative(number(value)?),
                });
            }
            "latency-weight" => self.latency_per_second = Some(number(value)?),
            "min-quality" => {
                self.min_quality = Some(number(value)?).filter(|n| *n <= 1.0);
                self.min_quality.ok_or_else(wrong)?;
            }
            "max-cost-usd" => self.max_cost = Some(Usd(number(value)?)),
            "max-latency-s" => self.max_latency_s = Some(number(value)?),
            "explore" => {
                self.explore = Some(match value {
                    "never" | "off" | "0" => Explore::Never,
                    "floor" => Explore::Floor,
                    "full" => Explore::Full,
                    _ => return Err(wrong()),
                });
            }
            "conversation" => self.conversation = Some(label(value).ok_or_else(wrong)?),
            "tags" => self.tags = list(value).ok_or_else(wrong)?,
            "cache-tags" => self.cache_tags = list(value).ok_or_else(wrong)?,
            "cache" => self.no_cache = matches!(value, "off").then_some(true).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// These preferences with the wishes put in.
    #[must_use]
    pub fn over(&self, base: Preferences) -> Preferences {
        Preferences {
            cost: self.cost.unwrap_or(base.cost),
            latency_per_second: self.latency_per_second.unwrap_or(base.latency_per_second),
            min_quality: self.min_quality.or(base.min_quality),
            max_cost: self.max_cost.or(base.max_cost),
            max_latency_s: self.max_latency_s.or(base.max_latency_s),
            explore: self.explore.unwrap_or(base.explore),
        }
    }
}

fn label(text: &str) -> Option<String> {
    (!text.is_empty() && text.chars().count() <= 200).then(|| text.to_owned())
}

fn list(text: &str) -> Option<Vec<String>> {
    text.split(',').map(|item| label(item.trim())).collect()
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    fn read(headers: &[(&str, &str)]) -> Result<Wishes, Error> {
        Wishes::read(headers.iter().copied(), &[])
    }

    #[test]
    fn every_wish_is_read() {
        let wishes = read(&[
            ("pin", "fast"),
            ("exclude", "a, b/c"),
            ("cost-weight", "20/usd"),
            ("latency-weight", "0.01"),
            ("min-quality", "0.7"),
            ("max-cost-usd", "0.002"),
            ("max-latency-s", "8"),
            ("explore", "never"),
            ("conversation", "c1"),
            ("tags", "eu,local"),
            ("cache-tags", "v1,docs"),
            ("cache", "off"),
        ])
        .expect("all readable");
        assert_eq!(
            wishes,
            Wishes {
                pin: Some("fast".into()),
                exclude: vec!["a".into(), "b/c".into()],
                cost: Some(CostWeight::PerUsd(20.0)),
                latency_per_second: Some(0.01),
                min_quality: Some(0.7),
                max_cost: Some(Usd(0.002)),
                max_latency_s: Some(8.0),
                explore: Some(Explore::Never),
                conversation: Some("c1".into()),
                tags: vec!["eu".into(), "local".into()],
                cache_tags: vec!["v1".into(), "docs".into()],
                no_cache: true,
            }
        );
    }

    #[test]
    fn garbage_is_refused_by_name() {
        for (name, value) in [
            ("cost-weight", "NaN"),
            ("cost-weight", "-1"),
            ("cost-weight", "inf/usd"),
            ("latency-weight", "1e999"),
            ("min-quality", "1.01"),
            ("max-cost-usd", "free"),
            ("explore", "sometimes"),
            ("pin", ""),
            ("exclude", "a,,b"),
            ("cache", "on"),
            ("wieghts", "1"),
        ] {
            let error = read(&[(name, value)]).expect_err(name);
            assert_eq!(error.kind, Kind::InvalidRequest);
            assert_eq!(error.param.as_deref(), Some(format!("x-pointsman-{name}").as_str()));
        }
    }

    #[test]
    fn the_body_may_wish_too_and_the_header_wins() {
        let metadata = [
            ("pointsman_min_quality".to_owned(), "0.5".to_owned()),
            ("pointsman_explore".to_owned(), "full".to_owned()),
            ("team".to_owned(), "x".to_owned()),
        ];
        let wishes = Wishes::read([("explore", "never")], &metadata).expect("readable");
        assert_eq!((wishes.min_quality, wishes.explore), (Some(0.5), Some(Explore::Never)));
        let bad = Wishes::read([], &[("pointsman_explore".to_owned(), "x".to_owned())]).expect_err("unreadable");
        assert_eq!(bad.param.as_deref(), Some("metadata.pointsman_explore"));
    }
}
