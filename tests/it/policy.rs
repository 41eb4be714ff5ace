//! The policy from outside: numbers computed elsewhere (`../shared/fixtures/ope`, where it is at hand), the
//! laws of its state, and what it learns in worlds whose truth is known.

use std::path::PathBuf;
use std::time::Duration;

use pointsman::base::{DeploymentId, ModelId, SchemaId, Seed, Timestamp, Usd};
use pointsman::catalog::Price;
use pointsman::chat::Usage;
use pointsman::embed::Origin;
use pointsman::eval::bars::{Bar, worlds};
use pointsman::features::{CONTEXT, Context};
use pointsman::policy::evidence::{Lift, MeanInterval};
use pointsman::policy::pacer::Pace;
use pointsman::policy::propensity::{inverse_gap, win_probabilities};
use pointsman::policy::{
    Ask, CallRow, Candidate, Config, CostWeight, Estimate, Exclusion, Explore, Policy, Preferences, PromptCache,
    QualityRow, Scored, State, StateError, draw,
};
use proptest::prelude::*;
use serde_json::Value;

/// An oracle file; `None` where the fixtures are not at hand.
fn oracle(name: &str) -> Option<Value> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("shared/fixtures/ope").join(name))
        .find(|file| file.exists())?;
    let text = std::fs::read_to_string(file).expect("the oracle is readable");
    Some(serde_json::from_str(&text).expect("the oracle is JSON"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance, "{found:?} is not {expected:?}");
    }
}

#[test]
fn thompson_propensities_agree_with_adaptive_quadrature() {
    let Some(oracle) = oracle("07_thompson_propensity.json") else { return };
    for case in oracle["cases"].as_array().expect("cases") {
        let found = win_probabilities(&numbers(&case["mean"]), &numbers(&case["sd"]));
        close(&found, &numbers(&case["win_probability"]), 1e-5);
    }
}

#[test]
fn inverse_gap_weighting_agrees_with_its_closed_form() {
    let Some(oracle) = oracle("05_vw_squarecb_and_igw.json") else { return };
    for case in oracle["igw_exact"].as_array().expect("cases") {
        let utilities: Vec<f64> = numbers(&case["cost_hat"]).iter().map(|cost| -cost).collect();
        let found = inverse_gap(&utilities, case["gamma"].as_f64().expect("gamma"));
        close(&found, &numbers(&case["pmf"]), 1e-12);
    }
}

#[test]
fn the_e_process_follows_its_oracle_and_promotes_at_the_same_event() {
    let Some(oracle) = oracle("06_eprocess_gate.json") else { return };
    let (old, new) = (numbers(&oracle["pi_b"]), numbers(&oracle["pi_e"]));
    let checkpoints = numbers(&oracle["checkpoints"]);
    let weights: Vec<f64> = new.iter().zip(&old).map(|(n, o)| n / o).collect();
    let mut losses = Lift::of_losses(weights.iter().copied().fold(0.0, f64::max));
    let mut rewards = Lift::new(1.0);
    let (mut loss_path, mut reward_path, mut promoted) = (Vec::new(), Vec::new(), None);
    for (i, (action, y)) in numbers(&oracle["action"]).into_iter().zip(numbers(&oracle["reward"])).enumerate() {
        let weight = weights[action as usize];
        losses.add(Lift::loss_difference(weight, y));
        rewards.add((weight - 1.0) * y);
        if promoted.is_none() && losses.proves(0.05) {
            promoted = Some(i as u64 + 1);
        }
        assert!(!rewards.proves(0.05));
        if checkpoints.contains(&(i as f64 + 1.0)) {
            loss_path.push(losses.log_e());
            reward_path.push(rewards.log_e());
        }
    }
    close(&loss_path, &numbers(&oracle["log_e_loss_form"]), 1e-9);
    close(&reward_path, &numbers(&oracle["log_e_reward_form"]), 1e-9);
    assert_eq!(promoted, oracle["promoted_at_loss_form"].as_u64());
}

