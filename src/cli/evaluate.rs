//! `pointsman evaluate`: what other policies would have been worth on the logged traffic.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{Data, Failure};
use crate::base::{ModelId, Timestamp};
use crate::catalog::Catalog;
use crate::config::{Config, Environment};
use crate::eval::ope::bounds::{Interval, normal_interval};
use crate::eval::ope::gate::lift;
use crate::eval::ope::log::{replay, weigh};
use crate::eval::ope::{Estimator, Gate, LeftOut, Log, Logged, Round, Verdict, effective_sample_size, largest_weight};
use crate::learn::{Channels, Learner, fold, judged};
use crate::ledger::{Decided, Event, Ledger, LedgerError, SqliteLedger};
use crate::policy::Snapshot;

/// Say what other policies would have been worth on the logged traffic, with how much confidence, and whether the
/// log can tell at all.
///
/// The log is cut in two by time. On the first part a policy is learned anew, with the settings in force; it is
/// also the reward model. On the second part that policy, and each single model, is compared with what served.
/// Works also while the endpoint is serving.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// The share of the decisions to learn from; the rest is for judging.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    train: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The estimators of the report.
const ESTIMATORS: [Estimator; 7] = [
    Estimator::Ips,
    Estimator::Snips,
    Estimator::Direct,
    Estimator::Dr,
    Estimator::SelfNormalisedDr,
    Estimator::Switch(10.0),
    Estimator::Shrunk(20.0),
];

/// A candidate, judged.
struct Line {
    name: String,
    estimates: Vec<(String, Option<f64>)>,
    lift: Option<(f64, Interval)>,
    effective: f64,
    largest: f64,
    support: f64,
    verdict: Verdict,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !(0.0..1.0).contains(&args.train) || args.train == 0.0 {
        return Err(Failure::Usage(format!("--train: expected a share between 0 and 1, got {}", args.train)));
    }
    let config = Config::load(args.data.source.file().as_deref(), &Environment::of_process())
        .map_err(|problems| Failure::Usage(problems.to_string()))?;
    let ledger = SqliteLedger::open_to_read(&args.data.folder()?).map_err(Failure::failed)?;
    let (log, schema) = read(&ledger, &config).map_err(Failure::failed)?;
    let Some(schema) = schema else {
        return Err(Failure::failed(format!("the log cannot tell: {}", left_out(&log.left_out))));
    };
    let cut = log.logged[((log.logged.len() as f64 * args.train) as usize).min(log.logged.len() - 1)].decided.at;
    let mut learner = Learner::new(config.sections.policy.clone(), schema, &config.sections.learn);
    learn_before(&mut learner, &ledger, cut).map_err(Failure::failed)?;
    let (_, rest) = log.split_at(cut);
    let policy = learner.publish();
    let lines = judge(rest, &policy, &config.catalog, config.sections.policy.exploration_share)?;
    let served = rest.iter().map(|logged| logged.reward).sum::<f64>() / rest.len() as f64;
    if args.json {
        println!("{:#}", report(&lines, served, rest.len(), &log.left_out));
    } else {
        println!("{} judged decisions, served quality {served:.4}; {}", rest.len(), left_out(&log.left_out));
        println!("{}", table(&lines));
        for line in &lines {
            println!("{}: {}", line.name, words(&line.verdict));
        }
    }
    Ok(())
}

/// Every decision that can be weighed, and the feature map of the latest of them.
fn read(ledger: &dyn Ledger, config: &Config) -> Result<(Log, Option<crate::base::SchemaId>), LedgerError> {
    let channels = Channels::with(&config.sections.learn.channels);
    let mut log = Log::default();
    let mut after = 0;
    loop {
        match ledger.scan(after, 1024) {
            Ok(entries) if entries.is_empty() => break,
            Ok(entries) => {
                for entry in entries {
                    after = entry.offset;
                    if let Event::Decided(decided) = entry.event {
                        let judged = judged(ledger, decided.id, &channels)?;
                        log.add(decided, judged);
                    }
                }
            }
            Err(LedgerError::Corrupt { offset, .. }) => after = offset,
            Err(error) => return Err(error),
        }
    }
    // A clock that was set back must not mix what came before with what came after.
    log.logged.sort_by_key(|logged| logged.decided.at);
    let schema = log.logged.last().map(|logged| logged.decided.features.context.schema.clone());
    Ok((log, schema))
}

/// Folds what the ledger says up to this moment.
fn learn_before(learner: &mut Learner, ledger: &dyn Ledger, cut: Timestamp) -> Result<(), LedgerError> {
    let mut after = 0;
    loop {
        match ledger.scan(after, 1024) {
            Ok(entries) if entries.is_empty() => return Ok(()),
            Ok(entries) => {
                for entry in &entries {
                    after = entry.offset;
                    if entry.at < cut {
                        fold(learner, entry, ledger)?;
                    }
                }
            }
            Err(LedgerError::Corrupt { offset, .. }) => after = offset,
            Err(error) => return Err(error),
        }
    }
}

