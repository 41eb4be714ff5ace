//! The model card: what the artefact does on prompts it was not fitted on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Vectors, mistyped};
use crate::embed::{DIMENSIONS, Embedding, Origin, hashing};
use crate::features::artefact::Artefact;
use crate::features::heads::Input;
use crate::features::prompts::{Difficulty, Prompt, Split};

/// What does not depend on a measurement.
const ABOUT: &str = include_str!("card.md");

/// What the heads say of one held-out prompt.
struct Answer<'a> {
    prompt: &'a Prompt,
    intent: String,
    /// Its probability.
    sure: f64,
    difficulty: usize,
    complexity: f64,
    context: Vec<f32>,
    /// The same of the prompt as mistyped.
    mistyped_intent: String,
    mistyped_complexity: f64,
}

/// The card of this artefact, measured on the held-out prompts.
#[must_use]
pub fn card(artefact: &Artefact, prompts: &[Prompt], vectors: &Vectors) -> String {
    let answers = [Origin::Encoder, Origin::Lexical].map(|origin| answers(artefact, prompts, vectors, origin));
    let mut text = ABOUT.replace("{schema}", artefact.manifest.schema.as_str());
    heads(&mut text, &answers);
    intents(&mut text, artefact, &answers);
    languages(&mut text, &answers);
    calibration(&mut text, &answers);
    projection(&mut text, artefact, prompts, vectors, &answers);
    text
}

fn answers<'a>(artefact: &Artefact, prompts: &'a [Prompt], vectors: &Vectors, origin: Origin) -> Vec<Answer<'a>> {
    let held = prompts.iter().zip(&vectors.prompts).filter(|(prompt, _)| prompt.split == Split::Heldout);
    held.zip(&vectors.mistyped)
        .map(|((prompt, vector), mistyped_vector)| {
            let read = |text: &str, vector: &[f32]| {
                let encoder = (origin == Origin::Encoder).then_some(vector);
                let input = Input::of(text, encoder);
                let intent = artefact.heads.intent(&input);
                let (name, sure) = intent.map(|intent| (intent.name, intent.probability)).unwrap_or_default();
                let difficulties = artefact.heads.difficulties(&input);
                let likely = (0..difficulties.len()).max_by(|&a, &b| difficulties[a].total_cmp(&difficulties[b]));
                let embedding =
                    encoder.map_or_else(|| hashing::embed(text), |vector| Embedding { vector: vector.into(), origin });
                let context = artefact.projection.project(&embedding)[1..].to_vec();
                (name, sure, likely.unwrap_or(0), artefact.heads.complexity(&input), context)
            };
            let (intent, sure, difficulty, complexity, context) = read(&prompt.prompt, vector);
            let (mistyped_intent, _, _, mistyped_complexity, _) = read(&mistyped(prompt), mistyped_vector);
            Answer { prompt, intent, sure, difficulty, complexity, context, mistyped_intent, mistyped_complexity }
        })
        .collect()
}

type Both<'a> = [Vec<Answer<'a>>; 2];

/// The share of answers of which this holds.
fn share<'a>(answers: impl IntoIterator<Item = &'a Answer<'a>>, holds: impl Fn(&Answer<'_>) -> bool) -> f64 {
    let (mut all, mut held) = (0.0, 0.0);
    for answer in answers {
        all += 1.0;
        held += f64::from(u8::from(holds(answer)));
    }
    held / all
}

fn mean<'a>(answers: &'a [Answer<'a>], number: impl Fn(&Answer<'_>) -> f64) -> f64 {
    answers.iter().map(number).sum::<f64>() / answers.len() as f64
}

fn right(answer: &Answer<'_>) -> bool {
    answer.intent == answer.prompt.intent
}

/// 0, 0.5, 1 for easy, medium, hard.
fn label(answer: &Answer<'_>) -> f64 {
    answer.prompt.difficulty as usize as f64 / 2.0
}

