//! The estimators and the gate against numbers computed elsewhere: `../shared/fixtures/ope`, where it is at hand.

use std::path::Path;

use pointsman::base::Seed;
use pointsman::eval::ope::bounds::{
    bernstein_lower, bootstrap, hoeffding_lower, maurer_pontil_lower, normal_lower, student_lower,
};
use pointsman::eval::ope::{Estimator, Round, effective_sample_size, largest_weight};
use serde_json::Value;

/// An oracle file; `None` where the fixtures are not at hand.
fn fixture(name: &str) -> Option<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/fixtures/ope").join(name))
        .find(|path| path.exists())?;
    let text = std::fs::read(file).expect("the fixture is readable");
    Some(serde_json::from_slice(&text).expect("the fixture is JSON"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

fn rounds(oracle: &Value) -> Vec<Round> {
    let actions = numbers(&oracle["action"]);
    let (pscores, rewards) = (numbers(&oracle["pscore"]), numbers(&oracle["reward"]));
    actions
        .iter()
        .enumerate()
        .map(|(i, &action)| {
            let action = action as usize;
            let (target, predicted) = (numbers(&oracle["pi_e"][i]), numbers(&oracle["q_hat"][i]));
            // The oracle logs the probability of the chosen arm alone.
            let mut logged = vec![0.0; target.len()];
            logged[action] = pscores[i];
            Round::new(action, rewards[i], &logged, &target, &predicted).expect("usable")
        })
        .collect()
}

const ESTIMATORS: [(&str, Estimator); 14] = [
    ("IPS", Estimator::Ips),
    ("IPS_clip10", Estimator::ClippedIps(10.0)),
    ("SNIPS", Estimator::Snips),
    ("DM", Estimator::Direct),
    ("DR", Estimator::Dr),
    ("DR_clip10", Estimator::ClippedDr(10.0)),
    ("SNDR", Estimator::SelfNormalisedDr),
    ("SWITCH_DR_tau1", Estimator::Switch(1.0)),
    ("SWITCH_DR_tau3", Estimator::Switch(3.0)),
    ("SWITCH_DR_tau10", Estimator::Switch(10.0)),
    ("DRos_lambda0.5", Estimator::Shrunk(0.5)),
    ("DRos_lambda5", Estimator::Shrunk(5.0)),
    ("DRos_lambda50", Estimator::Shrunk(50.0)),
    ("SubGaussianDR_0.1", Estimator::SubGaussian(0.1)),
];

fn close(name: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{name}: {found} instead of {expected}");
}

#[test]
fn every_estimator_gives_the_oracles_value() {
    for (name, tolerance) in [("01_tiny_estimators.json", 1e-12), ("02_n200_k5_estimators_bounds.json", 1e-10)] {
        let Some(oracle) = fixture(name) else { return };
        let rounds = rounds(&oracle);
        assert_eq!(oracle["estimates"].as_object().map(serde_json::Map::len), Some(ESTIMATORS.len()));
        for (name, estimator) in ESTIMATORS {
            let estimate = estimator.estimate(&rounds).expect("an estimate");
            close(name, estimate, number(&oracle["estimates"][name]), tolerance);
            if let Some(terms) = oracle["per_round"].get(name) {
                for (term, expected) in estimator.terms(&rounds).into_iter().zip(numbers(terms)) {
                    close(name, term, expected, tolerance);
                }
            }
        }
        close("ESS", effective_sample_size(&rounds), number(&oracle["ess"]), tolerance);
    }
}

#[test]
fn every_bound_is_the_oracles() {
    let Some(oracle) = fixture("02_n200_k5_estimators_bounds.json") else { return };
    let rounds = rounds(&oracle);
    let (x, z) = (Estimator::Ips.terms(&rounds), Estimator::Dr.terms(&rounds));
    let largest = x.iter().copied().fold(0.0, f64::max);
    let width = 1.0 + largest_weight(&rounds);
    let bounds = &oracle["bounds"];
    let check = |name: &str, found: Option<f64>| close(name, found.expect("a bound"), number(&bounds[name]), 1e-9);
    check("normal_DR_lower", normal_lower(&z, 0.05));
    check("obp_student_t_DR", student_lower(&z, 0.05));
    check("obp_hoeffding_IPS", hoeffding_lower(&x, largest, 0.05));
    check("obp_bernstein_IPS", bernstein_lower(&x, largest, 0.05));
    check("maurer_pontil_DR_width_known", maurer_pontil_lower(&z, width, 0.05));
    let interval = bootstrap(&z, 0.05, 20_000, Seed(1)).expect("an interval");
    let expected = &bounds["obp_percentile_bootstrap_DR"];
    close("bootstrap, lower", interval.lower, number(&expected["95.0% CI (lower)"]), 6e-3);
    close("bootstrap, upper", interval.upper, number(&expected["95.0% CI (upper)"]), 6e-3);
}

/// A log of known worth: each model is good this often, whatever the prompt, and was drawn as logged.
mod on_a_log {
    use std::process::Command;

    use pointsman::base::{Seed, TenantId, Timestamp};
    use pointsman::eval::ope::log::Reward;
    use pointsman::eval::ope::weigh::weigh;
    use pointsman::eval::ope::{Estimator, LeftOut, Log, Logged};
    use pointsman::learn::{Channels, judged};
    use pointsman::ledger::{Config, Ledger, MemoryLedger, Mode, SqliteLedger};
    use pointsman::policy::draw;
    use proptest::prelude::*;
    use serde_json::Value;

    use crate::samples::{MODELS, completed, decided, event, failed, feedback, id};

    const WORTH: [f64; 3] = [0.5, 0.8, 0.9];

    fn at(n: u64) -> Timestamp {
        Timestamp(1_780_000_000_000_000 + n * 1_000_000)
    }

    fn fill(ledger: &dyn Ledger, decisions: u64) {
        for n in 0..decisions {
            let seed = Seed(n);
            let mut decision = decided(n, at(n));
            let propensities: Vec<f64> = decision.arms.iter().map(|arm| arm.propensity).collect();
            decision.chosen = draw(&propensities, seed.uniform("arm"));
            let chosen = decision.chosen;
            let good = f64::from(u8::from(seed.uniform("good") < WORTH[chosen]));
            // One in ten was pinned, in one in ten a fallback answered, one in ten nobody judged.
            match n % 10 {
                0 => decision.mode = Mode::Pinned,
                1 => decision.chosen = (chosen + 1) % 3,
                _ => {}
            }
            ledger.append(at(n), event(decision));
            ledger.append(at(n), event(completed(n, at(n), chosen, &[])));
            if n % 10 != 2 {
                ledger.append(at(n), event(feedback(n, at(n), "user", good, None)));
            }
        }
    }

    fn read(ledger: &dyn Ledger, capacity: usize) -> Log {
        let mut log = Log::new(capacity);
        for entry in ledger.scan(0, usize::MAX).expect("readable") {
            log.add(entry.offset, &entry.event);
        }
        log
    }

    fn channels() -> Channels {
        Channels::with(&std::collections::BTreeMap::new())
    }

    #[test]
    fn the_worth_of_a_policy_that_never_served_is_found_and_what_cannot_be_weighed_is_counted() {
        let ledger = MemoryLedger::new();
        fill(&ledger, 6_000);
        let log = read(&ledger, usize::MAX);
        let (logged, left_out) = log.judged(&Reward::default(), &channels());
        assert_eq!(left_out, LeftOut { not_explored: 600, not_judged: 600, fallback: 600, too_old: 0 });
        assert_eq!(logged.len(), 4_200);
        for (model, worth) in MODELS.iter().zip(WORTH) {
            let always = |_: usize, decision: &Logged| -> Vec<f64> {
                decision.arms.iter().map(|arm| f64::from(u8::from(arm.model.as_str() == *model))).collect()
            };
            let (rounds, support) = weigh(&logged, 0.05, always, |_, _| [0.7; 3]).expect("usable");
            assert!((support.share().expect("rounds") - 1.0).abs() < 1e-12);
            let found = Estimator::Dr.estimate(&rounds).expect("an estimate");
            assert!((found - worth).abs() < 0.06, "{model}: {found} instead of {worth}");
            let (_, unsupported) = weigh(&logged, 0.75, always, |_, _| [0.7; 3]).expect("usable");
            assert_eq!(unsupported.share(), Some(0.0), "nothing is tried that often");
        }
        let latest = read(&ledger, 1_000);
        assert_eq!(latest.decisions().len(), 1_000);
        assert_eq!(latest.judged(&Reward::default(), &channels()).1.too_old, 5_000);
        assert_eq!(latest.decisions().next().map(|logged| logged.id), Some(id(5_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_the_log_says_an_answer_was_worth_is_what_the_learner_learns(
            said in prop::collection::vec((0_u64..6, 0_u8..8, 0.0..1.0_f64), 0..60)
        ) {
            let ledger = MemoryLedger::new();
            for n in 0..6 {
                ledger.append(at(n), event(decided(n, at(n))));
            }
            for (n, what, score) in said {
                ledger.append(at(n), match what {
                    0 => event(completed(n, at(n), (n % 3) as usize, &[("format", score), ("empty", 1.0)])),
                    1 => event(completed(n, at(n), 1, &[])),
                    2 => event(failed(n, at(n))),
                    3 => {
                        let mut foreign = feedback(n, at(n), "user", score, None);
                        foreign.tenant = TenantId::from("another");
                        event(foreign)
                    }
                    4 => event(feedback(n, at(n), "user", score, Some("once"))),
                    5 => event(feedback(n, at(n), "judge", score, None)),
                    6 => event(feedback(n, at(n), "my own", score, None)),
                    _ => event(feedback(n, at(n), "user", score, None)),
                });
            }
            let log = read(&ledger, usize::MAX);
            for logged in log.decisions() {
                let learned = judged(&ledger, logged.id, &channels()).expect("readable");
                let worth = log.reward(logged, &Reward::Combined { least_weight: 0.0 }, &channels());
                prop_assert_eq!(worth, learned.map(|judged| judged.quality));
                if learned.is_some_and(|judged| judged.weight < 0.5) {
                    prop_assert_eq!(log.reward(logged, &Reward::Combined { least_weight: 0.5 }, &channels()), None);
                }
            }
        }
    }

    fn pointsman(folder: &tempfile::TempDir, arguments: &[&str]) -> (String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(arguments)
            .arg("--data")
            .arg(folder.path())
            .current_dir(folder.path())
            .env_clear()
            .output()
            .expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr))
    }

    #[tokio::test]
    async fn the_commands_read_a_ledger_that_is_being_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = SqliteLedger::open(folder.path(), &Config::default()).expect("opens");
        fill(&ledger, 4_800);
        let last = ledger.flush().await.expect("flushed");

        let (lines, complaint) = pointsman(&folder, &["export"]);
        assert_eq!(lines.lines().count() as u64, last, "{complaint}");
        let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
        assert_eq!(
            (&first["form"], &first["offset"], &first["event"]["kind"]),
            (&1.into(), &1.into(), &"decided".into())
        );
        let file = folder.path().join("log.jsonl");
        pointsman(&folder, &["export", "--after", "100", "--output", file.to_str().expect("text")]);
        assert_eq!(std::fs::read_to_string(&file).expect("written").lines().count() as u64, last - 100);

        let page = folder.path().join("page.html");
        let (report, complaint) =
            pointsman(&folder, &["evaluate", "--json", "--floor", "0.1", "--html", page.to_str().expect("text")]);
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}{complaint}"));
        let policies = report["candidates"].as_array().expect("candidates");
        assert_eq!(policies.len(), 4);
        let of = |name: &str| policies.iter().find(|policy| policy["policy"] == name).expect("this policy");
        // Served: .7 x .5 + .2 x .8 + .1 x .9 = .6.
        let gain = |name: &str| of(name)["gain"]["normal"]["mean"].as_f64().expect("a number");
        assert!(gain("always acme/small") < 0.0 && gain("always other/medium") > 0.2, "{report:#}");
        assert_eq!(of("always acme/small")["verdict"], "keep");
        assert_eq!(of("always acme/large")["verdict"], "promote", "{:#}", of("always acme/large"));
        // Surely better, but by a handful of heavy rounds.
        assert_eq!(of("always other/medium")["verdict"], "more", "{:#}", of("always other/medium")["why"]);
        assert!(of("always other/medium")["more"].as_u64().expect("a number") > 500);
        for by in ["tenant", "intent", "channel"] {
            let segments = of("always other/medium")["segments"].as_array().expect("segments");
            let segment = segments.iter().find(|segment| segment["by"] == by).expect("one of this kind");
            assert!(segment["gain"]["mean"].as_f64().expect("a number") > 0.2, "{segment}");
        }
        let betting = &of("always other/medium")["gain"]["betting"];
        assert!(betting["lower"].as_f64().expect("a number") < 0.25, "{betting}");
        let page = std::fs::read_to_string(&page).expect("written");
        assert!(page.contains("May it be promoted?") && page.contains("<svg") && page.contains("always other/medium"));
        let (table, _) = pointsman(&folder, &["evaluate"]);
        assert!(table.contains("always acme/large") && table.contains("SNIPS"), "{table}");
    }

    #[test]
    fn a_log_that_cannot_tell_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(SqliteLedger::open(folder.path(), &Config::default()).expect("opens"));
        let (_, complaint) = pointsman(&folder, &["evaluate"]);
        insta::assert_snapshot!(complaint, @"pointsman: the log cannot tell: no decision is in it");
    }
}

