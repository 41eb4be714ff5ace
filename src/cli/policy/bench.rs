//! `pointsman policy bench`: every figure that the policy is held to, measured, beside its bar.

use std::hint::black_box;
use std::time::Duration;

use comfy_table::{CellAlignment, Table as Grid, presets};
use serde_json::json;

use super::super::{Failure, datasets};
use crate::base::{Clock, ModelId, SchemaId, Seed, SystemClock, Timestamp};
use crate::catalog::Price;
use crate::embed::Origin;
use crate::eval::bars::{Bar, paced, streams, worlds};
use crate::eval::offline::Effort;
use crate::features::{CONTEXT, Context};
use crate::policy::pacer::Pace;
use crate::policy::{Ask, Candidate, Config, Estimate, Policy, Preferences, PromptCache, QualityRow, State};

/// Measure everything the policy is held to: regret from cold and under drift on the bundled outcomes, known worlds,
/// late rewards, budgets, the watch for silent falls, and speed. Contexts are those of the served feature map.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Orders and seeds.
    #[arg(long, visible_alias = "orders", default_value_t = 10)]
    seeds: u32,
    /// Only these parts: online, drift, budgets, worlds, watch, speed. All, if none is named.
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const PARTS: [&str; 6] = ["online", "drift", "budgets", "worlds", "watch", "speed"];
const SETS: [&str; 3] = ["llmrouter-ulab", "zeroeval", "paretobandit"];

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(strange) = args.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(Failure::Usage(format!("no part `{strange}`; there are: {}", PARTS.join(", "))));
    }
    if args.seeds == 0 {
        return Err(Failure::Usage("--seeds: expected 1 or more, got 0".to_owned()));
    }
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|only| only == part);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let bar = indicatif::ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let done = || bar.inc(1);
    let effort = Effort { seeds: args.seeds, draws: 0, threads, done: &done };
    let mut sections: Vec<(String, Vec<Bar>)> = Vec::new();
    let mut details = serde_json::Map::new();
    for set in SETS {
        let table = datasets::table(set)?;
        bar.set_message(set);
        if wanted("online") {
            let (online, bars) = streams::from_cold(&table, effort);
            details.insert(format!("{set}, online"), json!(online));
            sections.push((format!("{set}: from cold"), bars));
        }
        if wanted("drift") {
            let (rows, bars) = streams::changing(&table, effort);
            details.insert(format!("{set}, drift"), json!(rows));
            sections.push((format!("{set}: drift"), bars));
        }
        if wanted("budgets") && set == "paretobandit" {
            sections.push((format!("{set}: budgets"), paced::bars(&table, effort)));
        }
    }
    bar.set_message("known worlds");
    if wanted("worlds") {
        sections.push(("known worlds".to_owned(), worlds::bars(u64::from(args.seeds), threads)));
    }
    if wanted("watch") {
        sections.push(("the watch for silent falls".to_owned(), worlds::watching(u64::from(args.seeds))));
    }
    if wanted("speed") {
        sections.push(("speed: one thread, 10 models, 33 numbers, microseconds".to_owned(), speed()));
    }
    bar.finish_and_clear();
    if args.json {
        let bars: Vec<_> = sections
            .iter()
            .flat_map(|(part, bars)| {
                bars.iter().map(move |bar| json!({ "part": part, "bar": bar, "holds": bar.holds() }))
            })
            .collect();
        println!("{:#}", json!({ "seeds": args.seeds, "bars": bars, "details": details }));
    } else {
        sections.iter().for_each(|(part, bars)| println!("{part}\n{}\n", grid(bars)));
        println!("{}", verdict(&sections));
    }
    Ok(())
}

/// How many bars hold, and which do not.
fn verdict(sections: &[(String, Vec<Bar>)]) -> String {
    let held_to: Vec<&Bar> = sections.iter().flat_map(|(_, bars)| bars).filter(|bar| bar.holds().is_some()).collect();
    let missed: Vec<&str> =
        held_to.iter().filter(|bar| bar.holds() == Some(false)).map(|bar| bar.subject.as_str()).collect();
    let held = held_to.len() - missed.len();
    let missed: String = missed.iter().map(|subject| format!("\n  missed: {subject}")).collect();
    format!("{held} of {} bars hold{missed}", held_to.len())
}

