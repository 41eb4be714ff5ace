//! The estimators and the gate held to a world whose truth is known.
//!
//! A table of outcomes says what every model would have answered, so it can be logged by any policy and any other
//! policy's true worth on it is a mean. Events are rows of one half of the table, drawn with replacement; the other
//! half teaches the logging policy and the reward model what a real log would have taught them. The four models of
//! the best mean score play, as they would on a shortlist.

use ndarray::Array2;

use super::{Round, Support};
use crate::base::{ModelId, SchemaId, Seed, Timestamp};
use crate::embed::Origin;
use crate::eval::table::Table;
use crate::features::Context;
use crate::policy::propensity::{inverse_gap, raise_to_floor};
use crate::policy::{Config, Estimate, QualityRow, Snapshot, State, draw};

/// Arms that play.
const ARMS: usize = 4;
/// Labelled prompts the logging policy has learned from.
const LABELS: usize = 100;
/// Events the reward model was frozen after.
const BEFORE: usize = 2_000;
/// How strongly the logging policy prefers what it takes for the best.
const GAMMA: f64 = 60.0;

/// What a candidate leans towards, away from what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lean {
    /// The best answer to each prompt: a gain that no reward model sees.
    Oracle,
    /// The model a regression on all labels takes for the best.
    Learned,
    /// The best answer to some prompts and the worst to others, so that nothing is gained.
    Nowhere,
}

/// A logged world.
#[derive(Debug)]
pub struct Rehearsal {
    score: Array2<f64>,
    logged: Vec<Vec<f64>>,
    predicted: Vec<Vec<f64>>,
    told: Vec<Vec<f64>>,
    learned: Vec<usize>,
}

/// A target policy: its probability of every arm, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    rows: Vec<Vec<f64>>,
    /// What it is worth beyond what is logged.
    pub gain: f64,
}

impl Rehearsal {
    /// A world of this table, with `contexts` of its rows, in which every arm is tried at least with probability
    /// `floor`.
    #[must_use]
    pub fn new(table: &Table, contexts: &Array2<f32>, floor: f64) -> Self {
        let (learn, test): (Vec<usize>, Vec<usize>) = (0..table.len()).partition(|row| row % 2 == 0);
        let mean = |model: usize| learn.iter().map(|&row| f64::from(table.score[[row, model]])).sum::<f64>();
        let mut best: Vec<usize> = (0..table.models.len()).collect();
        best.sort_by(|&a, &b| mean(b).total_cmp(&mean(a)));
        best.truncate(ARMS);
        let world = World { table, contexts, arms: best, schema: "rehearsal".into() };
        let mut few = State::new(settings(), world.schema.clone());
        for &row in learn.iter().take(LABELS) {
            (0..world.arms.len()).for_each(|arm| world.teach(&mut few, row, arm));
        }
        let few = few.publish();
        let logs = |row: usize| world.logging(&few, row, floor);
        let mut before = State::new(settings(), world.schema.clone());
        for n in 0..BEFORE {
            let seed = Seed(n as u64);
            let row = learn[(seed.uniform("row") * learn.len() as f64) as usize];
            world.teach(&mut before, row, draw(&logs(row), seed.uniform("arm")));
        }
        let before = before.publish();
        let mut all = State::new(settings(), world.schema.clone());
        for &row in &learn {
            (0..world.arms.len()).for_each(|arm| world.teach(&mut all, row, arm));
        }
        let all = all.publish();
        let told: Vec<Vec<f64>> = test.iter().map(|&row| world.expects(&all, row)).collect();
        Self {
            score: Array2::from_shape_fn((test.len(), world.arms.len()), |(i, arm)| world.score(test[i], arm)),
            logged: test.iter().map(|&row| logs(row)).collect(),
            predicted: test.iter().map(|&row| world.expects(&before, row)).collect(),
            learned: told.iter().map(|expected| greatest(expected)).collect(),
            told,
        }
    }

