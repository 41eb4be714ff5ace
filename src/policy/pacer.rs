//! So many dollars: how much the next request may cost, and how much a dollar must count for the money to last.
//!
//! Two things hold a budget. A **purse**, filled at the budget's rate up to a credit and emptied by what answers cost:
//! a candidate is eligible only while the purse holds its dearest likely answer, so spending never passes
//! `start + rate x time`, whatever comes in whatever order, but for answers dearer than that. And a **price of money**
//! `nu`, that every request moves by `.1 (min(c / (a B), 20) - 1)`, `c` what it cost and `B` what it was allowed: it
//! rises while more is spent than comes in, so that the purse is seldom what decides. A dollar then counts `nu x .01 / B`
//! of quality, above what it counts to the caller.
//!
//! Below 1 the price moves by so much of *itself*: mirror descent on the dual, its map the identity above 1 and the
//! logarithm below (Balseiro, Lu, Mirrokni). Where the budget buys nearly all that is wanted the right price is small,
//! and one dear answer would move it by more than itself; of the cheap ones after it, those that met the floor at 0
//! would be forgotten, and with them what they left over. Moved by shares of itself it meets no floor: only a policy
//! that has no use for the money brings it there.
//!
//! The share `a` of what comes in that is spent is .9 where the purse is empty and 1 where it is full. So what a surprise
//! or a beginning has taken comes back: an empty purse leaves only the cheapest to choose from, whatever the price says.
//!
//! Turned round, the same loop keeps a quality; see [`Guard::worth`](super::safety::Guard::worth).
//!
//! Pure: time and costs come as values. What a pacer was at a moment can be written down and gone on with
//! ([`Standing`]). Several budgets hold at once when each has its pacer and the greatest price
//! and the least purse count ([`Pace::and`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Timestamp, Usd};

/// Step of the price of money.
const STEP: f64 = 0.1;
/// Share of what comes in that is put aside while the purse is empty; in proportion less, the fuller it is.
const PUT_ASIDE: f64 = 0.1;
/// Quality that one request's budget weighs at a price of 1.
const SCALE: f64 = 0.01;
/// Least and greatest price of money. At the least, an answer that costs ten times what it is allowed counts a
/// thousandth of quality.
const PRICES: (f64, f64) = (0.01, 200.0);
/// An answer is not counted as more than so many requests' budgets in the price.
const SURPRISE: f64 = 20.0;
/// How quickly the allowance of one request follows the traffic, where the budget is one of time. Before it has seen so
/// many that this is slow, it is their mean.
const FOLLOW: f64 = 0.02;

/// How fast money comes in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// So much with every request.
    PerRequest(Usd),
    /// So much an hour, whatever the traffic.
    PerHour(Usd),
}

impl Rate {
    /// How long until so much has come in; `None` = no time brings it.
    #[must_use]
    pub fn time_for(self, amount: Usd) -> Option<Duration> {
        match self {
            Self::PerHour(usd) if usd.0 > 0.0 => Duration::try_from_secs_f64((amount.0 / usd.0 * 3600.0).max(0.0)).ok(),
            Self::PerHour(_) | Self::PerRequest(_) => None,
        }
    }
}

/// What a budget asks of the next choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pace {
    /// Points of quality that a dollar counts above what it counts to the caller.
    pub per_usd: f64,
    /// What an answer may cost; `None` = anything.
    pub purse: Option<Usd>,
}

impl Pace {
    /// Both budgets at once: the dearer money, the smaller purse.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let purse = match (self.purse, other.purse) {
            (Some(one), Some(two)) => Some(Usd(one.0.min(two.0))),
            (one, two) => one.or(two),
        };
        Self { per_usd: self.per_usd.max(other.per_usd), purse }
    }
}

/// Points of quality that a dollar counts at this price of money, where a request is allowed this much.
#[must_use]
pub fn per_usd(price: f64, allowed: Usd) -> f64 {
    if allowed.0 > 0.0 { price * SCALE / allowed.0 } else { 0.0 }
}

/// A price moved by this much; see the module.
fn moved(price: f64, by: f64) -> f64 {
    let place = if price < 1.0 { price.ln() } else { price - 1.0 } + by;
    let price = if place < 0.0 { place.exp() } else { 1.0 + place };
    price.clamp(PRICES.0, PRICES.1)
}

