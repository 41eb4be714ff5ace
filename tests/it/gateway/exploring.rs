//! The rules of exploring, over HTTP: what a tenant's requests may try, and the promise made of the baseline.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use pointsman::catalog::Catalog;
use pointsman::gateway::{Guards, Live, Rule};
use pointsman::ledger::{Decided, Mode};
use pointsman::policy::safety::Ruling;
use pointsman::policy::{Ask, Candidate, CostWeight, Estimate, Explore, Policy, Prediction, Preferences, Scored};
use serde_json::{Value, json};

use super::house::{House, Plans, ask, post};
use super::upstream::Act;

fn rules(rule: &Value) -> BTreeMap<String, Rule> {
    [("usual".to_owned(), serde_json::from_value(rule.clone()).expect("a rule"))].into()
}

/// A house with this rule, in which `b` is the baseline, after so many requests that wish to explore to the full.
async fn after(requests: usize, rule: Value) -> (House, Vec<Decided>) {
    let body = json!({"id": "up", "object": "chat.completion", "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}});
    let house = House::new(Act::Json(200, Vec::new(), body.to_string())).await;
    let guards = Arc::new(Guards::new(&rules(&rule)));
    house.gateway.swap(|live| {
        let Catalog { deployments, aliases, .. } = live.catalog.as_ref().clone();
        let catalog = Arc::new(Catalog::new(deployments, aliases, Some("b".into())));
        Live { guards: Arc::clone(&guards), catalog, ..live.clone() }
    });
    for n in 0..requests {
        let mut request = post("/v1/chat/completions", Body::from(ask("auto", &format!("Question {n}"))));
        request.headers_mut().insert("x-pointsman-explore", "full".parse().expect("a header"));
        assert!(house.send(request).await.status.is_success());
    }
    let decided = house.decided().await;
    (house, decided)
}

#[tokio::test]
async fn without_a_rule_requests_explore_as_they_wish() {
    let (_, decided) = after(20, json!({"tenant": "somebody"})).await;
    assert!(decided.iter().all(|event| event.guard.is_none() && event.preferences.explore == Explore::Full));
}

#[tokio::test]
async fn a_tenant_that_may_not_explore_gets_the_best_known_arm_whatever_it_wishes() {
    let (_, decided) = after(20, json!({"most": "never"})).await;
    for event in &decided {
        assert_eq!((event.chosen, event.preferences.explore), (event.greedy, Explore::Never));
        assert_eq!(event.arms[event.chosen].propensity, 1.0);
        assert_eq!(event.guard.map(|guard| guard.wished), Some(Explore::Full));
    }
}

#[tokio::test]
async fn a_share_of_the_traffic_explores_and_the_rest_does_not() {
    let (house, decided) = after(300, json!({"traffic": 0.1})).await;
    let explored = decided.iter().filter(|event| event.chosen != event.greedy).count();
    assert!((20..=36).contains(&explored), "a tenth of 300, and of the 50 taken as served before: {explored}");
    let spent = decided.iter().filter(|event| event.guard.map(|guard| guard.ruling) == Some(Ruling::Spent));
    for event in spent {
        assert_eq!((event.chosen, event.preferences.explore), (event.greedy, Explore::Never));
    }
    // A restart goes on with the tally.
    let again = Guards::recover(&rules(&json!({"traffic": 0.1})), house.ledger.as_ref()).expect("readable");
    house
        .gateway
        .swap(|live| Live { guards: Arc::new(again.reloaded(&rules(&json!({"traffic": 0.1})))), ..live.clone() });
    house.chat(ask("auto", "One more")).await;
    let last = house.decided().await.pop().and_then(|event| event.guard).expect("a rule");
    assert_eq!(last.tally.requests, 301);
}

/// `b` is dear and good, `a` cheap and poor; half of the answers must be `b`'s for the mean that is to be kept.
#[tokio::test]
async fn a_mean_quality_is_kept_at_the_least_cost_and_a_restart_goes_on_with_what_a_dollar_counts() {
    let body = json!({"id": "up", "object": "chat.completion", "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}});
    let house = House::with(
        Act::Json(200, Vec::new(), body.to_string()),
        Plans { policy: Some(Arc::new(Certain)), ..Plans::default() },
    )
    .await;
    let rule = rules(&json!({"quality": 0.7}));
    let guards = Arc::new(Guards::new(&rule));
    house.gateway.swap(|live| Live { guards: Arc::clone(&guards), ..live.clone() });
    let usual = Preferences::default();
    for n in 0..400 {
        assert!(house.chat(ask("auto", &format!("Question {n}"))).await.status.is_success());
    }
    let decided = house.decided().await;
    let served = |from: usize| -> f64 {
        let served = decided[from..].iter().map(|event| event.arms[event.chosen].prediction.quality.mean);
        served.sum::<f64>() / (decided.len() - from) as f64
    };
    assert!((0.68..0.72).contains(&served(200)), "{}", served(200));
    let last = decided.last().expect("many");
    assert_ne!(last.preferences.cost, usual.cost, "what a dollar counted is in the log");

    let [standing] = &guards.standings()[..] else { panic!("one tenant: {:?}", guards.standings()) };
    assert_eq!((standing.requests, standing.kept), (400, Some(0.7)));
    let again = Guards::recover(&rule, house.ledger.as_ref()).expect("readable");
    assert_eq!(&again.standings()[..], std::slice::from_ref(standing));
}

/// Knows that `b` is worth .9 for a hundredth of a dollar, and `a` .5 for nothing.
#[derive(Debug)]
struct Certain;

impl Policy for Certain {
    fn version(&self) -> &'static str {
        "certain"
    }

    fn score(&self, ask: &Ask<'_>, candidates: &[Candidate]) -> Scored {
        let CostWeight::Relative(weight) = ask.preferences.cost else { panic!("{:?}", ask.preferences) };
        let prediction = |candidate: &Candidate| {
            let (quality, cost) = if candidate.model.as_str() == "b" { (0.9, 0.01) } else { (0.5, 0.0) };
            let sure = |mean: f64| Estimate { mean, sd: 0.0 };
            let utility = quality - weight * cost / 0.01;
            Prediction { quality: sure(quality), cost: Some(sure(cost)), latency: None, utility }
        };
        let predictions: Vec<Prediction> = candidates.iter().map(prediction).collect();
        let greedy = usize::from(predictions[1].utility > predictions[0].utility);
        let propensities = (0..2).map(|arm| f64::from(u8::from(arm == greedy))).collect();
        Scored { propensities, predictions, greedy, excluded: vec![None; 2] }
    }
}

/// The worst world that the lower bounds allow: nothing is known of the other arm, so its answers may be worth nothing.
#[tokio::test]
async fn what_is_served_is_never_below_the_promised_share_of_the_baseline() {
    let loss = 0.2;
    let (_, decided) = after(120, json!({"loss": loss})).await;
    let (mut served, mut due, mut explored) = (0.0, 0.0, 0);
    for event in &decided {
        let guard = event.guard.expect("a rule");
        let baseline = guard.baseline.expect("it can serve");
        assert_eq!(event.arms[baseline].model.as_str(), "b");
        let worth = event.arms[baseline].prediction.quality.mean;
        due += worth;
        if event.chosen == baseline {
            served += worth;
        } else {
            // It gives exactly what its lower bound says.
            let belief = event.arms[event.chosen].prediction.quality;
            served += (belief.mean - 2.0 * belief.sd).max(0.0);
            explored += 1;
        }
        assert!(served >= (1.0 - loss) * due - 1e-9, "{served} of {due}");
        assert!((guard.tally.lower - served).abs() < 1e-9 && (guard.tally.baseline - due).abs() < 1e-9);
    }
    assert!((5..=24).contains(&explored), "it may lose a fifth, and does explore: {explored}");
    let guarded: Vec<&Decided> = decided.iter().filter(|event| event.mode == Mode::Guarded).collect();
    assert!(guarded.len() > 60 && guarded.iter().all(|event| event.arms[event.chosen].propensity == 1.0));
}
