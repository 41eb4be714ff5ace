//! A model that is asked whether two answers say the same: what it changes, and what it costs.

use pointsman::cache::SemanticConfig;
use pointsman::cache::semantic::space::Source;
use pointsman::ledger::Completed;
use serde_json::Value;

use super::alike::{ask, body, earn, house, outcome, settings, wording};
use super::house::House;
use super::upstream::{Act, whole};

/// Model `a` answers in one of two wordings that share no last word; model `b` is the judge and calls answers the same
/// that both speak of water.
fn worded(asked: &[u8]) -> Act {
    let asked: Value = serde_json::from_slice(asked).expect("JSON");
    if asked["model"] == "up-b" {
        let shown = asked["messages"][1]["content"].as_str().expect("what it is to judge");
        let shown: Value = serde_json::from_str(shown).expect("JSON");
        let wet = |name: &str| shown[name].as_str().expect("an answer").contains("water");
        return whole(if wet("first_answer") == wet("second_answer") { "SAME" } else { "DIFFERENT" });
    }
    let question = asked["messages"][0]["content"].as_str().expect("a question");
    let odd = question.bytes().map(u32::from).sum::<u32>() % 2 == 1;
    whole(if odd { "A river is flowing water." } else { "It is water that flows along." })
}

fn judged_by_b(share: f64) -> SemanticConfig {
    SemanticConfig { judge: Some("b".into()), judge_share: share, ..settings() }
}

fn calls_of_judge(house: &House) -> usize {
    let is = |body: &[u8]| serde_json::from_slice::<Value>(body).expect("JSON")["model"] == "up-b";
    house.upstream.asked().iter().filter(|asked| is(&asked.body)).count()
}

#[tokio::test]
async fn where_answers_are_worded_otherwise_a_judge_lets_the_namespace_serve() {
    let alone = house(settings(), &["red"]).await;
    alone.upstream.usually(Act::By(worded));
    for n in 0..40 {
        assert_eq!(outcome(&ask(&alone, &body(&wording(n))).await).0, "miss");
    }
    let judged = house(judged_by_b(1.0), &["red"]).await;
    judged.upstream.usually(Act::By(worded));
    earn(&judged).await;
    let space = &judged.gateway.cache().portraits(None)[0];
    assert!(space.sources[&Source::Judge] > 0 && !space.sources.contains_key(&Source::Vectors), "{space:?}");
    assert_eq!((space.standing.wrong, space.standing.unclear), (0, 0), "{space:?}");
    // Each of its calls is a request like any other, with its cost, and nobody else's.
    let own = |event: &Completed| event.background && event.model.as_ref().is_some_and(|model| model.as_str() == "b");
    let calls: Vec<Completed> = judged.completed().await.into_iter().filter(own).collect();
    assert_eq!(calls.len(), calls_of_judge(&judged));
    assert!(calls.iter().all(|call| call.cost_usd.is_some() && call.tenant.as_str() == "red" && call.reuse.is_none()));
}

#[tokio::test]
async fn it_is_asked_for_its_share_of_the_misses_and_no_more() {
    fn always_other(asked: &[u8]) -> Act {
        let asked: Value = serde_json::from_slice(asked).expect("JSON");
        match asked["messages"][0]["content"].as_str() {
            Some(question) if asked["model"] == "up-a" => whole(&format!("Of this it is said: {question}")),
            _ => whole("DIFFERENT"),
        }
    }
    let house = house(judged_by_b(0.1), &["red"]).await;
    house.upstream.usually(Act::By(always_other));
    for n in 0..200 {
        assert_eq!(outcome(&ask(&house, &body(&wording(n))).await).0, "miss");
    }
    let (calls, space) = (calls_of_judge(&house) as u64, &house.gateway.cache().portraits(None)[0]);
    // What would have been served is checked whatever the share.
    let checks = space.standing.checks;
    assert!(checks > 0 && checks == space.standing.wrong, "{space:?}");
    assert!((5..=20).contains(&(calls - checks)), "{calls} calls, {checks} checks");
    assert_eq!(space.sources[&Source::Judge], calls);
}

#[tokio::test]
async fn a_judge_that_fails_or_rambles_gives_no_verdict() {
    fn rambles(asked: &[u8]) -> Act {
        let judge = asked.windows(4).any(|part| part == b"up-b");
        if judge { whole("They are the SAME, I would say") } else { worded(asked) }
    }
    fn fails(asked: &[u8]) -> Act {
        let judge = asked.windows(4).any(|part| part == b"up-b");
        if judge { Act::Json(500, Vec::new(), "{}".to_owned()) } else { worded(asked) }
    }
    for rule in [rambles, fails] {
        let house = house(judged_by_b(1.0), &["red"]).await;
        house.upstream.usually(Act::By(rule));
        for n in 0..12 {
            assert_eq!(outcome(&ask(&house, &body(&wording(n))).await).0, "miss");
        }
        let space = &house.gateway.cache().portraits(None)[0];
        assert!(calls_of_judge(&house) > 0 && !space.sources.contains_key(&Source::Judge), "{space:?}");
    }
}

#[tokio::test]
async fn long_answers_are_not_compared_by_their_beginnings() {
    fn at_length(asked: &[u8]) -> Act {
        let asked = blake3::hash(asked).to_string();
        whole(&format!("{} Therefore {asked} it is so", "It is well known that rivers flow. ".repeat(60)))
    }
    let house = house(settings(), &["red"]).await;
    house.upstream.usually(Act::By(at_length));
    for n in 0..10 {
        assert_eq!(outcome(&ask(&house, &body(&wording(n))).await).0, "miss");
    }
    let space = &house.gateway.cache().portraits(None)[0];
    assert!(space.sources.is_empty() && space.entries == 10, "{space:?}");
}
