//! The semantic cache's decision on the bundled stream and suites: held to another program's counts, and to the bounds.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use pointsman::base::Seed;
use pointsman::cache::semantic::decision::{Prior, Rule};
use pointsman::cache::semantic::gate::fit_text;
use pointsman::cli::bench_cache::{stream, suites};
use pointsman::cli::datasets::encoder;
use pointsman::eval::reuse::{
    ClassCount, GATE, IN_FORCE, Judged, MEASURED, Neighbours, Policy, Tally, Teaching, bits, run,
};
use serde_json::Value;

const SEEDS: usize = 5;

fn floor(share: f64) -> Policy {
    Policy::Floor(Rule::for_wrong_share(share), Prior::default(), 1)
}

fn of_four(share: f64) -> Policy {
    Policy::Floor(Rule::for_wrong_share(share), Prior::default(), 4)
}

fn all(stream: &Neighbours, forbidding: u8, policy: &Policy, teaching: Teaching) -> Tally {
    let mut sum = Tally::default();
    for seed in 0..SEEDS {
        let (tally, _) = run(stream, seed, forbidding, policy, teaching, |_| true);
        sum.requests += tally.requests;
        sum.hits += tally.hits;
        sum.wrong += tally.wrong;
        sum.labels += tally.labels;
    }
    sum
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
}

#[test]
fn the_counts_are_those_of_another_program() {
    let stream = stream().expect("bundled");
    let reference: Value =
        serde_json::from_str(include_str!("../../datasets/semcache/reference-runs.json")).expect("JSON");
    // The other program's vetoes split words in ways of their own, so that a few pairs are judged otherwise.
    for (sweep, seeds, within) in [(&reference["runs"][0], 3, 0.01), (&reference["runs"][1], 2, 0.03)] {
        let forbidding = if sweep["veto"] == "" { 0 } else { MEASURED };
        let policies = sweep["policies"].as_object().expect("by policy");
        for (name, expected) in policies.iter().filter(|(name, _)| !name.starts_with("vcache")) {
            let words: Vec<&str> = name.split(' ').collect();
            let number = |at: usize| words[at].parse::<f64>().expect("a number");
            let policy = match words[0] {
                "static" => Policy::Static(number(1)),
                _ => Policy::Floor(Rule { floor: number(3), delta: number(1) }, Prior::default(), 1),
            };
            for seed in 0..seeds {
                let (tally, _) = run(&stream, seed, forbidding, &policy, Teaching::FULL, |_| true);
                let told = |field: &str| expected[seed][field].as_u64().expect("a count") as f64;
                let near = |ours: usize, field: &str| (ours as f64 - told(field)).abs() <= within * told(field);
                let close = near(tally.hits, "hits") && near(tally.labels, "labels") && near(tally.entries, "entries");
                let wrong = (tally.wrong as f64 - told("wrong")).abs() <= 8.0;
                assert!(close && wrong, "{name} (vetoes {forbidding}, seed {seed}): {tally:?}, not {}", expected[seed]);
            }
        }
    }
}

#[test]
fn the_published_rule_is_the_published_one() {
    let stream = stream().expect("bundled");
    let reference: Value =
        serde_json::from_str(include_str!("../../datasets/semcache/reference-runs.json")).expect("JSON");
    // Its fit has no maximum on separable data: where the search stops shows in single orders, hardly in all five.
    for (sweep, forbidding) in [(&reference["runs"][0], 0), (&reference["runs"][1], MEASURED)] {
        for delta in ["0.02", "0.05"] {
            let policy = Policy::Vcache(delta.parse().expect("a number"));
            let ours = all(&stream, forbidding, &policy, Teaching::FULL);
            let runs = sweep["policies"][format!("vcache {delta}")].as_array().expect("by seed");
            let told = |field: &str| runs.iter().map(|run| run[field].as_u64().expect("a count")).sum::<u64>() as f64;
            let off = |ours: usize, field: &str| (ours as f64 - told(field)).abs() / told(field);
            let close = off(ours.hits, "hits") <= 0.02 && off(ours.labels, "labels") <= 0.01;
            assert!(close && off(ours.wrong, "wrong") <= 0.08, "{delta} {forbidding}: {ours:?}, not {runs:?}");
        }
    }
}