    /// What a policy with these probabilities is worth.
    fn worth(&self, rows: &[Vec<f64>]) -> f64 {
        let of = |(i, p): (usize, &Vec<f64>)| p.iter().zip(self.score.row(i)).map(|(p, y)| p * y).sum::<f64>();
        rows.iter().enumerate().map(of).sum::<f64>() / rows.len() as f64
    }

    /// What is logged is worth this.
    #[must_use]
    pub fn served(&self) -> f64 {
        self.worth(&self.logged)
    }

    /// The policy that leans this way as far as it takes to gain so much; `None` if that way does not lead so far.
    #[must_use]
    pub fn target(&self, lean: Lean, gain: f64) -> Option<Target> {
        let end = self.end(lean);
        let served = self.served();
        let share = match lean {
            Lean::Nowhere => 0.5,
            Lean::Oracle | Lean::Learned => gain / (self.worth(&end) - served),
        };
        (0.0..=1.0).contains(&share).then(|| self.towards(&end, share))
    }

    /// The policy that leans this way by so much, 0 to 1.
    #[must_use]
    pub fn leaning(&self, lean: Lean, share: f64) -> Target {
        self.towards(&self.end(lean), share)
    }

    fn towards(&self, end: &[Vec<f64>], share: f64) -> Target {
        let rows = mix(&self.logged, end, share);
        Target { gain: self.worth(&rows) - self.served(), rows }
    }

    /// Where a way leads.
    fn end(&self, lean: Lean) -> Vec<Vec<f64>> {
        let one = |arm: usize| (0..self.score.ncols()).map(|a| f64::from(u8::from(a == arm))).collect::<Vec<f64>>();
        let best = |i: usize| greatest(&self.score.row(i).to_vec());
        let worst = |i: usize| greatest(&self.score.row(i).iter().map(|y| -y).collect::<Vec<_>>());
        let served = self.served();
        let rows = |arm: &dyn Fn(usize) -> usize| (0..self.logged.len()).map(|i| one(arm(i))).collect::<Vec<_>>();
        match lean {
            Lean::Oracle => rows(&best),
            Lean::Learned => rows(&|i| self.learned[i]),
            Lean::Nowhere => {
                let (best, worst) = (rows(&best), rows(&worst));
                let (up, down) = (self.worth(&best) - served, served - self.worth(&worst));
                mix(&best, &worst, up / (up + down))
            }
        }
    }

    /// So many events logged, weighed for this target; and the share of it that the log tries at least with
    /// probability `floor`.
    ///
    /// # Panics
    /// Never: what is logged here has the arms it says.
    #[must_use]
    pub fn log(&self, target: &Target, events: usize, floor: f64, stream: u64) -> (Vec<Round>, Support) {
        self.log_told(target, events, floor, stream, <[f64]>::to_vec)
    }

    /// The same where the log does not tell the probabilities that were drawn with, but what `told` makes of them.
    ///
    /// # Panics
    /// If `told` makes other arms of them, or gives one that is drawn no probability.
    #[must_use]
    pub fn log_told(
        &self,
        target: &Target,
        events: usize,
        floor: f64,
        stream: u64,
        told: impl Fn(&[f64]) -> Vec<f64>,
    ) -> (Vec<Round>, Support) {
        let mut support = Support::default();
        let rounds = (0..events)
            .map(|n| {
                let seed = Seed(stream << 32 | n as u64);
                let row = self.row(seed);
                support.add(&self.logged[row], &target.rows[row], floor);
                self.round(target, seed, &self.predicted, &told)
            })
            .collect();
        (rounds, support)
    }

    fn row(&self, seed: Seed) -> usize {
        (seed.uniform("row") * self.logged.len() as f64) as usize
    }

