//! `pointsman replay`: the logged period over again, under another configuration, price list or policy.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::evaluate::How;
use super::study::{Study, fresh, study};
use super::{Data, Failure};
use crate::catalog::Catalog;
use crate::config::{Config, Environment};
use crate::eval::ope::log::Logged;
use crate::eval::ope::replay::{Period, Point, Under, period};
use crate::eval::ope::words::{dearer, dollars, figure, or_unknown as say, signed};
use crate::eval::ope::{Figure, Log};
use crate::gateway::DEFAULT_PRESET;
use crate::learn::{Channels, Versions};
use crate::ledger::{Ledger as _, SqliteLedger};
use crate::policy::Preferences;

/// Say what the logged period would have cost and been worth under this configuration: its providers, prices, presets
/// and policy settings.
///
/// The policy is learned, with the settings of the configuration, on the first part of the log (or is a version kept
/// before), and replayed on the rest. Meant for a check on changes of the configuration: the exit code is 0 if nothing
/// speaks against it, 3 if it is surely worse or dearer than allowed, 4 if the log cannot tell.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    how: How,
    /// The configuration the log was made under: where a caller got what its preset says, the new preset counts.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Replay this version of the policy, on what came after it, instead of one learned anew.
    #[arg(long, value_name = "VERSION")]
    policy: Option<String>,
    /// The share of the events to learn from.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    train: f64,
    /// By how much it may be worse, in points of quality.
    #[arg(long, default_value_t = 0.02, value_name = "POINTS")]
    may_lose: f64,
    /// By which share it may be dearer.
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    may_cost: f64,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print a summary in Markdown, as for a comment on a change.
    #[arg(long)]
    markdown: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !(0.0..1.0).contains(&args.train) {
        return Err(Failure::Usage(format!("--train: expected a share from 0 to below 1, got {}", args.train)));
    }
    let config = args.data.config_with_deployments()?;
    let folder = args.data.folder()?;
    let before = args.against.as_ref().map(|file| load(file)).transpose()?;
    let ledger = SqliteLedger::open_to_read(&folder).map_err(Failure::failed)?;
    let nothing = || Failure::failed("the log cannot tell: no decision is in it");
    let learner = fresh(&ledger, &Versions::of_data(&folder), &config)?.ok_or_else(nothing)?;
    let kept = args
        .policy
        .as_ref()
        .map(|name| {
            let versions = Versions::of_data(&folder);
            let version = versions.get(name).map_err(Failure::failed)?;
            let state = versions.state(&version).map_err(Failure::failed)?;
            Ok::<_, Failure>((version.offset, state))
        })
        .transpose()?;
    let cut = kept.as_ref().map_or((ledger.last() as f64 * args.train) as u64, |(offset, _)| *offset);
    let Study { frozen, log, .. } = study(&ledger, learner, cut, args.how.at_most)?;
    knows(&log, &config.catalog)?;
    let frozen = frozen.publish();
    let policy = kept.map_or_else(|| frozen.clone(), |(_, state)| state.publish());
    let options = args.how.options(&log, config.sections.policy.exploration_share)?;
    let wanted = |logged: &Logged| preferences(logged, before.as_ref(), &config);
    let under = Under { policy: &policy, frozen: &frozen, catalog: &config.catalog, preferences: &wanted };
    let channels = Channels::with(&config.sections.learn.channels);
    let replayed =
        period(&log, &channels, &options.reward, &under, &options.grid, options.gate.floor).map_err(Failure::failed)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&replayed).map_err(Failure::failed)?);
    } else {
        println!("{}", markdown(&replayed, !args.markdown));
    }
    verdict(&replayed, args, options.gate.support)
}

/// Whether the configuration lists anything that was a candidate in the log: a period in which nobody serves has no worth.
fn knows(log: &Log, catalog: &Catalog) -> Result<(), Failure> {
    let logged: BTreeSet<&str> =
        log.decisions().flat_map(|logged| logged.arms.iter().map(|arm| arm.deployment.as_str())).collect();
    if logged.is_empty() || logged.iter().any(|id| catalog.deployment(id).is_some()) {
        return Ok(());
    }
    let some = |ids: &mut dyn Iterator<Item = &str>| ids.take(5).collect::<Vec<_>>().join(", ");
    let listed = some(&mut catalog.deployments.iter().map(|deployment| deployment.id.as_str()));
    Err(Failure::Usage(format!(
        "nothing could be replayed: the log has {}, and the configuration lists {}; --config names the one to replay",
        some(&mut logged.into_iter()),
        if listed.is_empty() { "no deployment" } else { &listed }
    )))
}