/// Where a budget stands: all that its pacer is made from again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// In the purse, what is held back for requests on their way included. Below zero after answers that were dearer
    /// than foreseen.
    pub purse: Usd,
    /// Held back for requests on their way.
    pub held: Usd,
    /// The price of money.
    pub price: f64,
    /// What one request is allowed, of late.
    pub allowed: Usd,
    /// When that was.
    pub at: Timestamp,
}

/// One budget, being spent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pacer {
    rate: Rate,
    /// The purse is never fuller.
    credit: f64,
    purse: f64,
    price: f64,
    /// What one request is allowed, of late.
    allowed: f64,
    /// When money last came in.
    filled: Timestamp,
    /// What came in since the last request was settled.
    came: f64,
    /// Held back for requests on their way.
    held: f64,
    /// Requests that the allowance has followed.
    followed: u32,
}

impl Pacer {
    /// A budget that begins now with a full purse. One a request begins with a price of 1, as if it bound a little; of one
    /// of time nobody knows yet what a request is allowed, so money counts as good as nothing at first.
    #[must_use]
    pub fn new(rate: Rate, credit: Usd, now: Timestamp) -> Self {
        let (allowed, price) = match rate {
            Rate::PerRequest(usd) => (usd.0, 1.0),
            Rate::PerHour(usd) => (usd.0 / 3600.0, PRICES.0),
        };
        let (credit, purse) = (credit.0, credit.0);
        Self { rate, credit, purse, price, allowed, filled: now, came: 0.0, held: 0.0, followed: 0 }
    }

    /// The price of money now; what a restart goes on with.
    #[must_use]
    pub const fn price(&self) -> f64 {
        self.price
    }

    /// A budget that goes on from where it stood. Nothing is on its way.
    #[must_use]
    pub fn resumed(rate: Rate, credit: Usd, standing: Standing) -> Self {
        let fresh = Self::new(rate, credit, standing.at);
        let price = standing.price.clamp(PRICES.0, PRICES.1);
        Self { purse: standing.purse.0.min(credit.0), price, allowed: standing.allowed.0, followed: u32::MAX, ..fresh }
    }

