//! Who says how good an answer was, and how far that is believed.
//!
//! Scores come over several channels: the user, a judge, checks of the answer's form. They do not mean the same
//! thing. A broken JSON answer is surely bad, a well-formed one is only not bad in that way. So each channel has
//! an affine reading of its scores as quality and a weight (the inverse of its variance, relative to a user's
//! word) that may depend on the score.
//!
//! The scores of one decision make one row: quality is their weighted mean, the weight their sum but at most 1,
//! so that a request that many channels speak of counts no more than one the user has judged. A channel that
//! says nothing is absent; it is never a zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Problem, Score};

/// How one channel's scores are read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// The quality, 0 to 1, that score 0 and score 1 stand for; in between, in proportion.
    pub quality: [f64; 2],
    /// The weight, 0 to 1, of score 0 and of score 1; in between, in proportion.
    pub weight: [f64; 2],
}

impl Channel {
    const fn new(quality: [f64; 2], weight: [f64; 2]) -> Self {
        Self { quality, weight }
    }

    fn read(&self, score: Score) -> (f64, f64) {
        let between = |[low, high]: [f64; 2]| low + (high - low) * score.get();
        (between(self.quality), between(self.weight))
    }
}

/// A channel that is not in the table: scores are taken as quality, at half a user's weight.
const UNNAMED: Channel = Channel::new([0.0, 1.0], [0.5, 0.5]);

/// The channels known without any configuration.
///
/// A check of form weighs more when it fails than when it passes: a pass says little of the content. But a pass
/// must weigh something, or the few failures would be all that is ever heard and every model would sink to
/// nothing in time. Where the form is what was asked for (JSON, a schema, tools) both weigh something; the checks
/// that apply to every answer hardly speak when they pass, so that they do not drown the users. The quality of a
/// pass is that of a usual answer.
const KNOWN: [(&str, Channel); 8] = [
    ("user", Channel::new([0.0, 1.0], [1.0, 1.0])),
    ("judge", Channel::new([0.0, 1.0], [0.5, 0.5])),
    ("format", Channel::new([0.0, 0.85], [1.0, 0.25])),
    ("schema", Channel::new([0.0, 0.85], [1.0, 0.25])),
    ("tools", Channel::new([0.0, 0.85], [1.0, 0.25])),
    ("empty", Channel::new([0.0, 0.85], [0.25, 0.01])),
    ("truncation", Channel::new([0.3, 0.85], [0.1, 0.01])),
    ("refusal", Channel::new([0.2, 0.85], [0.1, 0.01])),
];

/// The table of channels in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels(BTreeMap<String, Channel>);

impl Channels {
    /// The known channels, with these added or put in their place.
    #[must_use]
    pub fn with(overrides: &BTreeMap<String, Channel>) -> Self {
        let known = KNOWN.iter().map(|(name, channel)| ((*name).to_owned(), *channel));
        Self(known.chain(overrides.iter().map(|(name, channel)| (name.clone(), *channel))).collect())
    }

    /// Names this table: a policy folded with one table is not one folded with another.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(&(&self.0, UNNAMED))
    }

    /// The one quality and weight that these scores make together; `None` if no channel with any weight spoke.
    #[must_use]
    pub fn combine<'a>(&self, scores: impl IntoIterator<Item = (&'a str, Score)>) -> Option<(f64, f64)> {
        let mut total = 0.0;
        let mut sum = 0.0;
        for (name, score) in scores {
            let (quality, weight) = self.0.get(name).unwrap_or(&UNNAMED).read(score);
            total += weight;
            sum += weight * quality;
        }
        (total > 0.0).then(|| ((sum / total).clamp(0.0, 1.0), total.min(1.0)))
    }
}

/// What is wrong with these channels.
pub(super) fn problems(channels: &BTreeMap<String, Channel>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, channel) in channels {
        for (field, pair) in [("quality", channel.quality), ("weight", channel.weight)] {
            if !pair.iter().all(|number| (0.0..=1.0).contains(number)) {
                let path = format!("channels.{name}.{field}");
                problems.push(Problem::new(path, format!("{pair:?}"), "two numbers from 0 to 1"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combine(scores: &[(&str, f64)]) -> Option<(f64, f64)> {
        let scores = scores.iter().map(|&(name, score)| (name, Score::new(score).expect("a score")));
        Channels::with(&BTreeMap::new()).combine(scores)
    }

    #[test]
    fn a_user_alone_is_taken_at_his_word() {
        assert_eq!(combine(&[("user", 0.75)]), Some((0.75, 1.0)));
    }

    #[test]
    fn a_failed_form_weighs_more_than_a_passed_one() {
        let (bad, strong) = combine(&[("format", 0.0)]).expect("a row");
        let (good, weak) = combine(&[("format", 1.0)]).expect("a row");
        assert!(bad < good && weak < strong, "{bad} {good} {weak} {strong}");
    }

    #[test]
    fn checks_that_always_pass_do_not_drown_a_user() {
        let (quality, _) =
            combine(&[("user", 0.2), ("empty", 1.0), ("truncation", 1.0), ("refusal", 1.0)]).expect("a row");
        assert!((quality - 0.2).abs() < 0.02, "{quality}");
    }

    #[test]
    fn a_rare_failure_of_form_does_not_sink_a_model() {
        // Fifty answers of which one is empty, and nobody judged any.
        let (fail, heavy) = combine(&[("empty", 0.0)]).expect("a row");
        let (pass, light) = combine(&[("empty", 1.0), ("truncation", 1.0), ("refusal", 1.0)]).expect("a row");
        let mean = (fail * heavy + 49.0 * pass * light) / (heavy + 49.0 * light);
        assert!((0.7..0.85).contains(&mean), "{mean}");
    }

    #[test]
    fn many_channels_count_no_more_than_one_request() {
        let (_, weight) = combine(&[("user", 1.0), ("judge", 0.5), ("format", 0.0)]).expect("a row");
        assert_eq!(weight, 1.0);
    }

    #[test]
    fn silence_is_not_a_zero() {
        assert_eq!(combine(&[]), None);
        let mute = BTreeMap::from([("mute".to_owned(), Channel::new([0.0, 1.0], [0.0, 0.0]))]);
        assert_eq!(Channels::with(&mute).combine([("mute", Score::ZERO)]), None);
    }

    #[test]
    fn another_table_has_another_name() {
        let other = BTreeMap::from([("user".to_owned(), Channel::new([0.0, 1.0], [0.9, 1.0]))]);
        assert_ne!(Channels::with(&BTreeMap::new()).digest(), Channels::with(&other).digest());
        assert_eq!(problems(&other), []);
    }

    #[test]
    fn a_weight_that_is_none_is_named() {
        let wrong = BTreeMap::from([("vibes".to_owned(), Channel::new([0.0, 1.0], [f64::NAN, 2.0]))]);
        let problems = problems(&wrong);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "channels.vibes.weight");
    }
}
