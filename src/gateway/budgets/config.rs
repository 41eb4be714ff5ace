//! `[budgets.NAME]`: so much money in so much time, for a tenant or for everybody together.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::{Problem, TenantId, Usd};
use crate::policy::pacer::Rate;

/// What an amount of money is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// One request.
    Request,
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}

impl Period {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Request, "request"),
        (Self::Hour, "hour"),
        (Self::Day, "day"),
        (Self::Week, "week"),
        (Self::Month, "month"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(period, _)| *period == self).map_or("", |(_, name)| name)
    }

    /// How long it is; `None` for a request.
    #[must_use]
    pub const fn length(self) -> Option<Duration> {
        let hours = match self {
            Self::Request => return None,
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
        };
        Some(Duration::from_hours(hours))
    }
}

/// So many dollars a period, as in `"5 USD/day"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    /// How many.
    pub usd: Usd,
    /// In what.
    pub per: Period,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} USD/{}", self.usd.get(), self.per.name())
    }
}

impl Amount {
    fn read(text: &str) -> Option<Self> {
        let (money, name) = text.split_once('/')?;
        let (per, _) = Period::ALL.into_iter().find(|(_, known)| *known == name.trim())?;
        Some(Self { usd: money.parse().ok()?, per })
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "expected an amount of money and a period (request, hour, day, week, month), such as \"5 USD/day\", \
                 got {text:?}"
            ))
        })
    }
}

/// One budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How much. In no stretch of that length is more spent than this, as far as costs are foreseen.
    pub amount: Amount,
    /// Whose requests are paid from it; absent = everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// How much of it may be spent at once; the rest comes in evenly. Absent = a tenth; with a budget a request, a
    /// hundred requests' worth.
    #[serde(default, with = "money", skip_serializing_if = "Option::is_none")]
    pub credit: Option<Usd>,
    /// Shares of the amount at which a warning is given once in each period.
    #[serde(default = "usual_alerts")]
    pub alerts: Vec<f64>,
}

fn usual_alerts() -> Vec<f64> {
    vec![0.5, 0.8, 1.0]
}

/// Share of an amount that may be spent at once, and requests' worth, unless said otherwise.
const TENTH: f64 = 0.1;
const HUNDRED: f64 = 100.0;

impl Config {
    /// The most that the purse holds.
    #[must_use]
    pub fn credit(&self) -> Usd {
        let share = if self.amount.per == Period::Request { HUNDRED } else { TENTH };
        self.credit.unwrap_or(self.amount.usd * share)
    }

    /// How fast money comes in: what may be spent at once and what comes in during a period are the amount together.
    #[must_use]
    pub fn rate(&self) -> Rate {
        match self.amount.per.length() {
            None => Rate::PerRequest(self.amount.usd),
            Some(length) => {
                let hours = length.as_secs_f64() / 3600.0;
                Rate::PerHour((self.amount.usd - self.credit()) * (1.0 / hours))
            }
        }
    }

    /// What is wrong with it. `tenants`: those that keys are for; empty = there are no keys.
    #[must_use]
    pub fn problems(&self, tenants: &[&TenantId]) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(super::unknown_tenant(self.tenant.as_ref(), tenants));
        let half = self.amount.usd * 0.5;
        if self.amount.per != Period::Request && self.credit() > half {
            let allowed = format!("up to half of the amount, \"{} USD\": the rest comes in evenly", half.get());
            problems.push(Problem::new("credit", format!("{} USD", self.credit().get()), allowed));
        }
        if self.alerts.iter().any(|share| !(*share > 0.0 && share.is_finite())) {
            problems.push(Problem::new("alerts", format!("{:?}", self.alerts), "numbers above 0, such as [0.5, 0.8]"));
        }
        problems
    }
}

/// `"0.5 USD"`, or nothing.
mod money {
    use super::{Deserialize, Deserializer, Serializer, Usd, de};

    #[expect(clippy::ref_option, reason = "serde asks for it so")]
    pub(super) fn serialize<S: Serializer>(amount: &Option<Usd>, serializer: S) -> Result<S::Ok, S::Error> {
        match amount {
            Some(amount) => serializer.collect_str(&format_args!("{} USD", amount.get())),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
        String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_as_it_is_written_and_anything_else_is_refused() {
        for text in ["5 USD/day", "200 USD/month", "0.0005 USD/request", "1.5 USD/hour", "30 USD/week"] {
            assert_eq!(Amount::read(text).map(|amount| amount.to_string()).as_deref(), Some(text));
        }
        for text in ["5", "5 USD", "5 EUR/day", "-1 USD/day", "USD/day", "5 USD/year", "5 USD/", "inf USD/day"] {
            assert_eq!(Amount::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_comes_in_during_a_period_and_what_may_be_spent_at_once_are_the_amount() {
        let budget = |text: &str, credit| Config {
            amount: Amount::read(text).expect("an amount"),
            tenant: None,
            credit,
            alerts: usual_alerts(),
        };
        let day = budget("24 USD/day", None);
        let Rate::PerHour(hourly) = day.rate() else { panic!("it is one of time") };
        assert!((hourly.get() * 24.0 + day.credit().get() - 24.0).abs() < 1e-9);
        assert!(day.problems(&[]).is_empty());
        let bold = budget("24 USD/day", Some(Usd(13.0)));
        assert_eq!(bold.problems(&[]).len(), 1);
        let stranger = Config { tenant: Some("x".into()), ..day };
        assert_eq!(stranger.problems(&[&"a".into()])[0].path, "tenant");
    }
}
