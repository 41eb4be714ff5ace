//! From prompts and their vectors to the shipped artefact; and how good it is on prompts it never saw.
//!
//! Everything is in closed form: principal components for the projection, ridge regression for the rest, with
//! penalties and temperatures chosen on leave-one-out predictions of the training side. The same input
//! gives the same artefact, so a test can ask whether what is shipped is what the training makes.

mod pca;
pub mod refit;
mod report;
mod ridge;
pub mod typos;

use nalgebra::DMatrix;

use super::artefact::{self, Artefact, Manifest, Tensors, Wrong};
use super::heads::{DIFFICULTIES, Input};
use super::projection::PROJECTED;
use super::prompts::{Prompt, Split};
use super::shape::SHAPE;
use super::terms::TERMS;
use crate::base::Digest;
use crate::embed::{DIMENSIONS, Origin, hashing};

pub use report::card;

/// What the encoder makes of the prompts; kept beside them, so that nobody needs the encoder to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// One a prompt, in their order.
    pub prompts: Vec<Vec<f32>>,
    /// One a held-out prompt, in their order, of the prompt as [mistyped](typos::mistype).
    pub mistyped: Vec<Vec<f32>>,
}

impl Vectors {
    /// What this file says of these prompts. The names of its tensors end in a digest of the prompts, so that
    /// vectors of other prompts are not taken for theirs.
    ///
    /// # Errors
    /// If it holds something else: then the vectors have to be made anew.
    pub fn read(bytes: &[u8], prompts: &[Prompt]) -> Result<Self, Wrong> {
        let tensors = Tensors::of(bytes)?;
        let rows = |name: &str, count: usize| {
            let numbers = tensors.read(&format!("{name}.{}", digest(prompts)), &[count, DIMENSIONS])?;
            Ok::<_, Wrong>(numbers.chunks_exact(DIMENSIONS).map(<[f32]>::to_vec).collect())
        };
        let held = prompts.iter().filter(|prompt| prompt.split == Split::Heldout).count();
        Ok(Self { prompts: rows("prompts", prompts.len())?, mistyped: rows("mistyped", held)? })
    }

    /// The file.
    ///
    /// # Errors
    /// If a vector has not [`DIMENSIONS`] numbers.
    pub fn write(&self, prompts: &[Prompt]) -> Result<Vec<u8>, Wrong> {
        let tensor = |name: &str, rows: &[Vec<f32>]| {
            (format!("{name}.{}", digest(prompts)), vec![rows.len(), DIMENSIONS], rows.concat())
        };
        artefact::write(&[tensor("prompts", &self.prompts), tensor("mistyped", &self.mistyped)])
    }
}

/// The texts whose vectors are wanted: every prompt, then every held-out prompt mistyped.
#[must_use]
pub fn texts(prompts: &[Prompt]) -> (Vec<&str>, Vec<String>) {
    let held = prompts.iter().filter(|prompt| prompt.split == Split::Heldout);
    (prompts.iter().map(|prompt| prompt.prompt.as_str()).collect(), held.map(mistyped).collect())
}

/// A prompt with slips; the same ones each time.
fn mistyped(prompt: &Prompt) -> String {
    let seed = prompt.id.bytes().fold(0_u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
    typos::mistype(&prompt.prompt, seed)
}

fn digest(prompts: &[Prompt]) -> Digest {
    Digest::of_json(&prompts.iter().map(|prompt| &prompt.id).collect::<Vec<_>>())
}

/// The files of an artefact.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// `manifest.toml`
    pub manifest: String,
    /// `projection.safetensors`
    pub projection: Vec<u8>,
    /// `heads.safetensors`
    pub heads: Vec<u8>,
}

impl Files {
    /// The artefact that they hold.
    ///
    /// # Errors
    /// If they hold none.
    pub fn artefact(&self) -> Result<Artefact, Wrong> {
        Artefact::read(&self.manifest, &self.projection, &self.heads)
    }
}