fn heads(text: &mut String, both: &Both<'_>) {
    let _ = writeln!(text, "\n## Heads, on {} held-out prompts\n", both[0].len());
    let _ = writeln!(text, "| | with the encoder | lexical only |\n|---|---|---|");
    let mut row = |name: &str, figure: &dyn Fn(&[Answer<'_>]) -> f64| {
        let _ = writeln!(text, "| {name} | {:.3} | {:.3} |", figure(&both[0]), figure(&both[1]));
    };
    row("intent: right", &|all| share(all, right));
    row("intent: right where the head is surer than .5", &|all| share(all.iter().filter(|a| a.sure > 0.5), right));
    row("intent: share of prompts where it is surer than .5", &|all| share(all, |a| a.sure > 0.5));
    row("difficulty: right of three", &|all| share(all, |a| a.difficulty == a.prompt.difficulty as usize));
    row("difficulty: easy for hard or hard for easy", &|all| {
        share(all, |a| a.difficulty.abs_diff(a.prompt.difficulty as usize) == 2)
    });
    row("complexity: mean absolute error", &|all| mean(all, |a| (a.complexity - label(a)).abs()));
    row("complexity: correlation with the label", &correlation);
    row("mistyped: intent unchanged", &|all| share(all, |a| a.intent == a.mistyped_intent));
    row("mistyped: intent right", &|all| share(all, |a| a.mistyped_intent == a.prompt.intent));
    row("mistyped: mean change of complexity", &|all| mean(all, |a| (a.complexity - a.mistyped_complexity).abs()));
}

fn correlation(answers: &[Answer<'_>]) -> f64 {
    let (x, y) = (mean(answers, |a| a.complexity), mean(answers, label));
    let of = |f: &dyn Fn(&Answer<'_>) -> f64| mean(answers, f);
    of(&|a| (a.complexity - x) * (label(a) - y))
        / (of(&|a| (a.complexity - x).powi(2)) * of(&|a| (label(a) - y).powi(2))).sqrt()
}

fn intents(text: &mut String, artefact: &Artefact, both: &Both<'_>) {
    let _ = writeln!(
        text,
        "\n## Intents\n\n| intent | prompts | found, with the encoder | most often taken for | found, lexical only |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|");
    for name in artefact.heads.names() {
        let of = |all: &[Answer<'_>]| share(all.iter().filter(|a| a.prompt.intent == *name), right);
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        let here = both[0].iter().filter(|a| a.prompt.intent == *name);
        let count = here.clone().count();
        here.filter(|a| !right(a)).for_each(|a| *taken.entry(&a.intent).or_default() += 1);
        let most = taken.iter().max_by_key(|&(name, count)| (*count, std::cmp::Reverse(*name)));
        let most = most.map_or("-".to_owned(), |(name, count)| format!("{name} ({count})"));
        let _ = writeln!(text, "| {name} | {count} | {:.2} | {most} | {:.2} |", of(&both[0]), of(&both[1]));
    }
}

fn languages(text: &mut String, both: &Both<'_>) {
    let _ = writeln!(
        text,
        "\n## Languages\n\n| language | prompts | intent, with the encoder | lexical only | difficulty, with the encoder | lexical only |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    both[0].iter().for_each(|a| *counts.entry(&a.prompt.language).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    for (name, count) in counts {
        let of = |all: &[Answer<'_>], holds: &dyn Fn(&Answer<'_>) -> bool| {
            share(all.iter().filter(|a| a.prompt.language == name), holds)
        };
        let hard = |a: &Answer<'_>| a.difficulty == a.prompt.difficulty as usize;
        let _ = writeln!(
            text,
            "| {name} | {count} | {:.2} | {:.2} | {:.2} | {:.2} |",
            of(&both[0], &right),
            of(&both[1], &right),
            of(&both[0], &hard),
            of(&both[1], &hard)
        );
    }
}

fn calibration(text: &mut String, both: &Both<'_>) {
    let _ = writeln!(
        text,
        "\n## Calibration of complexity\n\nMean label (easy 0, medium .5, hard 1) of the held-out prompts whose complexity lies in a band.\n"
    );
    let _ = writeln!(
        text,
        "| complexity | prompts | mean complexity | mean label | prompts, lexical only | mean complexity | mean label |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|");
    for (from, to) in [(0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)] {
        let cell = |all: &[Answer<'_>]| {
            let band: Vec<&Answer<'_>> = all.iter().filter(|a| (from..to).contains(&a.complexity)).collect();
            let mean =
                |number: &dyn Fn(&Answer<'_>) -> f64| band.iter().map(|a| number(a)).sum::<f64>() / band.len() as f64;
            if band.is_empty() {
                return "0 | - | -".to_owned();
            }
            format!("{} | {:.2} | {:.2}", band.len(), mean(&|a| a.complexity), mean(&label))
        };
        let _ = writeln!(text, "| {from} to {:.1} | {} | {} |", f64::min(to, 1.0), cell(&both[0]), cell(&both[1]));
    }
    let easy = |all: &[Answer<'_>]| {
        all.iter().filter(|a| a.prompt.difficulty == Difficulty::Easy).map(|a| a.complexity).sum::<f64>()
            / all.iter().filter(|a| a.prompt.difficulty == Difficulty::Easy).count() as f64
    };
    let _ = writeln!(
        text,
        "\nMean complexity of the easy prompts: {:.2} with the encoder, {:.2} lexical only.",
        easy(&both[0]),
        easy(&both[1])
    );
}

fn projection(text: &mut String, artefact: &Artefact, prompts: &[Prompt], vectors: &Vectors, both: &Both<'_>) {
    let side = |split| prompts.iter().zip(&vectors.prompts).filter(move |(p, _)| p.split == split).map(|(_, v)| v);
    let train: Vec<&Vec<f32>> = side(Split::Train).collect();
    let held: Vec<&Vec<f32>> = side(Split::Heldout).collect();
    let centre = mean_vector(train.iter().copied());
    // Components are orthogonal and share one scale, so the projected length over the scaled length is the share kept.
    let column = |k: usize| artefact.projection.encoder.weight.iter().skip(k).step_by(both[0][0].context.len());
    let scale: f64 = column(0).map(|w| f64::from(*w).powi(2)).sum();
    let kept = |vectors: &[&Vec<f32>]| {
        let (mut inside, mut all) = (0.0, 0.0);
        for vector in vectors {
            let embedding = Embedding { vector: vector.as_slice().into(), origin: Origin::Encoder };
            inside += length(&artefact.projection.project(&embedding)[1..]) / scale;
            all += vector.iter().zip(&centre).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>();
        }
        inside / all
    };
    let squared = |all: &[Answer<'_>]| mean(all, |a| length(&a.context));
    let pairs = both[0].iter().zip(&both[1]);
    let cosine =
        pairs.map(|(a, b)| dot(&a.context, &b.context) / (length(&a.context) * length(&b.context)).sqrt()).sum::<f64>()
            / both[0].len() as f64;
    let missed: f64 = both[0]
        .iter()
        .zip(&both[1])
        .map(|(a, b)| a.context.iter().zip(&b.context).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>())
        .sum();
    let centre = mean_vector(both[0].iter().map(|a| &a.context));
    let spread: f64 = both[0]
        .iter()
        .map(|a| a.context.iter().zip(&centre).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>())
        .sum();
    let _ = writeln!(text, "\n## Projection\n\n| | |\n|---|---|");
    let _ = writeln!(text, "| variance kept by 32 of {DIMENSIONS} dimensions: training side | {:.3} |", kept(&train));
    let _ = writeln!(text, "| held out | {:.3} |", kept(&held));
    let _ = writeln!(text, "| mean squared length of a held-out context, bias left out | {:.3} |", squared(&both[0]));
    let _ = writeln!(text, "| the same, lexical | {:.3} |", squared(&both[1]));
    let _ = writeln!(text, "| mean cosine of the lexical context with the encoder's, held out | {cosine:.3} |");
    let _ = writeln!(
        text,
        "| share of the encoder context's variance that the lexical one explains, held out | {:.3} |",
        1.0 - missed / spread
    );
}

fn mean_vector<'a>(rows: impl Iterator<Item = &'a Vec<f32>>) -> Vec<f64> {
    let (mut sums, mut count) = (Vec::new(), 0.0);
    for row in rows {
        sums.resize(row.len(), 0.0);
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        count += 1.0;
    }
    sums.into_iter().map(|sum| sum / count).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn length(a: &[f32]) -> f64 {
    dot(a, a)
}
