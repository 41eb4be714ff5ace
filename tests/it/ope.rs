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
