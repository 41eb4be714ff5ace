//! `pointsman replay`: a change of the configuration, held to the logged period.

use std::path::Path;

use serde_json::Value;

use super::{grown, said};

/// A configuration of these models at these prices of an output token.
fn file(folder: &Path, name: &str, models: &[(&str, f64)]) -> String {
    let mut text = String::from("version = 1\n[providers.lab]\nbase_url = 'http://127.0.0.1:9/v1'\nmodels = []\n");
    for (model, price) in models {
        let price = format!("{{ input = {price:?}, output = {price:?} }}");
        text += "[[deployments]]\nprovider = 'lab'\n";
        text += &format!("id = '{model}@1'\nname = '{model}'\nmodel = '{model}'\nprice = {price}\n");
    }
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder can be written");
    path.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_change_of_the_configuration_is_let_through_or_held_back_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    // Logged: quality .6 at $0.0001; some 320 tokens a request.
    grown(folder.path(), 2_400, [0.5, 0.8, 0.9]).await;
    let replay = |name: &str, models: &[(&str, f64)], more: &[&str]| {
        let file = file(folder.path(), name, models);
        said(folder.path(), &[&["replay", "--config", &file, "--floor", "0.1"][..], more].concat())
    };
    let all = |price: f64| [("acme/small", price), ("acme/large", price), ("other/medium", price)];

    let (code, report, complaint) = replay("same.toml", &all(0.3), &["--json"]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{report}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).expect("a number");
    // What is learned hardly asks the small one any more.
    assert!(number("/gain/mean") > 0.2, "{report:#}");
    assert!((number("/frontier/0/cost/mean") - 0.3e-6 * 320.0).abs() < 3e-5, "{report:#}");
    assert_eq!(report["frontier"].as_array().map(Vec::len), Some(7));
    let parts = report["parts"].as_array().expect("parts");
    let small = parts.iter().find(|part| part["model"] == "acme/small").expect("it served");
    assert!(small["served"].as_f64() > Some(0.6) && small["would"].as_f64() < Some(0.1), "{small}");

    let (code, _, complaint) = replay("dear.toml", &all(3.0), &[]);
    assert_eq!(code, 3);
    assert!(complaint.contains("it is dearer: by"), "{complaint}");
    assert_eq!(replay("dear.toml", &all(3.0), &["--may-cost", "12"]).0, 0, "that much was allowed");

    let (code, summary, complaint) = replay("small.toml", &[("acme/small", 0.3)], &["--markdown"]);
    assert_eq!(code, 3);
    assert!(complaint.contains("it is worse: by"), "{complaint}");
    assert!(summary.contains("| acme/small | ") && summary.contains("| 100.0 % |"), "{summary}");

    let new = [&all(0.3)[..], &[("acme/new", 0.1)]].concat();
    let (code, _, complaint) = replay("new.toml", &new, &[]);
    assert_eq!(code, 4);
    insta::assert_snapshot!(complaint, @"pointsman: the log cannot tell of acme/new");

    let empty = folder.path().join("empty.toml");
    std::fs::write(&empty, "version = 1\n[presets.frugal]\ncost = { relative = 0.5 }\n").expect("writable");
    for command in ["replay", "evaluate"] {
        let (code, summary, complaint) =
            said(folder.path(), &[command, "--config", empty.to_str().expect("text"), "--floor", "0.1"]);
        assert_eq!((code, summary.as_str()), (2, ""), "{command}");
        assert!(complaint.contains("empty.toml lists no deployment"), "{complaint}");
    }

    let (code, summary, complaint) = replay("other.toml", &[("else/where", 0.1)], &[]);
    assert_eq!((code, summary.as_str()), (2, ""));
    insta::assert_snapshot!(complaint, @"pointsman: nothing could be replayed: the log has acme/large@1, acme/small@1, other/medium@1, and the configuration lists else/where@1; --config names the one to replay");
}
