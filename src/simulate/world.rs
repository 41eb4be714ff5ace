//! Invented models: one that is good at everything and dear, one at a fifth of the price that falls behind as prompts
//! get harder, two that are better than both at some things and poor at the rest (one of them is out of order now and
//! then), and one that is nearly free and fails at what is hard.
//!
//! Two things can be learned of them: that the dearest is seldom worth its price, which takes a few dozen answers,
//! and which prompts the specialists are for, which takes telling prompts apart and a few hundred. No model alone is
//! as good for so little. How much of either real traffic holds is what the benchmark measures; this world is made to
//! show the learning, not to prove it.

use std::time::Duration;

use super::prompts::{self, Difficulty, Domain};
use super::{Faults, Outcome, Provider, Truth, chance};
use crate::catalog::Price;

/// How good a model is at easy, medium and hard prompts.
type Skill = [f64; 3];

/// An invented model.
#[derive(Clone, Debug)]
struct Model {
    name: &'static str,
    code: Skill,
    maths: Skill,
    text: Skill,
    talk: Skill,
    facts: Skill,
    /// Length of its answers, relative to the usual.
    wordiness: f64,
    first_token: Duration,
    per_token: Duration,
}

impl Model {
    fn skill(&self, domain: Domain, difficulty: Difficulty) -> f64 {
        let skill = match domain {
            Domain::Code => self.code,
            Domain::Maths => self.maths,
            Domain::Text => self.text,
            Domain::Talk => self.talk,
            Domain::Facts => self.facts,
        };
        skill[difficulty as usize]
    }
}

/// The invented providers and what their models make of any prompt.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    models: Vec<Model>,
    providers: Vec<Provider>,
}

impl World {
    /// The world of this seed. Models and prices are the same in all; how each answer turns out is not.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        const GRAND: Skill = [0.95, 0.92, 0.88];
        const SOLID: Skill = [0.945, 0.905, 0.82];
        const MASTER: Skill = [0.97, 0.95, 0.92];
        const POOR: Skill = [0.80, 0.70, 0.58];
        const SIMPLE: Skill = [0.88, 0.62, 0.35];
        let model = |name, skills: [Skill; 5], wordiness, first_ms: u64, per_token_us: u64| {
            let [code, maths, text, talk, facts] = skills;
            let (first_token, per_token) = (Duration::from_millis(first_ms), Duration::from_micros(per_token_us));
            Model { name, code, maths, text, talk, facts, wordiness, first_token, per_token }
        };
        let provider = |name: &str, model: &str, input, output, faults| Provider {
            name: name.to_owned(),
            models: vec![model.to_owned()],
            price: Price { input, output, cached_input: None, cache_write: None, reasoning: None },
            faults,
        };
        let sound = Faults::default();
        let shaky = Faults { rate_limited: 0.005, broken: 0.04, slow: 0.02, delay: Duration::from_millis(600) };
        Self {
            seed,
            models: vec![
                model("sim/grand", [GRAND; 5], 1.1, 40, 500),
                model("sim/solid", [SOLID; 5], 1.0, 25, 300),
                model("sim/forge", [MASTER, MASTER, POOR, POOR, POOR], 0.9, 25, 250),
                model("sim/quill", [POOR, POOR, MASTER, MASTER, MASTER], 1.0, 20, 250),
                model("sim/swift", [SIMPLE; 5], 0.7, 10, 80),
            ],
            providers: vec![
                provider("grand", "sim/grand", 5.0, 25.0, sound),
                provider("solid", "sim/solid", 1.0, 5.0, sound),
                provider("forge", "sim/forge", 0.4, 1.6, sound),
                provider("quill", "sim/quill", 0.3, 1.2, shaky),
                provider("swift", "sim/swift", 0.06, 0.25, sound),
            ],
        }
    }
}

impl Truth for World {
    fn providers(&self) -> &[Provider] {
        &self.providers
    }

    fn outcome(&self, model: &str, prompt: &str) -> Option<Outcome> {
        let model = self.models.iter().find(|known| known.name == model)?;
        let (domain, difficulty) = prompts::read(prompt);
        let draw = |purpose: &str| chance(self.seed, &[purpose, model.name, prompt]);
        // Twice the mean of two draws less one: a triangle from -1 to 1.
        let luck = draw("luck") + draw("more luck") - 1.0;
        let score = (model.skill(domain, difficulty) + 0.12 * luck).clamp(0.0, 1.0);
        let usual = match (domain, difficulty) {
            (Domain::Code, Difficulty::Hard) => 220.0,
            (Domain::Text, Difficulty::Easy) => 25.0,
            (_, Difficulty::Easy) => 40.0,
            (_, Difficulty::Medium) => 90.0,
            (_, Difficulty::Hard) => 160.0,
        };
        // How long an answer must be lies in the prompt more than in the model.
        let length = 0.7 + 0.5 * chance(self.seed, &["length", prompt]) + 0.1 * draw("length");
        let completion_tokens = (usual * length * model.wordiness).round().max(4.0) as u64;
        let first_token = model.first_token.mul_f64(0.8 + 0.4 * draw("first token"));
        let total = first_token + model.per_token.mul_f64(completion_tokens as f64);
        // Graded in steps of a twentieth, as people grade.
        Some(Outcome { score: (score * 20.0).round() / 20.0, completion_tokens, first_token, total, cost_usd: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_score(world: &World, model: &str, of: impl Fn(Domain) -> bool) -> f64 {
        let scores: Vec<f64> = prompts::bundled()
            .iter()
            .filter(|prompt| of(prompts::read(&prompt.prompt).0))
            .map(|prompt| world.outcome(model, &prompt.prompt).expect("a model of this world").score)
            .collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    #[test]
    fn an_outcome_depends_on_the_seed_the_model_and_the_prompt_alone() {
        let outcome = |seed, model| World::new(seed).outcome(model, "Solve x + 1 = 3.");
        assert_eq!(outcome(1, "sim/grand"), outcome(1, "sim/grand"));
        assert_ne!(outcome(1, "sim/grand"), outcome(2, "sim/grand"));
        assert_eq!(outcome(1, "sim/none"), None);
    }

    #[test]
    fn the_dear_model_is_the_best_alone_and_the_specialists_beat_it_at_home() {
        let world = World::new(7);
        let best = world.providers().iter().map(|provider| mean_score(&world, &provider.models[0], |_| true));
        let best: Vec<f64> = best.collect();
        assert!(best[1..].iter().all(|other| *other < best[0] - 0.005), "{best:?}");
        let at_home = |domain| matches!(domain, Domain::Code | Domain::Maths);
        assert!(mean_score(&world, "sim/forge", at_home) > mean_score(&world, "sim/grand", at_home));
        assert!(mean_score(&world, "sim/forge", |domain| !at_home(domain)) < 0.8);
    }
}
