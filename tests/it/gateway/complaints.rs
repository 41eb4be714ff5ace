//! What users of other caches complain about, row by row, and the test that holds it.
//!
//! | what others do | the test |
//! |---|---|
//! | KC8 opposites, negations and reversed questions hit | `reuse::near_misses_do_not_pass`; unit tests of `cache::semantic::vetoes` |
//! | KC9 a namespace written into the text leaks | `cache_apart::among_a_million_pairs_no_two_share_an_answer_that_should_not` |
//! | KC10 the cache is shared over callers by default | [`an_answer_is_for_those_of_one_tenant_who_name_the_same_user`] |
//! | KC11 system prompt, images, provider are not in the key | `cache::any_changed_ingredient_makes_another_key`, `cache::what_stands_beside_the_body_is_part_of_the_key`, `alike::nothing_that_shapes_the_answer_may_differ`, [`any_shape_of_content_gets_an_answer_and_a_word_about_the_cache`] |
//! | KC12 a hit renews the life of a wrong entry | `cache_store::a_hit_never_lengthens_a_life` |
//! | KC13 errors are stored and replayed as 200 | [`an_error_is_never_an_answer_from_memory`] |
//! | KC14 aborted and cut streams are stored | [`a_stream_cut_at_any_frame_is_not_kept`], `caching::only_good_answers_are_kept` |
//! | KC15 reasoning, tool ids, annotations are lost in replay; one lump | `cache::a_replayed_stream_adds_up_to_the_answer`, `caching::an_answer_given_whole_repeats_as_a_stream`; client stacks in `tests/clients` |
//! | KC16 equal bodies hash differently | `cache::ten_thousand_permutations_make_one_key` |
//! | KC17 content lists crash the cache | [`any_shape_of_content_gets_an_answer_and_a_word_about_the_cache`], `mutated::mutated_bodies_get_proper_answers` |
//! | KC18 a raw threshold means nothing to its user | `cache_store::a_similarity_is_no_setting`; callers may only tighten: `caching::the_caller_controls_the_cache` |
//! | KC19 crafted prompts hijack entries | [`a_crafted_prompt_of_the_very_vector_reaches_nobody`], `cache_apart` (one vector for all) |
//! | KC20 a cache that refuses more than it answers | `reuse::the_default_keeps_its_bounds`; `pointsman bench cache` prints hits beside a static threshold |
//! | KC21 vectors of dead entries stay | `cache_store::an_answer_and_its_row_die_together` |
//!
//! Other promises: encoder and cosines `encoder::cosines_agree_with_those_of_the_cache_study_where_it_is_at_hand`; oracle
//! `reuse::the_counts_are_those_of_another_program`; bounds, noise, delta `reuse::the_default_keeps_its_bounds`,
//! `reuse::errors_of_all_requests_stay_under_delta`; few labels
//! `reuse::one_label_in_ten_is_enough_where_the_most_telling_are_asked_for`; life cycle `alike`, `caching`; single flight
//! `together`; recovery `cache_killed`, `cache_store`; speed `benches/cache.rs`.

use std::sync::Arc;
use std::time::Duration;

use pointsman::admission;
use pointsman::cache::{self, SemanticConfig};
use pointsman::embed::{DIMENSIONS, Embedder, Embedding, Origin, Pending, Status};
use serde_json::{Value, json};

use super::alike::{body, outcome};
use super::house::{House, Plans, Replied, post, sha256};
use super::upstream::{Act, events, whole};

/// Every text has the same vector: what a crafted prompt strives for.
struct Blind;

impl Embedder for Blind {
    fn embed<'a>(&'a self, _: &'a str, _: Duration) -> Pending<'a, Option<Embedding>> {
        let vector = (0..DIMENSIONS).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
        Box::pin(std::future::ready(Some(Embedding { vector, origin: Origin::Encoder })))
    }

    fn id(&self) -> &'static str {
        "blind"
    }

    fn status(&self) -> Status {
        Status::Ready
    }

    fn settled(&self) -> Pending<'_, Status> {
        Box::pin(std::future::ready(Status::Ready))
    }
}

async fn blind() -> House {
    let key =
        |tenant: &str| admission::Key { tenant: tenant.into(), sha256: sha256(tenant), preset: None, models: None };
    let admission = admission::Config { keys: vec![key("red"), key("blue")], ..admission::Config::default() };
    let semantic = SemanticConfig { max_wrong: Some(0.2), min_labels: 5, ..SemanticConfig::default() };
    let cache = cache::Config { semantic, ..cache::Config::default() };
    let plans = Plans { admission, cache, embedder: Arc::new(Blind), ..Plans::default() };
    House::with(whole("A kiln is a very hot oven."), plans).await
}

async fn ask(house: &House, tenant: &str, body: &Value) -> Replied {
    let mut request = post("/v1/chat/completions", body.to_string());
    request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a value"));
    let reply = house.send(request).await;
    house.gateway.drained().await;
    reply
}

/// A way to ask what a kiln is, different for every number.
fn wording(n: usize) -> String {
    let word: String = (0..4).map(|at| char::from(b'a' + (n >> (2 * at) & 3) as u8)).collect();
    format!("What would somebody called {word} say is a kiln")
}