fn load(file: &std::path::Path) -> Result<Config, Failure> {
    Config::load_offline(Some(file), &Environment::of_process())
        .map_err(|problems| Failure::Usage(problems.to_string()))
}

/// What the caller would have wanted: what was logged, unless that came from a preset that says something else now.
fn preferences(logged: &Logged, before: Option<&Config>, now: &Config) -> Preferences {
    let preset = logged.asked.strip_prefix("auto:").unwrap_or(DEFAULT_PRESET);
    let old = before.and_then(|before| before.presets.get(preset));
    match (old, now.presets.get(preset)) {
        (Some(old), Some(new)) if *old == logged.preferences => *new,
        _ => logged.preferences,
    }
}

/// What speaks against it.
fn verdict(period: &Period, args: &Args, needed: f64) -> Result<(), Failure> {
    let Some(first) = period.frontier.first() else { return Ok(()) };
    let upper = |figure: Option<Figure>| figure.and_then(|figure| figure.interval).map(|interval| interval.upper);
    let lower = |figure: Option<Figure>| figure.and_then(|figure| figure.interval).map(|interval| interval.lower);
    if let Some(upper) = upper(period.gain).filter(|upper| *upper < -args.may_lose && first.support >= needed) {
        return Err(Failure::Keep(format!(
            "it is worse: by {:.4} points at least, allowed are {:.4}",
            -upper, args.may_lose
        )));
    }
    if let (Some(more), Some(was)) = (lower(period.dearer), period.served_cost)
        && more > args.may_cost * was.mean
    {
        return Err(Failure::Keep(format!(
            "it is dearer: by {:.1} % at least, allowed are {:.1} %",
            more / was.mean * 100.0,
            args.may_cost * 100.0
        )));
    }
    if first.support < needed {
        return Err(Failure::More(format!(
            "the log cannot tell: it tries only {:.1} % of what would be done, {:.0} % is needed",
            first.support * 100.0,
            needed * 100.0
        )));
    }
    if period.gain.is_none() || period.dearer.is_none() {
        return Err(Failure::More("the log cannot tell: no answer was judged, or no cost is known".to_owned()));
    }
    if !period.untried.is_empty() {
        return Err(Failure::More(format!("the log cannot tell of {}", period.untried.join(", "))));
    }
    Ok(())
}

/// A summary; `plain` leaves out what only Markdown shows well.
fn markdown(period: &Period, plain: bool) -> String {
    let mut text = if plain { String::new() } else { "## The logged period, replayed\n\n".to_owned() };
    if let Some((first, last)) = period.span {
        text += &format!("{first} to {last}: ");
    }
    text += &format!("{} decisions of chance, {} of them judged\n\n", period.answered, period.judged);
    let first = period.frontier.first();
    text += "| | quality (95 %) | cost a request (95 %) |\n|---|---|---|\n";
    text += &format!("| served | {} | {} |\n", say(period.served_quality, figure), say(period.served_cost, dollars));
    let (quality, cost) = (first.and_then(|point| point.quality), first.and_then(|point| point.cost));
    text += &format!("| replayed | {} | {} |\n", say(quality, figure), say(cost, dollars));
    text += &format!("| difference, paired | {} | {} |\n\n", say(period.gain, signed), say(period.dearer, dearer));
    text += "| model | served | would serve |\n|---|---|---|\n";
    for part in &period.parts {
        text += &format!("| {} | {:.1} % | {:.1} % |\n", part.model, part.served * 100.0, part.would * 100.0);
    }
    text += "\n| weight of cost | quality (95 %) | cost a request (95 %) | support |\n|---|---|---|---|\n";
    for Point { cost_weight, quality, cost, support } in &period.frontier {
        let weight = cost_weight.map_or_else(|| "as the callers wanted".to_owned(), |weight| weight.to_string());
        text += &format!("| {weight} | {} | {} | {support:.3} |\n", say(*quality, figure), say(*cost, dollars));
    }
    if !period.untried.is_empty() {
        text += &format!("\nThe log cannot tell of {}: never a candidate in it.\n", period.untried.join(", "));
    }
    if period.unserved > 0.0 {
        text +=
            &format!("\n{:.1} % of the decisions had none of these models as candidate.\n", period.unserved * 100.0);
    }
    text
}