    /// Where it stands, as of the last time it was asked.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        let Self { purse, held, price, allowed, filled, .. } = *self;
        Standing { purse: Usd(purse), held: Usd(held), price, allowed: Usd(allowed), at: filled }
    }

    /// How fast money comes in.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The most that the purse holds.
    #[must_use]
    pub const fn credit(&self) -> Usd {
        Usd(self.credit)
    }

    /// A request comes: what its choice must respect. Money of the time since the last call comes in first; with
    /// [`Rate::PerRequest`] every call brings its request's share.
    pub fn pace(&mut self, now: Timestamp) -> Pace {
        if let Rate::PerRequest(usd) = self.rate {
            self.come_in(usd.0);
        }
        self.look(now)
    }

    /// What a choice must respect now, without a request that comes.
    pub fn look(&mut self, now: Timestamp) -> Pace {
        if let Rate::PerHour(usd) = self.rate {
            self.come_in(usd.0 * now.since(self.filled).as_secs_f64() / 3600.0);
        }
        self.filled = self.filled.max(now);
        let left = Usd((self.purse - self.held).max(0.0));
        Pace { per_usd: per_usd(self.price, Usd(self.allowed)), purse: Some(left) }
    }

    fn come_in(&mut self, amount: f64) {
        self.came += amount;
        self.purse = (self.purse + amount).min(self.credit);
    }

    /// Whether the purse holds so much beside what is held back.
    #[must_use]
    pub fn has(&self, amount: Usd) -> bool {
        amount.0 <= (self.purse - self.held).max(0.0)
    }

    /// Holds back what a request on its way may cost at most.
    pub fn hold(&mut self, most: Usd) {
        self.held += most.0;
    }

    /// Gives back what was held for a request that was never sent.
    pub fn release(&mut self, held: Usd) {
        let left = self.held - held.0;
        // What remains of many sums is rounding.
        self.held = if left > 1e-12 { left } else { 0.0 };
    }

    /// A request was answered for this much; `held` is what was held back for it.
    pub fn settle(&mut self, cost: Usd, held: Usd) {
        self.release(held);
        self.purse -= cost.0;
        if matches!(self.rate, Rate::PerHour(_)) {
            self.followed = self.followed.saturating_add(1);
            self.allowed += FOLLOW.max(1.0 / f64::from(self.followed)) * (self.came - self.allowed);
        }
        self.came = 0.0;
        if self.allowed > 0.0 {
            let aim = (1.0 - PUT_ASIDE * self.lacking()) * self.allowed;
            let spent = (cost.0 / aim).min(SURPRISE);
            self.price = moved(self.price, STEP * (spent - 1.0));
        }
    }

    /// Something was paid for this much that nobody chose; `held` is what was held back for it. It leaves the less for
    /// what is chosen, and says nothing of the price that the choices need.
    pub fn take(&mut self, cost: Usd, held: Usd) {
        self.release(held);
        self.purse -= cost.0;
        self.came = (self.came - cost.0).max(0.0);
    }

    /// What of the purse is empty, 0 to 1.
    fn lacking(&self) -> f64 {
        if self.credit > 0.0 { (1.0 - self.purse / self.credit).clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Seed;

    proptest! {
        /// Costs may come in any order, also with the dearest first: an adversary who knows the purse.
        #[test]
        fn spending_never_passes_the_rate_and_the_credit(
            wishes in prop::collection::vec((0.0..30.0_f64, any::<bool>()), 1..400), credit in 0.0..50.0_f64,
        ) {
            let mut pacer = Pacer::new(Rate::PerRequest(Usd(1.0)), Usd(credit), Timestamp(0));
            let mut spent = 0.0;
            for (t, (wish, greedy)) in wishes.into_iter().enumerate() {
                let purse = pacer.pace(Timestamp(t as u64)).purse.expect("a budget").0;
                let cost = if greedy { purse } else { wish };
                if cost <= purse {
                    spent += cost;
                    pacer.settle(Usd(cost), Usd(0.0));
                }
                prop_assert!(spent <= (t + 1) as f64 + credit + 1e-9, "{spent} at {t}");
            }
        }

        /// The same with several on their way at once.
        #[test]
        fn what_is_on_its_way_is_held_back(wishes in prop::collection::vec((0.0..5.0_f64, 0..6_usize), 1..200)) {
            let mut pacer = Pacer::new(Rate::PerHour(Usd(3600.0)), Usd(10.0), Timestamp(0));
            let (mut spent, mut open) = (0.0, Vec::new());
            for (t, (wish, done)) in wishes.into_iter().enumerate() {
                let seconds = t as u64 + 1;
                let purse = pacer.pace(Timestamp(seconds * 1_000_000)).purse.expect("a budget").0;
                if wish <= purse {
                    pacer.hold(Usd(wish));
                    open.push(wish);
                }
                if done < open.len() {
                    let cost = open.swap_remove(done);
                    spent += cost;
                    pacer.settle(Usd(cost), Usd(cost));
                }
                prop_assert!(spent + open.iter().sum::<f64>() <= seconds as f64 + 10.0 + 1e-9);
            }
        }
    }

    #[test]
    fn the_price_of_money_finds_the_mix_that_the_budget_pays_for() {
        // Cheap: quality .6 for 1, dear: .8 for 10; the budget pays for one dear answer in three.
        let mut pacer = Pacer::new(Rate::PerRequest(Usd(4.0)), Usd(200.0), Timestamp(0));
        let (mut spent, mut dear) = (0.0, 0);
        for t in 0..4_000 {
            let pace = pacer.pace(Timestamp(t));
            let gain = 0.2 + 0.1 * (Seed(t).uniform("prompt") - 0.5);
            let chosen = gain > pace.per_usd * 9.0 && pace.purse.is_some_and(|purse| purse.0 >= 10.0);
            let cost = if chosen { 10.0 } else { 1.0 };
            pacer.settle(Usd(cost), Usd(0.0));
            spent += cost;
            dear += u32::from(chosen);
        }
        let used = spent / (4.0 * 4_000.0);
        assert!((0.97..=1.013).contains(&used), "{used}");
        assert!((1_250..1_400).contains(&dear), "{dear}");
    }

    /// Cheap answers cost a third of what a request is allowed, dear ones eight times as much and are this much better;
    /// what was spent of the budget, and how much dearer money was at the end than at its least.
    fn spent_where_the_budget_buys_nearly_all(gain: impl Fn(u64) -> f64) -> (f64, f64) {
        let mut pacer = Pacer::new(Rate::PerRequest(Usd(1.0)), Usd(100.0), Timestamp(0));
        let mut spent = 0.0;
        for t in 0..10_000 {
            let pace = pacer.pace(Timestamp(t));
            let dear = gain(t) > pace.per_usd * 7.67 && pacer.has(Usd(8.0));
            let cost = if dear { 8.0 } else { 0.33 };
            pacer.settle(Usd(cost), Usd(0.0));
            spent += cost;
        }
        (spent / 10_000.0, pacer.price() / PRICES.0)
    }

    #[test]
    fn money_is_not_left_over_because_one_dear_answer_moves_the_price_beyond_what_it_is_worth() {
        // One in five is better by .005 to .015: at a price near .1 the budget pays for half of them.
        let gain = |t| {
            let better = Seed(t).uniform("better") < 0.2;
            if better { 0.005 + 0.01 * Seed(t).uniform("by") } else { -0.01 }
        };
        let (spent, _) = spent_where_the_budget_buys_nearly_all(gain);
        assert!((0.97..=1.01).contains(&spent), "{spent}");
        let (spent, price) = spent_where_the_budget_buys_nearly_all(|_| -0.01);
        assert!(spent < 0.34 && price < 1.01, "what nobody wants is not bought: {spent} at {price}");
    }

    #[test]
    fn an_empty_purse_fills_again() {
        let mut pacer = Pacer::new(Rate::PerRequest(Usd(1.0)), Usd(100.0), Timestamp(0));
        pacer.settle(Usd(100.0), Usd(0.0));
        for t in 0..4_000 {
            let pace = pacer.pace(Timestamp(t));
            // What costs three times what is allowed is worth a price of 5, more or less.
            let gain = 0.1 + 0.05 * (Seed(t).uniform("prompt") - 0.5);
            let dear = gain > pace.per_usd * 2.0 && pacer.has(Usd(3.0));
            pacer.settle(Usd(if dear { 3.0 } else { 0.5 }), Usd(0.0));
        }
        assert!(pacer.has(Usd(80.0)), "{:?}", pacer.standing());
    }

    #[test]
    fn what_nobody_chose_leaves_less_for_what_is_chosen_and_moves_no_price() {
        let mut pacer = Pacer::new(Rate::PerHour(Usd(3600.0)), Usd(100.0), Timestamp(0));
        let mut second = 0;
        let mut seconds = |count: u64| {
            second += count;
            Timestamp(second * 1_000_000)
        };
        for _ in 0..400 {
            pacer.pace(seconds(1));
            let before = pacer.price();
            pacer.hold(Usd(0.4));
            pacer.take(Usd(0.4), Usd(0.4));
            assert_eq!((pacer.price(), pacer.standing().held), (before, Usd(0.0)));
            pacer.pace(seconds(1));
            pacer.settle(Usd(1.0), Usd(0.0));
        }
        assert!((pacer.standing().allowed.0 - 1.6).abs() < 0.01, "{:?}", pacer.standing());
    }

    #[test]
    fn the_allowance_of_a_request_is_soon_that_of_the_traffic() {
        let mut pacer = Pacer::new(Rate::PerHour(Usd(3600.0)), Usd(100.0), Timestamp(0));
        for minute in 1..=5 {
            pacer.pace(Timestamp(minute * 60_000_000));
            pacer.settle(Usd(1.0), Usd(0.0));
        }
        assert!((pacer.standing().allowed.0 - 60.0).abs() < 1e-9, "{:?}", pacer.standing());
    }

    #[test]
    fn of_several_budgets_the_tightest_counts() {
        let rich = Pace { per_usd: 1.0, purse: Some(Usd(5.0)) };
        let poor = Pace { per_usd: 3.0, purse: Some(Usd(0.5)) };
        assert_eq!(rich.and(poor), poor);
        assert_eq!(Pace::default().and(rich), rich);
    }
}