/// Fits projection and heads on the training side of these prompts.
///
/// # Errors
/// If the vectors have not [`DIMENSIONS`] numbers.
///
/// # Panics
/// Never: what is fitted has a solution, and the manifest a TOML form.
pub fn train(prompts: &[Prompt], vectors: &Vectors) -> Result<Files, Wrong> {
    let seen: Vec<(&Prompt, &[f32])> = prompts
        .iter()
        .zip(&vectors.prompts)
        .filter(|(p, _)| p.split == Split::Train)
        .map(|(p, v)| (p, &v[..]))
        .collect();
    let projection = artefact::write(&projection(&seen))?;
    let intents = intents(prompts);
    let heads = artefact::write(&heads(&seen, &intents))?;
    let manifest = Manifest {
        name: "features-v1".to_owned(),
        schema: artefact::schema(&projection),
        encoder: crate::embed::DEFAULT_MODEL.to_owned(),
        licence: "Apache-2.0".to_owned(),
        made_by: "cargo run --release --example train_features".to_owned(),
        made_from: vec!["datasets/prompts/prompts.jsonl".to_owned(), "datasets/prompts/vectors.safetensors".to_owned()],
        intents,
        sha256: [("projection.safetensors", &projection), ("heads.safetensors", &heads)]
            .map(|(name, bytes)| (name.to_owned(), artefact::sha256(bytes)))
            .into(),
    };
    let manifest = toml::to_string(&manifest).expect("a manifest of strings has a TOML form");
    Ok(Files { manifest, projection, heads })
}

/// The intents that occur, in alphabetical order.
fn intents(prompts: &[Prompt]) -> Vec<String> {
    prompts.iter().map(|prompt| prompt.intent.clone()).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

type Tensor = (String, Vec<usize>, Vec<f32>);

/// Penalty of the map from lexical vectors to contexts.
const LEXICAL_PENALTY: f64 = 4.0;

fn projection(seen: &[(&Prompt, &[f32])]) -> Vec<Tensor> {
    let vectors = DMatrix::from_fn(seen.len(), DIMENSIONS, |i, j| f64::from(seen[i].1[j]));
    let fit = pca::pca(&vectors, PROJECTED);
    let bias = -(&fit.mean * &fit.components);
    let contexts = DMatrix::from_fn(seen.len(), PROJECTED, |i, k| {
        vectors.row(i).transpose().dot(&fit.components.column(k)) + bias[k]
    });
    let lexical = lexical(seen.iter().map(|(prompt, _)| prompt.prompt.as_str()));
    let guess = ridge::ridge(&lexical, &contexts, LEXICAL_PENALTY);
    let mut tensors = Vec::new();
    push(&mut tensors, "encoder", &fit.components, bias.as_slice());
    push(&mut tensors, "lexical", &guess.weight, guess.bias.as_slice());
    tensors
}

fn lexical<'a>(texts: impl Iterator<Item = &'a str>) -> DMatrix<f64> {
    let rows: Vec<_> = texts.map(|text| hashing::embed(text).vector).collect();
    DMatrix::from_fn(rows.len(), DIMENSIONS, |i, j| f64::from(rows[i][j]))
}

fn push(tensors: &mut Vec<Tensor>, name: &str, weight: &DMatrix<f64>, bias: &[f64]) {
    let rows = (0..weight.nrows()).flat_map(|i| weight.row(i).iter().map(|&w| w as f32).collect::<Vec<_>>()).collect();
    tensors.push((format!("{name}.weight"), vec![weight.nrows(), weight.ncols()], rows));
    tensors.push((format!("{name}.bias"), vec![weight.ncols()], bias.iter().map(|&b| b as f32).collect()));
}

/// How strongly the heads are held back, and how loudly the terms and the shape speak beside the
/// encoder's vector.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// Ridge penalty.
    penalty: f64,
    /// Factor of the terms.
    terms: f64,
    /// Factor of the shape, each number standardised before.
    shape: f64,
}

/// The best of 64 by the leave-one-out predictions, on the training side, of the heads with the encoder.
const INTENT: Settings = Settings { penalty: 2.0, terms: 1.0, shape: 0.15 };
const DIFFICULTY: Settings = Settings { penalty: 2.0, terms: 0.7, shape: 0.2 };