#[test]
fn one_label_in_ten_is_enough_where_the_most_telling_are_asked_for() {
    let stream = stream().expect("bundled");
    let told = Teaching { judged: Judged::Best(0.1), ..Teaching::FULL };
    let ours = all(&stream, IN_FORCE, &of_four(0.05), told);
    assert!(share(ours.hits, ours.requests) >= 0.05 && share(ours.wrong, ours.hits) <= 0.05, "{ours:?}");
    assert!(10 * ours.labels <= ours.requests - ours.hits, "{ours:?}");
    let lots = Teaching { judged: Judged::Share(0.1), ..Teaching::FULL };
    let lots = all(&stream, IN_FORCE, &floor(0.05), lots);
    assert!(ours.hits > 2 * lots.hits, "{ours:?} {lots:?}");
}

#[test]
fn the_default_keeps_its_bounds() {
    let stream = stream().expect("bundled");
    for policy in [floor(0.05), of_four(0.05)] {
        let ours = all(&stream, IN_FORCE, &policy, Teaching::FULL);
        let (hit, wrong) = (share(ours.hits, ours.requests), share(ours.wrong, ours.requests));
        assert!(hit >= 0.10 && share(ours.wrong, ours.hits) <= 0.05, "{ours:?}");
        let fixed = [0.95, 0.955, 0.965].map(|t| all(&stream, IN_FORCE, &Policy::Static(t), Teaching::FULL));
        let two = fixed.windows(2).find(|two| two[0].hits >= ours.hits && ours.hits >= two[1].hits);
        let [more, fewer] = two.unwrap_or_else(|| panic!("{ours:?} is not between {fixed:?}")) else { unreachable!() };
        let part = share(ours.hits - fewer.hits, more.hits - fewer.hits);
        let fixed = part * share(more.wrong, more.requests) + (1.0 - part) * share(fewer.wrong, fewer.requests);
        assert!(wrong <= 0.6 * fixed, "{wrong} against {fixed} of a static threshold");
    }
    let noisy = Teaching { called_wrong: 0.1, called_right: 0.1, ..Teaching::FULL };
    let noisy = all(&stream, IN_FORCE, &floor(0.05), noisy);
    assert!(share(noisy.wrong, noisy.hits) <= 0.06, "{noisy:?}");
}

#[test]
fn errors_of_all_requests_stay_under_delta() {
    let stream = stream().expect("bundled");
    for (delta, floor) in [(0.01, 0.0), (0.02, 0.9), (0.05, 0.0), (0.05, 0.9)] {
        let policy = Policy::Floor(Rule { floor, delta }, Prior::default(), 1);
        let tally = all(&stream, IN_FORCE, &policy, Teaching::FULL);
        let sigma = (delta * (1.0 - delta) / (tally.requests / SEEDS) as f64).sqrt();
        assert!(share(tally.wrong, tally.requests) <= delta + 2.0 * sigma, "{delta} {floor}: {tally:?}");
    }
}

#[test]
fn near_misses_do_not_pass() {
    let counts = suites().expect("bundled").counts();
    let of = |suite: &str, class: &str| -> &ClassCount {
        let found = counts.iter().find(|count| count.suite == suite && count.class == class);
        found.unwrap_or_else(|| panic!("no class {class} in {suite}"))
    };
    let checklist: Vec<&ClassCount> = counts.iter().filter(|count| count.suite == "checklist").collect();
    let words = ["Negation: ", "after != before", "before Y it != ", "before becoming", "he and she", "more X != "];
    for word in words {
        let of_word: Vec<_> = checklist.iter().filter(|count| count.class.contains(word)).collect();
        assert!(!of_word.is_empty() && of_word.iter().all(|count| count.past_gate == 0), "{word}: {of_word:?}");
    }
    for count in &checklist {
        // A class passes whole or not at all, but for what the gate holds: 70 pairs each.
        assert!(count.class == "all" || count.past_gate <= 70, "{count:?}");
    }
    let opposites = ["Buy vs sell", "Long vs short", "Borrow vs lend", "Rise", "Interest rate", "call vs put", "Bull"];
    for count in counts.iter().filter(|count| count.suite == "finance-traps") {
        let opposed = opposites.iter().any(|word| count.class.contains(word));
        assert!(!opposed || count.past_gate == 0, "{count:?}");
    }
    for (suite, class, most) in [
        ("banking94", "ID_SWAP", 0),
        ("banking94", "NEGATION", 0),
        ("banking94", "TIER_SWAP", 4),
        ("banking94", "PRINCIPAL_SWAP", 1),
        ("banking94", "FRESHNESS", 0),
        ("banking94", "ACTION", 0),
        ("finance-traps", "all", 1),
        ("general-traps", "all", 2),
    ] {
        assert!(of(suite, class).past_gate <= most, "{:?}", of(suite, class));
    }
    let (pairs, mock) = (of("qqp-pairs", "all"), of("gptcache-mock", "all"));
    assert!(share(pairs.lost_to_vetoes, pairs.right) <= 0.10, "{pairs:?}");
    assert!(share(mock.lost_to_vetoes, mock.right) <= 0.08, "{mock:?}");
}