/// The bars of `cargo bench --bench gate`, with fewer runs.
mod rehearsed {
    use pointsman::cli::datasets::table;
    use pointsman::eval::ope::gate::Told;
    use pointsman::eval::ope::rehearse::{Lean, Rehearsal, Target};
    use pointsman::eval::ope::{Estimator, Gate, Verdict};
    use pointsman::eval::stream::Projection;

    fn world(floor: f64) -> Rehearsal {
        let table = table("paretobandit").expect("bundled");
        Rehearsal::new(&table, &Projection::of(&table).contexts(&table), floor)
    }

    #[test]
    fn doubly_robust_is_near_where_inverse_propensities_are_far() {
        let world = world(0.01);
        let target = world.leaning(Lean::Oracle, 0.5);
        let error = |estimator: Estimator| {
            let of = |run| {
                let (rounds, _) = world.log(&target, 1_000, 0.01, run);
                estimator.estimate(&rounds).expect("an estimate") - world.served() - target.gain
            };
            (0..30).map(|run| f64::powi(of(run), 2) / 30.0).sum::<f64>().sqrt()
        };
        let (robust, plain) = (error(Estimator::Dr), error(Estimator::Ips));
        assert!(robust <= 0.010 && plain > 3.0 * robust, "{robust} {plain}");
    }

    #[test]
    fn a_gain_is_promoted_and_a_null_is_not() {
        let world = world(0.03);
        let promoted = |target: &Target, events: usize, runs: u64| {
            let gate = Gate { floor: 0.03, ..Gate::default() };
            let verdict = |run| {
                let (rounds, support) = world.log(target, events, 0.03, run);
                gate.judge(&rounds, &Told { covered: support.share().unwrap_or(0.0), ..Told::default() }).verdict
            };
            (0..runs).filter(|&run| matches!(verdict(run), Verdict::Promote { .. })).count()
        };
        let gain = world.target(Lean::Oracle, 0.02).expect("there is so much to gain");
        assert!((gain.gain - 0.02).abs() < 1e-9);
        assert!(promoted(&gain, 5_000, 10) >= 9);
        assert!(promoted(&world.leaning(Lean::Nowhere, 0.5), 2_000, 40) <= 2);
    }
}
