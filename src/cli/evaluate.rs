//! `pointsman evaluate`: what other policies would have been worth on the logged traffic, and whether one may serve.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets};

use super::study::{Study, fresh, study};
use super::{Data, Failure};
use crate::base::ModelId;
use crate::config::Config;
use crate::eval::ope::words::{dollars, figure, or_unknown, signed, unpriced};
use crate::eval::ope::{Candidate, Evaluation, Figure, Gate, Judgement, Log, Options, Reward, evaluate, page};
use crate::learn::{Channels, Versions};
use crate::ledger::{Ledger as _, SqliteLedger};
use crate::policy::{Snapshot, State};

/// Say what other policies would have been worth on the logged traffic, with how much confidence, and whether the
/// log can tell at all.
///
/// The log is cut in two. On the first part a policy is learned anew, with the settings in force; it is also the
/// reward model. On the second part that policy, and each single model, is compared with what served. Works also
/// while the endpoint is serving.
///
/// With --gate the exit code is the verdict on the policy: 0 = promote, 3 = keep what serves, 4 = more events are
/// needed. It may be asked as often as one likes: looking early promotes nothing by mistake.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    how: How,
    /// The share of the events to learn from; the rest is for judging.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    train: f64,
    /// End with the verdict on the policy as exit code.
    #[arg(long)]
    gate: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a page with pictures.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How to judge; the same for every command that does.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Count only this channel's scores as worth, as they are, instead of all channels together.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The least weight of all channels together at which an answer counts as judged.
    #[arg(long, default_value_t = 0.3, value_name = "WEIGHT")]
    least_weight: f64,
    /// The least probability with which the log tried an arm (else the exploration share over the number of arms).
    #[arg(long, value_name = "PROBABILITY")]
    floor: Option<f64>,
    /// How many times what is spent now a policy may spend.
    #[arg(long, default_value_t = 1.1, value_name = "TIMES")]
    spend: f64,
    /// Judge the latest decisions only, at most so many.
    #[arg(long, default_value_t = 2_000_000, value_name = "DECISIONS")]
    pub(super) at_most: usize,
}

impl How {
    /// The options, for a log of decisions made with this exploration share.
    pub(super) fn options(&self, log: &Log, share: f64) -> Result<Options, Failure> {
        for (name, value) in [("--least-weight", Some(self.least_weight)), ("--floor", self.floor)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(Failure::Usage(format!("{name}: expected a number from 0 to 1, got {value}")));
            }
        }
        let most = log.decisions().map(|logged| logged.arms.len()).max().unwrap_or(1);
        let floor = self.floor.unwrap_or(share / most as f64).max(1e-6);
        let reward = match &self.channel {
            Some(name) => Reward::Channel(name.clone()),
            None => Reward::Combined { least_weight: self.least_weight },
        };
        Ok(Options { gate: Gate { floor, spend: self.spend, ..Gate::default() }, reward, ..Options::default() })
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !(0.0..1.0).contains(&args.train) || args.train == 0.0 {
        return Err(Failure::Usage(format!("--train: expected a share between 0 and 1, got {}", args.train)));
    }
    let config = args.data.config_with_deployments()?;
    let folder = args.data.folder()?;
    let ledger = SqliteLedger::open_to_read(&folder).map_err(Failure::failed)?;
    let nothing = || Failure::failed("the log cannot tell: no decision is in it");
    let learner = fresh(&ledger, &Versions::of_data(&folder), &config)?.ok_or_else(nothing)?;
    let cut = (ledger.last() as f64 * args.train) as u64;
    let Study { frozen, log, learner } = study(&ledger, learner, cut, args.how.at_most)?;
    let policy = frozen.publish();
    let evaluation = judge(&config, &log, &frozen, &policy, "learned anew", &args.how)?;
    if !args.json {
        println!("learned from events 1 to {cut}, judged on those up to {}", learner.offset());
    }
    say(&evaluation, args.json);
    if let Some(file) = &args.html {
        std::fs::write(file, page(&evaluation))
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    }
    if args.gate { verdict(&evaluation) } else { Ok(()) }
}