fn judge(rest: &[Logged], policy: &Snapshot, catalog: &Catalog, share: f64) -> Result<Vec<Line>, Failure> {
    let mut models: Vec<&ModelId> = rest.iter().flat_map(|logged| &logged.decided.arms).map(|arm| &arm.model).collect();
    models.sort_unstable();
    models.dedup();
    let most = rest.iter().map(|logged| logged.decided.arms.len()).max().unwrap_or(1);
    let gate = Gate { alpha: 0.05 / (models.len() + 1) as f64, floor: share / most as f64, ..Gate::default() };
    let predicted = |decided: &Decided| replay(policy, decided, catalog).1;
    let line = |name: String, target: &dyn Fn(&Decided) -> Vec<f64>| -> Result<Line, Failure> {
        let (rounds, support) = weigh(rest, gate.floor, target, predicted).map_err(Failure::failed)?;
        Ok(judged_line(name, &rounds, support.share().unwrap_or(0.0), &gate, rest))
    };
    let mut lines = vec![line("learned anew".to_owned(), &|decided| replay(policy, decided, catalog).0)?];
    for model in models {
        // Where the model was no candidate, what served stands in.
        let always = |decided: &Decided| -> Vec<f64> {
            let alone: Vec<f64> = decided.arms.iter().map(|arm| f64::from(u8::from(arm.model == *model))).collect();
            if alone.iter().sum::<f64>() > 0.0 {
                alone
            } else {
                decided.arms.iter().map(|arm| arm.propensity).collect()
            }
        };
        lines.push(line(format!("always {model}"), &always)?);
    }
    Ok(lines)
}

fn judged_line(name: String, rounds: &[Round], support: f64, gate: &Gate, rest: &[Logged]) -> Line {
    let intents: Vec<&str> = rest
        .iter()
        .map(|logged| logged.decided.features.intent.as_ref().map_or("no intent", |intent| intent.name.as_str()))
        .collect();
    let lifts: Vec<f64> = rounds.iter().map(lift).collect();
    let mean = lifts.iter().sum::<f64>() / lifts.len() as f64;
    Line {
        name,
        estimates: ESTIMATORS.iter().map(|estimator| (estimator.name(), estimator.estimate(rounds))).collect(),
        lift: normal_interval(&lifts, 0.05).map(|interval| (mean, interval)),
        effective: effective_sample_size(rounds),
        largest: largest_weight(rounds),
        support,
        verdict: gate.judge(rounds, support, &intents),
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Promote { after } => format!("promote: certain after {after} events"),
        Verdict::Keep(reasons) => {
            format!("keep what serves: {}", reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Verdict::More { events: Some(events) } => format!("not certain: about {events} more events are needed"),
        Verdict::More { events: None } => "keep what serves: nothing points to a gain".to_owned(),
    }
}

fn left_out(left_out: &LeftOut) -> String {
    let LeftOut { not_explored, not_judged, fallback } = left_out;
    format!(
        "left out: {not_judged} that nobody judged, {not_explored} where nothing was left to chance, {fallback} that a fallback answered"
    )
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let names = ESTIMATORS.iter().map(Estimator::name);
    let head = ["policy".to_owned()].into_iter().chain(names);
    table.set_header(head.chain(["lift (95 %)", "rounds worth", "largest weight", "support"].map(str::to_owned)));
    let number = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.4}"));
    for line in lines {
        let estimates = line.estimates.iter().map(|(_, value)| number(*value));
        let lift = line.lift.map_or_else(
            || "?".to_owned(),
            |(mean, Interval { lower, upper })| format!("{mean:+.4} ({lower:+.4} to {upper:+.4})"),
        );
        let tail =
            [lift, format!("{:.0}", line.effective), format!("{:.1}", line.largest), format!("{:.3}", line.support)];
        table.add_row([line.name.clone()].into_iter().chain(estimates).chain(tail));
    }
    table
}

fn report(lines: &[Line], served: f64, rounds: usize, left_out: &LeftOut) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let estimates: serde_json::Map<String, Value> =
                line.estimates.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({
                "policy": line.name,
                "estimates": estimates,
                "lift": line.lift.map(|(mean, interval)| json!({ "mean": mean, "lower": interval.lower, "upper": interval.upper })),
                "effective_sample_size": line.effective,
                "largest_weight": line.largest,
                "support": line.support,
                "verdict": match &line.verdict {
                    Verdict::Promote { .. } => "promote",
                    Verdict::Keep(_) | Verdict::More { events: None } => "keep",
                    Verdict::More { .. } => "more",
                },
                "why": words(&line.verdict),
            })
        })
        .collect();
    json!({
        "rounds": rounds,
        "served_quality": served,
        "left_out": {
            "not_judged": left_out.not_judged,
            "not_explored": left_out.not_explored,
            "fallback": left_out.fallback,
        },
        "policies": lines,
    })
}