#[test]
fn the_betting_interval_follows_its_oracle() {
    let Some(oracle) = oracle("03_betting_confidence_sequence.json") else { return };
    let checkpoints = numbers(&oracle["checkpoints"]);
    for stream in ["bernoulli", "beta"] {
        let mut interval = MeanInterval::new(0.05);
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (i, outcome) in numbers(&oracle[stream]).into_iter().enumerate() {
            interval.add(outcome);
            if checkpoints.contains(&(i as f64 + 1.0)) {
                lower.push(interval.bounds().0);
                upper.push(interval.bounds().1);
            }
        }
        close(&lower, &numbers(&oracle[&format!("{stream}_lower")]), 1e-9);
        close(&upper, &numbers(&oracle[&format!("{stream}_upper")]), 1e-9);
    }
}

const SCHEMA: &str = "test-map";

fn context(x: &[f64]) -> Context {
    let mut padded = vec![0.0_f32; CONTEXT];
    padded[0] = 1.0;
    for (to, from) in padded[1..].iter_mut().zip(x) {
        *to = *from as f32;
    }
    Context { schema: SchemaId::from(SCHEMA), x: padded, origin: Origin::Encoder }
}

fn state(config: &Config) -> State {
    State::new(config.clone(), SchemaId::from(SCHEMA))
}

fn candidate(model: &str, price: Option<f64>) -> Candidate {
    Candidate {
        model: model.into(),
        deployment: model.into(),
        price: price.map(|output| Price {
            input: output / 4.0,
            output,
            cached_input: None,
            cache_write: None,
            reasoning: None,
        }),
        in_flight: 0,
        alternates: Vec::new(),
        prompt_cache: PromptCache::default(),
        like: None,
    }
}

const NO_OPINION: Estimate = Estimate { mean: 0.5, sd: 0.4 };

/// A row as a ledger would bring it.
#[derive(Clone, Debug)]
enum Row {
    Score { model: u8, hour: u16, x: [f64; 3], y: f64, weight: f64 },
    Call { model: u8, hour: u16, prompt: u32, answer: Option<u64>, ms: f64 },
}

impl Row {
    fn fold(&self, state: &mut State) {
        match self {
            Self::Score { model, hour, x, y, weight } => {
                with_score(*model, *hour, x, *y, *weight, |row| state.observe_quality(row));
            }
            Self::Call { model, hour, prompt, answer, ms } => {
                let usage = Usage { completion_tokens: *answer, ..Usage::default() };
                state.observe_call(&CallRow {
                    deployment: &DeploymentId::from(format!("d{model}")),
                    model: &ModelId::from(format!("m{model}")),
                    prompt_tokens: *prompt,
                    choices: 1,
                    usage: Some(&usage),
                    first_token_ms: Some(ms / 3.0),
                    total_ms: Some(*ms),
                    in_flight: u32::from(*model),
                    at: hours(*hour),
                });
            }
        }
    }

    fn retract(&self, state: &mut State) {
        if let Self::Score { model, hour, x, y, weight } = self {
            with_score(*model, *hour, x, *y, *weight, |row| state.retract_quality(row));
        }
    }
}