/// Judges this policy, and every single model, on a log. `frozen` was learned before it.
pub(super) fn judge(
    config: &Config,
    log: &Log,
    frozen: &State,
    policy: &Snapshot,
    name: &str,
    how: &How,
) -> Result<Evaluation, Failure> {
    let channels = Channels::with(&config.sections.learn.channels);
    let options = how.options(log, config.sections.policy.exploration_share)?;
    let (judged, left_out) = log.judged(&options.reward, &channels);
    if judged.is_empty() {
        return Err(Failure::failed(format!("the log cannot tell: {left_out}")));
    }
    let mut models: Vec<&ModelId> =
        judged.iter().flat_map(|(logged, _)| logged.arms.iter().map(|arm| &arm.model)).collect();
    models.sort_unstable();
    models.dedup();
    let mut candidates = vec![(name.to_owned(), Candidate::Policy(policy))];
    candidates.extend(models.iter().map(|model| (format!("always {model}"), Candidate::Always(model))));
    evaluate(log, &channels, frozen, &candidates, &config.catalog, &options).map_err(Failure::failed)
}

/// The first candidate's verdict, as a success or a failure with its own exit code.
pub(super) fn verdict(evaluation: &Evaluation) -> Result<(), Failure> {
    let Some(first) = evaluation.candidates.first() else { return Ok(()) };
    let why = format!("{}: {}", first.policy, first.why.join("; "));
    match first.verdict {
        "promote" => Ok(()),
        "more" => Err(Failure::More(why)),
        _ => Err(Failure::Keep(why)),
    }
}

pub(super) fn say(evaluation: &Evaluation, json: bool) {
    if json {
        println!("{}", serde_json::to_string_pretty(evaluation).unwrap_or_default());
        return;
    }
    let (served, cost) = (or_unknown(evaluation.served, figure), or_unknown(evaluation.served_cost, dollars));
    println!("{} judged decisions; worth by {}; {}", evaluation.rounds, evaluation.reward, evaluation.left_out);
    println!("served: quality {served}, cost {cost} a request");
    if let Some(sentence) = unpriced(&evaluation.unpriced) {
        println!("{sentence}");
    }
    println!("{}", estimates(evaluation));
    println!("{}", gains(evaluation));
    if let Some(first) = evaluation.candidates.first() {
        println!("{}: where", first.policy);
        println!("{}", segments(first));
        println!("{}: along the weight of cost", first.policy);
        println!("{}", grid(first));
    }
    for candidate in &evaluation.candidates {
        println!("{}: {}: {}", candidate.policy, candidate.verdict, candidate.why.join("; "));
    }
}

fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(head);
    table
}

fn estimates(evaluation: &Evaluation) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let names = evaluation.candidates.first().into_iter().flat_map(|candidate| &candidate.estimates);
    table.set_header(["policy".to_owned()].into_iter().chain(names.map(|estimate| estimate.estimator.clone())));
    let number = |value: Option<Figure>| value.map_or_else(|| "?".to_owned(), |value| format!("{:.4}", value.mean));
    for candidate in &evaluation.candidates {
        let values = candidate.estimates.iter().map(|estimate| number(estimate.value));
        table.add_row([candidate.policy.clone()].into_iter().chain(values));
    }
    table
}

fn gains(evaluation: &Evaluation) -> Table {
    let mut table =
        table(["policy", "gain (95 %)", "at all times", "cost a request", "rounds worth", "largest weight", "support"]);
    for candidate in &evaluation.candidates {
        let gain = candidate.gain.as_ref();
        let every = gain.and_then(|gain| gain.betting.or(gain.bernstein));
        table.add_row([
            candidate.policy.clone(),
            or_unknown(gain.map(|gain| gain.normal), signed),
            every.map_or_else(|| "?".to_owned(), |every| format!("{:+.3} to {:+.3}", every.lower, every.upper)),
            candidate.cost.map_or_else(|| "?".to_owned(), |cost| format!("${:.6}", cost.mean)),
            format!("{:.0}", candidate.effective_sample_size),
            format!("{:.1}", candidate.largest_weight),
            format!("{:.3}", candidate.support),
        ]);
    }
    table
}

fn segments(candidate: &Judgement) -> Table {
    let mut table = table(["by", "name", "rounds", "served", "gain (95 %)"]);
    for segment in &candidate.segments {
        let (name, rounds) = (segment.name.clone(), segment.rounds.to_string());
        let served = format!("{:.4}", segment.served);
        table.add_row([segment.by.to_owned(), name, rounds, served, signed(segment.gain)]);
    }
    table
}

pub(super) fn grid(candidate: &Judgement) -> Table {
    let mut table = table(["weight of cost", "quality (95 %)", "cost a request (95 %)", "support"]);
    for point in &candidate.grid {
        table.add_row([
            point.cost_weight.map_or_else(|| "the callers' own".to_owned(), |weight| weight.to_string()),
            figure(point.quality),
            or_unknown(point.cost, dollars),
            format!("{:.3}", point.support),
        ]);
    }
    table
}
