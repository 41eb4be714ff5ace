//! The retry budget: when everything fails, retries must not multiply the load.

use std::sync::atomic::{AtomicI64, Ordering};

/// A retry costs one token; tokens are counted in thousandths.
const TOKEN: i64 = 1000;

/// What the budget starts with, so that a quiet gateway may retry, too.
const START: i64 = 10 * TOKEN;

/// The most that can be saved up.
const FULL: i64 = 100 * TOKEN;

/// A bucket that every request pays a share of a token into and every retry takes a token from.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: AtomicI64,
    share: i64,
}

impl Budget {
    /// A budget that lets retries be this share of the requests, in the long run.
    pub(super) fn new(share: f64) -> Self {
        Self { tokens: AtomicI64::new(START), share: (share * TOKEN as f64) as i64 }
    }

    /// A request came.
    pub(super) fn pay_in(&self) {
        let pay = |tokens: i64| (tokens < FULL).then_some(FULL.min(tokens + self.share));
        // Full is no failure.
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }

    /// Takes the price of a retry, if it is there.
    pub(super) fn take(&self) -> bool {
        let take = |tokens: i64| (tokens >= TOKEN).then_some(tokens - TOKEN);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_an_outage_retries_are_only_their_share_of_the_requests() {
        let budget = Budget::new(0.2);
        let mut retries = 0;
        for _ in 0..1000 {
            budget.pay_in();
            retries += i32::from(budget.take()) + i32::from(budget.take());
        }
        assert_eq!(retries, 10 + 200);
    }

    #[test]
    fn no_more_is_saved_up_than_the_bucket_holds() {
        let budget = Budget::new(1.0);
        for _ in 0..10_000 {
            budget.pay_in();
        }
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 100);
    }
}