fn grid(bars: &[Bar]) -> Grid {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    grid.set_header(["", "measured", "error", "bar", ""]);
    for bar in bars {
        let digits = bar.digits;
        let bound = bar.bound.map_or_else(String::new, |bound| {
            format!("{} {bound:.digits$}", if bar.at_most { "at most" } else { "at least" })
        });
        grid.add_row([
            bar.subject.clone(),
            format!("{:.digits$}", bar.figure),
            bar.error.map_or_else(String::new, |error| format!("± {error:.digits$}")),
            bound,
            match bar.holds() {
                Some(true) => "holds".to_owned(),
                Some(false) => "MISSED".to_owned(),
                None => String::new(),
            },
        ]);
    }
    for index in 1..=3 {
        if let Some(column) = grid.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    grid
}

const ARMS: usize = 10;

fn context(i: u64) -> Context {
    let mut x: Vec<f32> = (0..CONTEXT).map(|j| (Seed(i).uniform(&j.to_string()) - 0.5) as f32 * 0.6).collect();
    x[0] = 1.0;
    Context { schema: SchemaId::from("bench"), x, origin: Origin::Encoder }
}

/// How long a choice, a learning step and a publish take: the best of many blocks.
fn speed() -> Vec<Bar> {
    let models: Vec<ModelId> = (0..ARMS).map(|m| ModelId::from(format!("provider/model-{m}"))).collect();
    let mut state = State::new(Config::default(), SchemaId::from("bench"));
    let row = |state: &mut State, i: u64, context: &Context| {
        let arm = i as usize % ARMS;
        let y = f64::from(u8::from(Seed(i).uniform("y") < 0.6 + 0.02 * arm as f64));
        state.observe_quality(&QualityRow {
            model: &models[arm],
            context,
            y,
            weight: 1.0,
            decided_at: Timestamp(1_700_000_000_000_000),
            predicted: Estimate { mean: 0.5, sd: 0.4 },
        });
    };
    (0..200 * ARMS as u64).for_each(|i| row(&mut state, i, &context(i)));
    let snapshot = state.publish();
    let candidates: Vec<Candidate> = models
        .iter()
        .enumerate()
        .map(|(m, model)| Candidate {
            deployment: model.as_str().into(),
            model: model.clone(),
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
    let fixed = context(7);
    let ask = Ask {
        context: &fixed,
        prompt_tokens: 300,
        max_tokens: None,
        choices: 1,
        preferences: &Preferences::BEST,
        pace: Pace::default(),
    };
    let embedding = crate::embed::hashing::embed("how long does it take to choose a model?");
    let extractor = crate::features::Extractor::new();
    let choose = best(200, || {
        black_box(extractor.artefact().projection.project(black_box(&embedding)));
        black_box(snapshot.score(black_box(&ask), black_box(&candidates)));
    });
    let mut i = 0;
    let mut learning = state.clone();
    let learn = best(2_000, || {
        i += 1;
        row(&mut learning, i, black_box(&fixed));
    });
    let publish = best(50, || drop(black_box(black_box(&state).publish()))) / ARMS as f64;
    vec![
        Bar::at_most("projection, scores and exact propensities", choose, 15.0).digits(2),
        Bar::at_most("a learning step", learn, 1.0).digits(2),
        Bar::at_most("a publish, for each model", publish, 5.0).digits(2),
    ]
}

/// Microseconds a call: the best of forty blocks of so many.
fn best(calls: u32, mut work: impl FnMut()) -> f64 {
    let clock = SystemClock::new();
    let block = |_| {
        let start = clock.monotonic();
        (0..calls).for_each(|_| work());
        (clock.monotonic() - start).as_secs_f64() * 1e6 / f64::from(calls)
    };
    (0..40).map(block).fold(f64::INFINITY, f64::min)
}
