//! The policy against numbers computed elsewhere: `../shared/fixtures/ope`, where it is at hand.

use std::path::PathBuf;

use pointsman::policy::propensity::{inverse_gap, win_probabilities};
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