/// The texts that the numbers were made of. They are other people's, so they are not in the repository.
fn source() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets/semcache");
    source.exists().then_some(source)
}

fn rows(file: &Path) -> Vec<Value> {
    let opened = std::fs::File::open(file).expect("a source file");
    let values = serde_json::Deserializer::from_reader(BufReader::new(MultiGzDecoder::new(opened))).into_iter();
    values.map(|row| row.expect("JSON")).collect()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().expect("a text")
}

#[test]
fn the_bundled_numbers_are_those_of_the_texts() {
    let Some(source) = source() else { return };
    let suites = suites().expect("bundled");
    for (name, suite) in &suites.0 {
        let rows = rows(&source.join(format!("{name}.jsonl.gz")));
        assert_eq!(rows.len(), suite.cosine.len(), "{name}");
        for (i, row) in rows.iter().enumerate() {
            let (a, b) = (text(row, "text_a"), text(row, "text_b"));
            let gated = fit_text(a, true).is_err() || fit_text(b, true).is_err();
            assert_eq!(suite.forbidden[i], bits(a, b) | if gated { GATE } else { 0 }, "{name} {i}: {a} / {b}");
            assert_eq!(suite.same[i], row["same"] == Value::Bool(true), "{name} {i}");
        }
    }
    let stream = stream().expect("bundled");
    let rows = rows(&source.join("qqp-stream.jsonl.gz"));
    let texts: Vec<&str> = rows.iter().map(|row| text(row, "text")).collect();
    assert_eq!(texts.len(), stream.len());
    let mut anew = stream.clone();
    anew.judge(&texts);
    assert!(anew == stream, "the vetoes are others now: run training/semcache.rs with --flags");
    // A sample of the cosines, by the encoder.
    let mut sample = Vec::new();
    for i in (0..stream.len()).step_by(701) {
        sample.extend(stream.near(i).take(2).map(|(j, cosine, _)| (i, j, cosine)));
    }
    let pairs: Vec<&str> = sample.iter().flat_map(|(i, j, _)| [texts[*i], texts[*j]]).collect();
    let vectors = encoder().expect("the encoder").embed_batch(&pairs).expect("vectors");
    for (two, (i, j, cosine)) in vectors.chunks(2).zip(&sample) {
        let ours: f64 = two[0].iter().zip(&two[1]).map(|(a, b)| f64::from(a * b)).sum();
        assert!((ours - cosine).abs() < 1e-3, "{i} {j}: {ours}, not {cosine}");
    }
}

#[test]
fn the_neighbours_that_are_kept_decide_as_all_would() {
    // Texts in clusters, a third of the vectors far from all.
    let texts: Vec<String> = (0..400).map(|i| format!("question {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let classes: Vec<String> = (0..400).map(|i| (i % 40).to_string()).collect();
    let vector = |i: usize| {
        let draw = |seed: usize, at: usize| Seed(seed as u64).uniform(&at.to_string()) - 0.5;
        let own = if i.is_multiple_of(3) { 2.5 } else { 0.8 };
        let raw: Vec<f64> = (0..24).map(|at| draw(1_000 + i % 40, at) + own * draw(i, at)).collect();
        let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
        raw.into_iter().map(|x| (x / length) as f32).collect::<Vec<f32>>()
    };
    let vectors: Vec<Vec<f32>> = (0..400).map(vector).collect();
    let kept = Neighbours::of(&texts, &classes, &vectors, 0);
    let whole = Neighbours::of(&texts, &classes, &vectors, 400);
    assert!(kept.to.len() < whole.to.len() * 9 / 10, "{} of {}", kept.to.len(), whole.to.len());
    for policy in [Policy::Static(0.8), Policy::Vcache(0.05), floor(0.1), of_four(0.1)] {
        for seed in 0..SEEDS {
            let play = |stream: &Neighbours| run(stream, seed, 0, &policy, Teaching::FULL, |_| true).0;
            assert_eq!(play(&kept), play(&whole), "{policy:?}");
        }
    }
}
