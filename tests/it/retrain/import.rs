//! `pointsman export` and `pointsman import`.

use pointsman::base::Usd;
use pointsman::ledger::{Event, Ledger as _, Outcome, SqliteLedger};
use serde_json::{Value, json};

use super::{grown, said};

#[tokio::test]
async fn what_was_exported_comes_back_to_the_last_bit_and_once() {
    for name in ["log.jsonl", "log.parquet"] {
        comes_back(name).await;
    }
}

async fn comes_back(name: &str) {
    let (from, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    grown(from.path(), 150, [0.5, 0.8, 0.9]).await;
    let file = to.path().join(name);
    let file = file.to_str().expect("text");
    assert_eq!(said(from.path(), &["export", "--output", file]).0, 0);
    let (code, words, complaint) = said(to.path(), &["import", file]);
    assert_eq!((code, words.as_str()), (0, "450 events taken, 0 were there already, 0 refused\n"), "{complaint}");
    let (_, words, _) = said(to.path(), &["import", file]);
    assert_eq!(words, "0 events taken, 450 were there already, 0 refused\n");
    let events = |folder: &tempfile::TempDir| {
        let ledger = SqliteLedger::open_to_read(folder.path()).expect("there");
        ledger.scan(0, usize::MAX).expect("readable")
    };
    assert_eq!(events(&from), events(&to));
}

#[tokio::test]
async fn a_parquet_file_of_another_kind_or_form_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    grown(folder.path(), 5, [0.5, 0.8, 0.9]).await;
    let whole = folder.path().join("log.parquet");
    assert_eq!(said(folder.path(), &["export", "--output", whole.to_str().expect("text")]).0, 0);
    let bytes = std::fs::read(&whole).expect("readable");
    let cut = folder.path().join("cut.parquet");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("writable");
    let (code, _, complaint) = said(folder.path(), &["import", cut.to_str().expect("text")]);
    assert_eq!(code, 1);
    assert!(complaint.starts_with("pointsman: this Parquet file cannot be read: "), "{complaint}");
    // The number of the form is one byte after its key.
    let key = bytes.windows(14).position(|window| window == b"pointsman.form").expect("it names its form");
    let mut later = bytes;
    let digit = (key + 14..key + 20).find(|&at| later[at] == b'1').expect("form 1");
    later[digit] = b'7';
    std::fs::write(&whole, later).expect("writable");
    let (code, _, complaint) = said(folder.path(), &["import", whole.to_str().expect("text")]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(complaint, @"pointsman: this Parquet file cannot be read: it has form 7, this version reads 1");
    let (code, _, complaint) = said(folder.path(), &["export", "--format", "parquet"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(complaint, @"pointsman: a Parquet file needs a place: name it with --output");
}

#[test]
fn the_columns_of_a_parquet_file_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, columns, _) = said(folder.path(), &["export", "--columns"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(columns);
}

#[tokio::test]
async fn another_gateways_log_teaches_and_is_refused_for_evaluation() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<Value> = (0..40)
        .map(|n| {
            // As LiteLLM's standard logging payload, and as a request beside its response.
            if n % 2 == 0 {
                json!({
                    "id": format!("chatcmpl-{n}"), "model": "gpt-x", "custom_llm_provider": "openai",
                    "status": if n == 10 { "failure" } else { "success" }, "response_cost": 0.002,
                    "prompt_tokens": 30, "completion_tokens": 90, "startTime": 1_780_000_000.5 + f64::from(n),
                    "endTime": 1_780_000_001.75 + f64::from(n),
                    "messages": [{ "role": "user", "content": "Write a function that reverses a list." }],
                })
            } else {
                json!({
                    "request": { "model": "lab/y", "messages": [{ "role": "user", "content": "Who was Ada Lovelace?" }] },
                    "response": { "id": format!("r{n}"), "usage": { "prompt_tokens": 12, "completion_tokens": 55 } },
                    "timestamp": "2026-05-28 20:26:40.25", "latency_ms": 800, "score": 0.75, "n": n,
                })
            }
        })
        .collect();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = folder.path().join("other.jsonl");
    std::fs::write(&file, text + "{\"model\": \"x\"}\nno JSON\n").expect("writable");
    let (code, words, complaint) = said(folder.path(), &["import", file.to_str().expect("text")]);
    assert_eq!(code, 0, "{complaint}");
    insta::assert_snapshot!(words);
    insta::assert_snapshot!(complaint);
    let ledger = SqliteLedger::open_to_read(folder.path()).expect("there");
    let entries = ledger.scan(0, 3).expect("readable");
    let (Event::Decided(decided), Event::Completed(completed)) = (&entries[0].event, &entries[1].event) else {
        panic!("a decision and its end: {entries:?}")
    };
    assert_eq!(decided.arms[0].model.as_str(), "openai/gpt-x");
    assert!(decided.features.context.x.iter().skip(1).any(|x| *x != 0.0), "the prompt has a context");
    assert_eq!(
        (completed.outcome, completed.cost_usd.map(Usd::get), completed.total_ms),
        (Outcome::Served, Some(0.002), 1_250.0)
    );
    let body = serde_json::to_string(&decided).expect("JSON");
    assert!(!body.contains("reverses"), "the prompt itself is not kept");

    let (code, _, complaint) = said(folder.path(), &["evaluate"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(complaint, @"pointsman: the log cannot tell: left out: 0 that nobody judged, 20 where nothing was left to chance, 0 that a fallback answered");
    let (code, _, complaint) = said(folder.path(), &["train"]);
    assert_eq!(code, 0, "{complaint}");
    let (_, beliefs, _) = said(folder.path(), &["policy", "show", "v1"]);
    assert!(beliefs.contains("lab/y"), "{beliefs}");
}