fn with_score(model: u8, hour: u16, x: &[f64], y: f64, weight: f64, then: impl FnOnce(&QualityRow<'_>)) {
    then(&QualityRow {
        model: &ModelId::from(format!("m{model}")),
        context: &context(x),
        y,
        weight,
        decided_at: hours(hour),
        predicted: NO_OPINION,
    });
}

fn hours(hours: u16) -> Timestamp {
    Timestamp(0).after(Duration::from_secs(1_700_000_000 + 3600 * u64::from(hours)))
}

fn any_row() -> impl Strategy<Value = Row> {
    let score = (0..4_u8, 0..2_000_u16, prop::array::uniform3(-2.0..2.0_f64), 0.0..=1.0_f64, 0.1..=1.0_f64)
        .prop_map(|(model, hour, x, y, weight)| Row::Score { model, hour, x, y, weight });
    let call = (0..4_u8, 0..2_000_u16, 0..9_000_u32, prop::option::of(0..4_000_u64), 1.0..90_000.0_f64)
        .prop_map(|(model, hour, prompt, answer, ms)| Row::Call { model, hour, prompt, answer, ms });
    prop_oneof![2 => score, 1 => call]
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(any_row(), 0..60)
}

fn folded(rows: &[Row]) -> State {
    let mut state = state(&Config::default());
    for row in rows {
        row.fold(&mut state);
    }
    state
}

#[test]
fn of_several_choices_the_length_of_one_is_learned() {
    let learned = |choices, tokens| {
        let mut state = state(&Config::default());
        let usage = Usage { completion_tokens: Some(tokens), ..Usage::default() };
        state.observe_call(&CallRow {
            deployment: &DeploymentId::from("d"),
            model: &ModelId::from("m"),
            prompt_tokens: 50,
            choices,
            usage: Some(&usage),
            first_token_ms: Some(100.0),
            total_ms: Some(900.0),
            in_flight: 0,
            at: hours(1),
        });
        state
    };
    assert_eq!(learned(3, 300), learned(1, 100));
}

fn ask<'a>(context: &'a Context, preferences: &'a Preferences) -> Ask<'a> {
    Ask { context, prompt_tokens: 200, max_tokens: None, choices: 1, preferences, pace: Pace::default() }
}

fn beliefs(state: &State) -> Scored {
    let context = context(&[0.4, -0.8, 0.3]);
    let candidates: Vec<Candidate> = (0..5).map(|m| candidate(&format!("m{m}"), Some(f64::from(m) + 1.0))).collect();
    state.publish().score(&ask(&context, &Preferences::BALANCED), &candidates)
}

proptest! {
    #[test]
    fn a_state_comes_back_from_its_bytes_to_the_last_bit(rows in any_rows()) {
        let state = folded(&rows);
        let bytes = state.to_bytes();
        let back = State::from_bytes(&bytes, Config::default(), &SchemaId::from(SCHEMA)).expect("reads back");
        prop_assert_eq!(&back, &state);
        prop_assert_eq!(back.to_bytes(), bytes);
    }

    #[test]
    fn a_damaged_byte_is_noticed(rows in any_rows(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = folded(&rows).to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(State::from_bytes(&bytes, Config::default(), &SchemaId::from(SCHEMA)).is_err());
        bytes.truncate(at);
        prop_assert!(State::from_bytes(&bytes, Config::default(), &SchemaId::from(SCHEMA)).is_err());
    }

    #[test]
    fn snapshots_in_between_and_a_clock_that_runs_ahead_change_no_bit(rows in any_rows()) {
        let quiet = folded(&rows);
        let mut watched = state(&Config::default());
        for (i, row) in rows.iter().enumerate() {
            if i % 3 == 0 {
                let _ = watched.publish();
                // As far ahead as any row's own time: what a busier ledger would have moved it to.
                watched.decay_to(hours(1_999));
            }
            row.fold(&mut watched);
        }
        let mut quiet = quiet;
        quiet.decay_to(hours(1_999));
        watched.decay_to(hours(1_999));
        prop_assert_eq!(quiet.to_bytes(), watched.to_bytes());
    }

    #[test]
    fn replicas_sum_to_the_same_bits_in_any_order_and_to_one_learner_s_within_rounding(
        rows in any_rows(), split in prop::collection::vec(0..3_usize, 60),
    ) {
        let mut parts = vec![state(&Config::default()); 3];
        for (row, &part) in rows.iter().zip(&split) {
            row.fold(&mut parts[part]);
        }
        let named = ["a", "b", "c"].into_iter().zip(&parts);
        let forward = State::merge(named.clone()).expect("alike").expect("there are parts");
        let backward = State::merge(named.rev()).expect("alike").expect("there are parts");
        prop_assert_eq!(forward.to_bytes(), backward.to_bytes());
        let (merged, one) = (beliefs(&forward), beliefs(&folded(&rows)));
        for (a, b) in merged.predictions.iter().zip(&one.predictions) {
            prop_assert!((a.quality.mean - b.quality.mean).abs() < 1e-9);
            prop_assert!((a.quality.sd - b.quality.sd).abs() < 1e-9);
        }
        close(&merged.propensities, &one.propensities, 1e-6);
    }

    #[test]
    fn a_score_taken_back_leaves_no_trace(rows in any_rows(), wrong in prop::collection::vec(any_row(), 1..20)) {
        let mut corrected = folded(&rows);
        wrong.iter().filter(|row| matches!(row, Row::Score { .. })).for_each(|row| row.fold(&mut corrected));
        for row in &wrong {
            row.retract(&mut corrected);
        }
        let mut never = folded(&rows);
        corrected.decay_to(hours(2_000));
        never.decay_to(hours(2_000));
        let (with, without) = (beliefs(&corrected), beliefs(&never));
        for (a, b) in with.predictions.iter().zip(&without.predictions) {
            prop_assert!((a.quality.mean - b.quality.mean).abs() < 1e-9, "{} {}", a.quality.mean, b.quality.mean);
            prop_assert!((a.quality.sd - b.quality.sd).abs() < 1e-9);
        }
    }

    #[test]
    fn propensities_sum_to_one_keep_the_floor_and_leave_out_the_ineligible(
        rows in any_rows(),
        prices in prop::collection::vec(prop::option::of(0.01..100.0_f64), 1..8),
        max_cost in prop::option::of(1e-5..0.05_f64),
        min_quality in prop::option::of(0.0..1.0_f64),
        max_latency_s in prop::option::of(0.01..60.0_f64),
        weight in 0.0..1.0_f64,
    ) {
        let snapshot = folded(&rows).publish();
        let context = context(&[0.1, 0.7, -0.2]);
        let preferences = Preferences {
            cost: CostWeight::Relative(weight),
            max_cost: max_cost.map(Usd),
            min_quality,
            max_latency_s,
            ..Preferences::BALANCED
        };
        let candidates: Vec<Candidate> =
            prices.iter().enumerate().map(|(m, &price)| candidate(&format!("m{m}"), price)).collect();
        for explore in [Explore::Never, Explore::Floor, Explore::Full] {
            let preferences = Preferences { explore, ..preferences };
            let scored = snapshot.score(&ask(&context, &preferences), &candidates);
            let eligible: Vec<usize> =
                (0..candidates.len()).filter(|&arm| scored.excluded[arm].is_none()).collect();
            let sum: f64 = scored.propensities.iter().sum();
            if eligible.is_empty() {
                prop_assert!(max_cost.is_some() && sum == 0.0 && !scored.any_eligible());
                continue;
            }
            prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
            prop_assert!(scored.excluded[scored.greedy].is_none());
            let floor = Config::default().exploration_share / eligible.len() as f64;
            for (arm, &p) in scored.propensities.iter().enumerate() {
                prop_assert!(p.is_finite() && p >= 0.0);
                if scored.excluded[arm].is_some() {
                    prop_assert_eq!(p, 0.0);
                } else if explore == Explore::Floor {
                    prop_assert!(p >= floor - 1e-15, "{p} {floor}");
                } else if explore == Explore::Full {
                    prop_assert!((p - 1.0 / eligible.len() as f64).abs() < 1e-12);
                } else {
                    prop_assert_eq!(p, if arm == scored.greedy { 1.0 } else { 0.0 });
                }
            }
        }
    }
}

#[test]
fn a_state_of_other_features_or_half_lives_is_refused_with_a_sentence() {
    let bytes = folded(&[]).to_bytes();
    let other = SchemaId::from("another-map");
    let error = State::from_bytes(&bytes, Config::default(), &other).expect_err("another schema");
    assert_eq!(error, StateError::Schema { found: SCHEMA.into(), expected: other });
    assert!(error.to_string().contains("make it again from the ledger"), "{error}");
    let config = Config { half_life: Duration::from_hours(1), ..Config::default() };
    assert_eq!(State::from_bytes(&bytes, config, &SCHEMA.into()), Err(StateError::HalfLife));
    // Settings that do not shape the sums may change under a running state.
    let config = Config { exploration_share: 0.1, ..Config::default() };
    assert!(State::from_bytes(&bytes, config, &SCHEMA.into()).is_ok());
}

#[test]
fn draws_have_the_frequencies_of_the_logged_propensities() {
    let rows: Vec<Row> = (0..200_u16)
        .map(|i| Row::Score {
            model: (i % 4) as u8,
            hour: i,
            x: [f64::from(i % 7) / 7.0, 0.0, 0.0],
            y: f64::from(i % 10) / 10.0,
            weight: 1.0,
        })
        .collect();
    let p = beliefs(&folded(&rows)).propensities;
    let mut counts = vec![0.0; p.len()];
    let draws = 100_000;
    for i in 0..draws {
        counts[draw(&p, Seed(i).uniform("arm"))] += 1.0;
    }
    let statistic: f64 = p
        .iter()
        .zip(&counts)
        .map(|(p, count)| {
            let expected = p * draws as f64;
            assert!(expected > 5.0, "too rare to test: {p}");
            (count - expected) * (count - expected) / expected
        })
        .sum();
    // The .999 quantile of chi-square with 4 degrees of freedom.
    assert!(p.len() == 5 && statistic < 18.47, "{statistic} {p:?} {counts:?}");
}

#[test]
fn an_unknown_price_is_no_way_around_a_cost_limit_and_no_cheap_offer() {
    let snapshot = folded(&[]).publish();
    let context = context(&[]);
    let candidates = [candidate("cheap", Some(1.0)), candidate("unknown", None), candidate("dear", Some(40.0))];
    let limited = Preferences { max_cost: Some(Usd(0.002)), ..Preferences::BALANCED };
    let scored = snapshot.score(&ask(&context, &limited), &candidates);
    assert_eq!(scored.excluded, [None, Some(Exclusion::UnknownPrice), Some(Exclusion::TooDear)]);
    assert_eq!(scored.propensities, [1.0, 0.0, 0.0]);
    assert_eq!(scored.predictions[1].cost, None);
    let free = snapshot.score(&ask(&context, &Preferences::CHEAP), &candidates);
    assert_eq!(free.predictions[1].utility, free.predictions[2].utility);
    assert_eq!(free.greedy, 0);
}

#[test]
fn a_price_cut_acts_on_the_very_next_decision() {
    let mut state = state(&Config { exploration_share: 0.0, ..Config::default() });
    for i in 0..400_u16 {
        let (model, y) = if i % 2 == 0 { (0, 0.70) } else { (1, 0.72) };
        Row::Score { model, hour: 1, x: [0.0; 3], y, weight: 1.0 }.fold(&mut state);
    }
    let (snapshot, context) = (state.publish(), context(&[]));
    let preferences = Preferences { explore: Explore::Never, ..Preferences::BALANCED };
    let greedy = |price: f64| {
        let candidates = [candidate("m0", Some(1.0)), candidate("m1", Some(price))];
        snapshot.score(&ask(&context, &preferences), &candidates).greedy
    };
    assert_eq!((greedy(10.0), greedy(1.0)), (0, 1));
}

#[test]
fn who_is_clearly_behind_rests_but_only_on_requests_like_those_it_is_bad_at() {
    let mut state = state(&Config::default());
    // m1 is worse on the whole, and better on one request in five.
    for i in 0..3_000_u16 {
        let special = i % 5 == 0;
        let x = [if special { 3.0 } else { -0.75 }, 0.0, 0.0];
        for (model, y) in [(0, 0.8), (1, if special { 0.95 } else { 0.3 })] {
            Row::Score { model, hour: 1, x, y, weight: 1.0 }.fold(&mut state);
        }
    }
    let snapshot = state.publish();
    let candidates = [candidate("m0", Some(1.0)), candidate("m1", Some(1.0))];
    let score = |x: f64| snapshot.score(&ask(&context(&[x]), &Preferences::BEST), &candidates).propensities;
    let floor = Config::default().exploration_share / 2.0;
    assert!((score(-0.75)[1] - floor).abs() < 1e-12, "it plays for the floor alone: {:?}", score(-0.75));
    assert!(score(3.0)[1] > 0.9, "{:?}", score(3.0));
}

#[test]
fn a_new_model_is_taken_to_be_like_its_relative_at_a_capped_share_until_its_own_answers_say_what_it_is() {
    let mut state = state(&Config::default());
    let rows = |state: &mut State, model: u8, y: f64, count: u32| {
        for i in 0..count {
            let y = y + if i % 2 == 0 { 0.05 } else { -0.05 };
            Row::Score { model, hour: 1, x: [0.0; 3], y, weight: 1.0 }.fold(state);
        }
    };
    rows(&mut state, 0, 0.3, 200);
    rows(&mut state, 1, 0.8, 200);
    let context = context(&[]);
    let like = |relative: Option<&str>| Candidate { like: relative.map(ModelId::from), ..candidate("m2", Some(1.0)) };
    let score = |state: &State, new: Candidate| {
        let candidates = [candidate("m0", Some(1.0)), candidate("m1", Some(1.0)), new];
        state.publish().score(&ask(&context, &Preferences::BEST), &candidates)
    };
    let quality = |scored: &Scored, arm: usize| scored.predictions[arm].quality;

    let related = score(&state, like(Some("m1")));
    assert!((quality(&related, 2).mean - quality(&related, 1).mean).abs() < 1e-9, "{:?}", related.predictions);
    assert!(quality(&related, 2).sd > 4.0 * quality(&related, 1).sd, "but far less is known of it");
    let share = Config::default().newcomer_share;
    assert!((related.propensities[2] - share).abs() < 0.01, "it would play more, and has its share: {related:?}");
    for stranger in [like(None), like(Some("nobody"))] {
        let strange = score(&state, stranger);
        assert!(quality(&strange, 2).mean < quality(&related, 2).mean - 0.1, "{:?}", strange.predictions);
    }

    // As many answers of its own as the likeness is worth: half of the lead is left.
    let lead =
        |state: &State| quality(&score(state, like(Some("m1"))), 2).mean - quality(&score(state, like(None)), 2).mean;
    let before = lead(&state);
    rows(&mut state, 2, 0.3, 20);
    assert!((0.4..0.7).contains(&(lead(&state) / before)), "{} of {before}", lead(&state));
    rows(&mut state, 2, 0.3, 380);
    let known = score(&state, like(Some("m1")));
    assert!(quality(&known, 2).mean < 0.36, "its own answers have the word: {:?}", known.predictions);
}

#[test]
fn a_model_that_silently_became_worse_is_found_and_learned_anew_and_late_words_on_before_weigh_less() {
    let mut state = state(&Config { half_life: Duration::ZERO, ..Config::default() });
    let model = ModelId::from("m0");
    let at = |i: u64| Timestamp(1_700_000_000_000_000 + i);
    let context = context(&[0.2]);
    let row = |i: u64, y: f64| QualityRow {
        model: &model,
        context: &context,
        y,
        weight: 1.0,
        decided_at: at(i),
        predicted: Estimate { mean: 0.8, sd: 0.01 },
    };
    let noise = |i: u64| 0.3 * (Seed(i).uniform("noise") - 0.5);
    let see = |state: &mut State, i: u64, y: f64| {
        state.observe_quality(&row(i, y));
        state.watch(&row(i, y))
    };
    for i in 0..1_000 {
        assert!(!see(&mut state, i, 0.8 + noise(i)));
    }
    let rows = |state: &State| state.publish().models().next().expect("one model").1;
    let before = rows(&state);
    let found = (1_000..1_200).find(|&i| see(&mut state, i, 0.63 + noise(i))).expect("found in 200 answers");
    let changes: Vec<Timestamp> = state.alarms().flat_map(|(_, changes)| changes.to_vec()).collect();
    let changed = (0..=found).find(|&i| at(i) == changes[0]).expect("the time of one of the decisions");
    assert!(changes.len() == 1 && (950..1_010).contains(&changed), "{changes:?}");
    // What came before the change weighs a thousandth; what came since, all.
    let after = rows(&state);
    let expected = (found + 1 - changed) as f64 + changed as f64 / 1024.0;
    assert!((after - expected).abs() < 1e-6 && before == 1_000.0, "{before} {after} {expected}");
    let bytes = state.to_bytes();
    let back = State::from_bytes(&bytes, state.config().clone(), &SCHEMA.into()).expect("reads back");
    assert_eq!((&back, back.to_bytes()), (&state, bytes));
    // A late label of before weighs a thousandth, one of after all; and both can be taken back.
    state.observe_quality(&row(3, 0.5));
    assert!((rows(&state) - after - 1.0 / 1024.0).abs() < 1e-9);
    state.observe_quality(&row(found + 1, 0.5));
    assert!((rows(&state) - after - 1.0 - 1.0 / 1024.0).abs() < 1e-9);
    state.retract_quality(&row(3, 0.5));
    state.retract_quality(&row(found + 1, 0.5));
    assert!((rows(&state) - after).abs() < 1e-9);
}

#[test]
fn in_a_linear_world_regret_grows_like_a_root_and_stays_far_below_chance() {
    held(&worlds::growing(2, 2, worlds::BATCH));
}

#[test]
fn in_a_bent_world_inverse_gap_weighting_costs_at_most_a_fifth_more_than_thompson() {
    held(&[worlds::bent(3, 2, 1)]);
}

#[test]
fn after_the_arms_have_changed_places_regret_stays_within_twice_a_fresh_learner_s() {
    held(&[worlds::swapped(4, 2, worlds::BATCH)]);
}

/// The bars of `pointsman policy bench --only worlds`, over fewer seeds.
fn held(bars: &[Bar]) {
    for bar in bars {
        assert_eq!(bar.holds(), Some(true), "{bar:?}");
    }
}
