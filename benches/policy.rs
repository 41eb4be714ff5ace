//! How long the policy takes, on one thread: `cargo bench --bench policy`.
//!
//! Targets at 10 models and 33 numbers: score with exact propensities within 15 us, a learning step under 1 us,
//! a publish under 5 us a model.

use divan::{Bencher, black_box};
use pointsman::base::{ModelId, SchemaId, Seed, Timestamp};
use pointsman::catalog::Price;
use pointsman::embed::Origin;
use pointsman::features::{CONTEXT, Context};
use pointsman::policy::pacer::Pace;
use pointsman::policy::propensity::win_probabilities;
use pointsman::policy::{
    Ask, Candidate, Config, Estimate, Policy, Preferences, PromptCache, QualityRow, Spread, State,
};

fn main() {
    divan::main();
}

fn context(i: u64) -> Context {
    let mut x: Vec<f32> = (0..CONTEXT).map(|j| (Seed(i).uniform(&j.to_string()) - 0.5) as f32 * 0.6).collect();
    x[0] = 1.0;
    Context { schema: SchemaId::from("bench"), x, origin: Origin::Encoder }
}

fn row<'a>(model: &'a ModelId, context: &'a Context, y: f64) -> QualityRow<'a> {
    let predicted = Estimate { mean: 0.5, sd: 0.4 };
    QualityRow { model, context, y, weight: 1.0, decided_at: Timestamp(1_700_000_000_000_000), predicted }
}

fn models(count: usize) -> Vec<ModelId> {
    (0..count).map(|m| ModelId::from(format!("provider/model-{m}"))).collect()
}

fn learned(count: usize, spread: Spread) -> State {
    let mut state = State::new(Config { spread, ..Config::default() }, SchemaId::from("bench"));
    let models = models(count);
    for i in 0..200 * count as u64 {
        let arm = i as usize % count;
        let good = 0.6 + 0.2 * arm as f64 / count as f64;
        let y = f64::from(u8::from(Seed(i).uniform("y") < good));
        state.observe_quality(&row(&models[arm], &context(i), y));
    }
    state
}

fn score(bencher: Bencher<'_, '_>, count: usize, spread: Spread) {
    let snapshot = learned(count, spread).publish();
    let candidates: Vec<Candidate> = models(count)
        .into_iter()
        .enumerate()
        .map(|(m, model)| Candidate {
            deployment: model.as_str().into(),
            model,
            price: Some(Price {
                input: 0.1 + m as f64,
                output: 0.4 + 4.0 * m as f64,
                cached_input: None,
                cache_write: None,
                reasoning: None,
            }),
            in_flight: 0,
            alternates: Vec::new(),
            prompt_cache: PromptCache::default(),
            like: None,
        })
        .collect();
    let context = context(7);
    let ask = Ask {
        context: &context,
        prompt_tokens: 300,
        max_tokens: None,
        preferences: &Preferences::BEST,
        pace: Pace::default(),
    };
    bencher.bench(|| snapshot.score(black_box(&ask), black_box(&candidates)));
}

#[divan::bench(args = [3, 10, 50])]
fn score_by_context(bencher: Bencher<'_, '_>, models: usize) {
    score(bencher, models, Spread::Context);
}

#[divan::bench(args = [3, 10, 50])]
fn score_by_trials(bencher: Bencher<'_, '_>, models: usize) {
    score(bencher, models, Spread::Trials);
}

#[divan::bench(args = [3, 10, 50])]
fn propensities_alone(bencher: Bencher<'_, '_>, arms: usize) {
    let means: Vec<f64> = (0..arms).map(|arm| 0.7 + 0.01 * arm as f64 / arms as f64).collect();
    let sds: Vec<f64> = (0..arms).map(|arm| 0.02 + 0.002 * arm as f64).collect();
    bencher.bench(|| win_probabilities(black_box(&means), black_box(&sds)));
}

#[divan::bench]
fn learn(bencher: Bencher<'_, '_>) {
    let mut state = learned(10, Spread::Context);
    let (models, context) = (models(10), context(3));
    let row = row(&models[4], &context, 1.0);
    bencher.bench_local(|| state.observe_quality(black_box(&row)));
}

#[divan::bench(args = [1, 10, 50])]
fn publish(bencher: Bencher<'_, '_>, models: usize) {
    let state = learned(models, Spread::Context);
    bencher.bench(|| black_box(&state).publish());
}
