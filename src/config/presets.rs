//! `[presets.NAME]`: what `auto:NAME` weighs, said by how it differs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::base::{Problem, Usd, duration};
use crate::gateway::Live;
use crate::policy::{CostWeight, Explore, Preferences};

/// One preset as it is written. What is absent is as in the built-in preset of that name, or else as in `balanced`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Preset {
    cost: Option<CostWeight>,
    latency_per_second: Option<f64>,
    min_quality: Option<f64>,
    #[serde(deserialize_with = "money")]
    max_cost: Option<Usd>,
    #[serde(with = "duration::option")]
    max_latency: Option<Duration>,
    explore: Option<Explore>,
}

/// The built-in presets, changed and extended by those of the file.
pub(super) fn presets(
    written: &BTreeMap<String, Preset>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Preferences> {
    let mut presets = Live::built_in_presets();
    for (name, preset) in written {
        let mut wrong = |field: &str, found: f64, allowed: &str| {
            problems.push(Problem::new(format!("presets.{name}.{field}"), found, allowed));
        };
        let known = presets.get(name).copied().unwrap_or_default();
        if let Some(CostWeight::PerUsd(weight) | CostWeight::Relative(weight)) = preset.cost
            && !(weight.is_finite() && weight >= 0.0)
        {
            wrong("cost", weight, "a number, 0 or more");
        }
        if let Some(weight) = preset.latency_per_second.filter(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            wrong("latency_per_second", weight, "a number, 0 or more");
        }
        if let Some(quality) = preset.min_quality.filter(|quality| !(0.0..=1.0).contains(quality)) {
            wrong("min_quality", quality, "0 to 1");
        }
        let changed = Preferences {
            cost: preset.cost.unwrap_or(known.cost),
            latency_per_second: preset.latency_per_second.unwrap_or(known.latency_per_second),
            min_quality: preset.min_quality.or(known.min_quality),
            max_cost: preset.max_cost.or(known.max_cost),
            max_latency_s: preset.max_latency.map(|latency| latency.as_secs_f64()).or(known.max_latency_s),
            explore: preset.explore.unwrap_or(known.explore),
        };
        presets.insert(name.clone(), changed);
    }
    presets
}

/// An amount of money with its unit, as in `"0.02 USD"`.
fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}