    /// The round of this seed, its probabilities as they are told.
    fn round(&self, target: &Target, seed: Seed, predicted: &[Vec<f64>], told: &impl Fn(&[f64]) -> Vec<f64>) -> Round {
        let row = self.row(seed);
        let logged = &self.logged[row];
        let arm = draw(logged, seed.uniform("arm"));
        let y = self.score[[row, arm]];
        Round::new(arm, y, &told(logged), &target.rows[row], &predicted[row]).expect("the arms are the same")
    }

    /// The same rounds with another reward model: one that was told every answer to every prompt of the other half, more
    /// than any log can tell.
    ///
    /// # Panics
    /// Never: what is logged here has the arms it says.
    #[must_use]
    pub fn log_told_all(&self, target: &Target, events: usize, stream: u64) -> Vec<Round> {
        (0..events).map(|n| self.round(target, Seed(stream << 32 | n as u64), &self.told, &<[f64]>::to_vec)).collect()
    }

    /// The error that is left to anybody: of so many prompts, drawn by chance, every answer is known, and the mean of
    /// what the target would have got on them is still off the mean over all prompts by this much.
    #[must_use]
    pub fn of_prompts(&self, target: &Target, events: usize) -> f64 {
        let of = |(i, p): (usize, &Vec<f64>)| p.iter().zip(self.score.row(i)).map(|(p, y)| p * y).sum::<f64>();
        let worth: Vec<f64> = target.rows.iter().enumerate().map(of).collect();
        let mean = worth.iter().sum::<f64>() / worth.len() as f64;
        let variance = worth.iter().map(|worth| (worth - mean).powi(2)).sum::<f64>() / worth.len() as f64;
        (variance / events as f64).sqrt()
    }

    /// The mean reward of so many events that the target itself chose: the error of this is nobody's fault.
    #[must_use]
    pub fn lived(&self, target: &Target, events: usize, stream: u64) -> f64 {
        let of = |n: usize| {
            let seed = Seed(stream << 32 | n as u64);
            let row = self.row(seed);
            self.score[[row, draw(&target.rows[row], seed.uniform("arm"))]]
        };
        (0..events).map(of).sum::<f64>() / events as f64
    }
}

fn settings() -> Config {
    Config { half_life: std::time::Duration::ZERO, ..Config::default() }
}

fn mix(from: &[Vec<f64>], to: &[Vec<f64>], share: f64) -> Vec<Vec<f64>> {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| (1.0 - share) * a + share * b).collect();
    from.iter().zip(to).map(row).collect()
}

fn greatest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The table as the policy's own regression sees it.
struct World<'a> {
    table: &'a Table,
    contexts: &'a Array2<f32>,
    arms: Vec<usize>,
    schema: SchemaId,
}

impl World<'_> {
    fn score(&self, row: usize, arm: usize) -> f64 {
        f64::from(self.table.score[[row, self.arms[arm]]])
    }

    fn context(&self, row: usize) -> Context {
        Context { schema: self.schema.clone(), x: self.contexts.row(row).to_vec(), origin: Origin::Encoder }
    }

    fn model(&self, arm: usize) -> ModelId {
        self.table.models[self.arms[arm]].as_str().into()
    }

    fn teach(&self, state: &mut State, row: usize, arm: usize) {
        state.observe_quality(&QualityRow {
            model: &self.model(arm),
            context: &self.context(row),
            y: self.score(row, arm),
            weight: 1.0,
            decided_at: Timestamp(0),
            predicted: Estimate { mean: 0.5, sd: 0.0 },
        });
    }

    fn expects(&self, model: &Snapshot, row: usize) -> Vec<f64> {
        let context = self.context(row);
        (0..self.arms.len()).map(|arm| model.quality(&self.model(arm), &context).mean.clamp(0.0, 1.0)).collect()
    }

    /// Inverse gap weighting over what few labels tell, with a floor.
    fn logging(&self, model: &Snapshot, row: usize, floor: f64) -> Vec<f64> {
        let mut p = inverse_gap(&self.expects(model, row), GAMMA);
        raise_to_floor(&mut p, &vec![floor; self.arms.len()]);
        p
    }
}