fn heads(seen: &[(&Prompt, &[f32])], intents: &[String]) -> Vec<Tensor> {
    let kinds: Vec<usize> =
        seen.iter().map(|(prompt, _)| intents.iter().position(|name| *name == prompt.intent).unwrap_or(0)).collect();
    let difficulties: Vec<usize> = seen.iter().map(|(prompt, _)| prompt.difficulty as usize).collect();
    let mut tensors = Vec::new();
    for (name, origin) in [("encoder", Origin::Encoder), ("lexical", Origin::Lexical)] {
        let inputs = inputs(seen, origin);
        for (head, classes, count, settings) in
            [("intent", &kinds, intents.len(), INTENT), ("difficulty", &difficulties, DIFFICULTIES, DIFFICULTY)]
        {
            let head_fit = classifier(&inputs, classes, count, settings);
            push(&mut tensors, &format!("{name}.{head}"), &head_fit.weight, &head_fit.bias);
        }
    }
    tensors
}

/// What the heads of this origin read of every prompt, one row each.
fn inputs(seen: &[(&Prompt, &[f32])], origin: Origin) -> DMatrix<f64> {
    let mut matrix = DMatrix::zeros(seen.len(), Input::width(origin));
    for (row, (prompt, vector)) in seen.iter().enumerate() {
        let encoder = (origin == Origin::Encoder).then_some(*vector);
        for (place, number) in Input::of(&prompt.prompt, encoder).entries() {
            matrix[(row, place)] = f64::from(number);
        }
    }
    matrix
}

/// A fitted head.
struct Classifier {
    weight: DMatrix<f64>,
    bias: Vec<f64>,
}

/// Ridge regression on one-hot targets; its scores, sharpened by a temperature that leave-one-out predictions choose,
/// are log-probabilities up to a constant.
fn classifier(inputs: &DMatrix<f64>, classes: &[usize], count: usize, settings: Settings) -> Classifier {
    let scales = scales(inputs, settings);
    let scaled = DMatrix::from_fn(inputs.nrows(), inputs.ncols(), |i, j| inputs[(i, j)] * scales[j]);
    let targets = DMatrix::from_fn(classes.len(), count, |i, k| f64::from(u8::from(classes[i] == k)));
    let fit = ridge::ridge(&scaled, &targets, settings.penalty);
    let temperature = (0..60)
        .map(|step| 1.12_f64.powi(step))
        .min_by(|&a, &b| surprise(&fit.left_out, classes, a).total_cmp(&surprise(&fit.left_out, classes, b)));
    let temperature = temperature.unwrap_or(1.0);
    Classifier {
        weight: DMatrix::from_fn(inputs.ncols(), count, |j, k| fit.weight[(j, k)] * scales[j] * temperature),
        bias: fit.bias.iter().map(|b| b * temperature).collect(),
    }
}

/// Mean negative log-likelihood of the classes under the sharpened scores.
fn surprise(scores: &DMatrix<f64>, classes: &[usize], temperature: f64) -> f64 {
    let row = |(i, &class): (usize, &usize)| {
        let top = scores.row(i).max();
        let sum: f64 = scores.row(i).iter().map(|score| (temperature * (score - top)).exp()).sum();
        sum.ln() - temperature * (scores[(i, class)] - top)
    };
    classes.iter().enumerate().map(row).sum::<f64>() / classes.len() as f64
}

/// The factor of every input: the blocks stand in the order of [`Input::entries`].
fn scales(inputs: &DMatrix<f64>, settings: Settings) -> Vec<f64> {
    let shape_from = inputs.ncols() - SHAPE;
    let terms_from = shape_from - TERMS;
    (0..inputs.ncols())
        .map(|j| {
            if j < terms_from {
                1.0
            } else if j < shape_from {
                settings.terms
            } else {
                settings.shape / inputs.column(j).variance().sqrt().max(1e-6)
            }
        })
        .collect()
}