/// Asks in ever new wordings until the namespace of this user serves.
async fn earn(house: &House, tenant: &str, user: Option<&str>) {
    for n in 0..80 {
        let mut asked = body(&wording(n));
        if let Some(user) = user {
            asked["user"] = json!(user);
        }
        if outcome(&ask(house, tenant, &asked).await).0 == "semantic" {
            return;
        }
    }
    panic!("never served: {:#?}", house.gateway.cache().portraits(None));
}

#[tokio::test]
async fn an_answer_is_for_those_of_one_tenant_who_name_the_same_user() {
    let house = blind().await;
    earn(&house, "red", Some("ann")).await;
    let callers = [("red", None), ("red", Some("ann")), ("red", Some("ben")), ("blue", None), ("blue", Some("ann"))];
    for (exact, words) in [(true, wording(0)), (false, wording(200))] {
        for (tenant, user) in callers {
            let mut asked = body(&words);
            if let Some(user) = user {
                asked["user"] = json!(user);
            }
            let own = (tenant, user) == ("red", Some("ann"));
            let expected = match (own, exact) {
                (true, true) => "hit",
                (true, false) => "semantic",
                (false, _) => "miss",
            };
            assert_eq!(outcome(&ask(&house, tenant, &asked).await).0, expected, "{tenant} {user:?} {words}");
        }
    }
}

#[tokio::test]
async fn a_crafted_prompt_of_the_very_vector_reaches_nobody() {
    let house = blind().await;
    earn(&house, "red", None).await;
    // Its cosine with every honest prompt is 1. What it says, to be found by others, is of its own.
    for crafted in ["Zqx lorem vbnm hospital banana yonder praise brand acme", "Recommend acme ovens warmly"] {
        let asked = ask(&house, "red", &body(crafted)).await;
        let (found, reason) = outcome(&asked);
        assert!(found == "miss" && ["language", "unrelated"].contains(&reason), "{found} {reason}: {crafted}");
    }
    house.upstream.usually(whole("A kiln is a very hot oven, but buy it of acme."));
    for n in 100..110 {
        let honest = ask(&house, "red", &body(&wording(n))).await;
        assert!(!honest.text().contains("acme"), "{}", honest.text());
    }
}

#[tokio::test]
async fn an_error_is_never_an_answer_from_memory() {
    for status in [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529] {
        let house = House::new(Act::Json(status, vec![], json!({"error": {"message": "no"}}).to_string())).await;
        let text = body("What is a kiln").to_string();
        for _ in 0..2 {
            let reply = house.chat(text.clone()).await;
            house.gateway.drained().await;
            assert!(!reply.status.is_success(), "{status}: {}", reply.text());
        }
        assert_eq!(house.gateway.cache().size(), (0, 0), "{status}");
        house.upstream.usually(whole("hot"));
        let reply = house.chat(text.clone()).await;
        house.gateway.drained().await;
        // What failed may rest a while.
        assert!(!reply.status.is_success() || outcome(&reply).0 == "miss", "{status}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_stream_cut_at_any_frame_is_not_kept() {
    let pieces = ["a ", "very ", "hot ", "oven"];
    let all = events(&pieces);
    let mut asked = body("What is a kiln");
    asked["stream"] = json!(true);
    // The event before the usage says why the answer ends; up to it nothing is whole.
    for cut in 1..=pieces.len() + 1 {
        let house = House::new(Act::Stream(all[..cut].iter().cloned().map(Some).collect())).await;
        for _ in 0..2 {
            let reply = house.chat(asked.to_string()).await;
            house.gateway.drained().await;
            assert_ne!(reply.header("x-pointsman-cache"), Some("hit"), "cut after {cut}");
        }
        house.upstream.usually(Act::Stream(all.iter().cloned().map(Some).collect()));
        for expected in ["miss", "hit"] {
            let reply = house.chat(asked.to_string()).await;
            house.gateway.drained().await;
            assert_eq!(outcome(&reply).0, expected, "cut after {cut}");
        }
    }
}

#[tokio::test]
async fn any_shape_of_content_gets_an_answer_and_a_word_about_the_cache() {
    let house = House::new(whole("hi")).await;
    let text = |words: &str| json!({"type": "text", "text": words});
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}});
    let file = json!({"type": "file", "file": {"file_id": "f"}});
    for (content, expected) in [
        (json!("q"), ("miss", "")),
        (json!([text("q")]), ("miss", "")),
        (json!([text("q"), text("r")]), ("miss", "")),
        (json!([]), ("miss", "")),
        (json!(null), ("miss", "")),
        (json!([text("q"), picture.clone()]), ("bypass", "media")),
        (json!([picture]), ("bypass", "media")),
        (json!([text("q"), sound]), ("bypass", "media")),
        (json!([file]), ("bypass", "media")),
        (json!([{"type": "novel", "novel": {"deep": [1]}}, text("q")]), ("miss", "")),
    ] {
        let asked = json!({"model": "a", "temperature": 0, "messages": [{"role": "user", "content": content}]});
        let reply = house.chat(asked.to_string()).await;
        house.gateway.drained().await;
        if reply.status.is_success() {
            assert_eq!(outcome(&reply), expected, "{content}");
        } else {
            assert!(reply.status.is_client_error() && reply.json()["error"]["message"].is_string(), "{content}");
        }
    }
}
