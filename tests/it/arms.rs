//! Models that come and go while it serves, by the configuration file alone.

use std::sync::Arc;
use std::time::Duration;

use pointsman::catalog::Price;
use pointsman::ledger::{Decided, Event};
use pointsman::simulate::{self, Faults, Provider, Truth};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::running::{Running, providers};

/// How good each model is, give or take a little.
const WORTH: [(&str, f64); 3] = [("poor", 0.25), ("fine", 0.8), ("next", 0.9)];

struct Three(Vec<Provider>);

impl Truth for Three {
    fn providers(&self) -> &[Provider] {
        &self.0
    }

    fn outcome(&self, model: &str, prompt: &str) -> Option<simulate::Outcome> {
        let (_, worth) = WORTH.iter().find(|(name, _)| *name == model)?;
        let score = worth + 0.1 * (simulate::chance(3, &[model, prompt]) - 0.5);
        let (first_token, total) = (Duration::ZERO, Duration::ZERO);
        Some(simulate::Outcome { score, completion_tokens: 20, first_token, total, cost_usd: None })
    }
}

async fn decided(running: &Running, after: u64) -> Vec<Decided> {
    let last = running.last().await;
    let entries = running.app.gateway().ledger().scan(after, (last - after) as usize).expect("readable");
    let is = |entry: pointsman::ledger::Entry| match entry.event {
        Event::Decided(event) => Some(*event),
        _ => None,
    };
    entries.into_iter().filter_map(is).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_model_starts_like_its_relative_at_a_capped_share_rises_by_evidence_and_is_gone_when_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let provider = |(name, _): &(&str, f64)| Provider {
        name: (*name).to_owned(),
        models: vec![(*name).to_owned()],
        price: Price { input: 1.0, output: 2.0, cached_input: None, cache_write: None, reasoning: None },
        faults: Faults::default(),
    };
    let truth = Arc::new(Three(WORTH.iter().map(provider).collect()));
    let served = simulate::serve(truth, 3, &tasks, &stop).await.expect("ports are to be had");
    let head =
        "version = 1\n[embed]\nenabled = false\n[policy]\nnewcomer_share = 0.2\n[learn]\npublish_after = '5ms'\n";
    let two = format!("{head}{}", providers(&served[..2]));
    let mut running = Running::start(folder.path(), &two).await;
    let ask = async |running: &Running, from: usize, to: usize| {
        for n in from..to {
            running.turn(&format!("What is {n} times seven?"), &[]).await;
        }
    };
    ask(&running, 0, 170).await;

    let like = "[[deployments]]\nprovider = 'next'\nname = 'next'\nlike = 'fine/fine'\n";
    let before = running.last().await;
    running.reload(&format!("{head}{}{like}", providers(&served))).await;
    ask(&running, 170, 171).await;
    let first = decided(&running, before).await.remove(0);
    let of = |event: &Decided, model: &str| {
        let arm = event.arms.iter().find(|arm| arm.model.as_str() == model).cloned();
        arm.unwrap_or_else(|| panic!("{model} is a candidate: {:?}", event.arms))
    };
    let (next, fine) = (of(&first, "next/next"), of(&first, "fine/fine"));
    let (own, relative) = (next.prediction.quality, fine.prediction.quality);
    assert!((own.mean - relative.mean).abs() < 0.02, "it is taken to be like it: {own:?} {relative:?}");
    assert!(own.sd > relative.sd, "and less is known of it");
    assert!(relative.mean - of(&first, "poor/poor").prediction.quality.mean > 0.2);
    assert!(next.propensity <= 0.21, "at a capped share: {}", next.propensity);
    assert_eq!(next.like.as_ref().map(pointsman::base::ModelId::as_str), Some("fine/fine"));

    ask(&running, 171, 400).await;
    let late = decided(&running, before).await.pop().expect("there are many");
    let share = of(&late, "next/next").propensity;
    assert!(share > 0.5, "promoted by evidence: {share}");

    let before = running.last().await;
    running.reload(&two).await;
    ask(&running, 400, 410).await;
    let gone = decided(&running, before).await;
    assert!(gone.len() == 10 && gone.iter().all(|event| event.arms.len() == 2), "it is gone at once");
    stop.cancel();
}
