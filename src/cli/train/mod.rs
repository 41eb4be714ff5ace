//! `pointsman train`: from the ledger to a policy version, with its figures on traffic it never saw.

mod card;
mod fleet;
mod maps;

use indicatif::HumanCount;
use serde::Serialize;

use self::fleet::Fleet;
use super::evaluate::{How, say};
use super::{Data, Failure};
use crate::base::Timestamp;
use crate::eval::ope::{Evaluation, Figure};
use crate::learn::{Maker, Version, Versions};
use crate::ledger::{Offset, SqliteLedger};
use crate::policy::Spread;

/// Learn a policy anew from the whole ledger, with the settings that serve its traffic best, and keep it as a version.
///
/// One pass through the ledger, in three parts. On the first, policies are learned with several half-lives and both
/// spreads of the belief; on the second they are compared by what they would have been worth, and other settings than
/// the configured ones are taken only if they are surely better; on the third, which none of this saw, the figures of
/// the model card are measured. The version itself has learned everything, up to the last event: it can go on serving
/// from there.
///
/// Quality, answer lengths and times are learned by the same fold as online. Where the ledger has the prompts' vectors
/// (`log_vectors` of `[gateway]`), the feature map is refitted too, on the first part: the principal components of this
/// traffic, and a map that shows first what tells the models' answers apart. Each is one more candidate on the second
/// part; a version on a new map brings it along, and promoting it puts both in force together.
///
/// It changes nothing that serves: `pointsman policy promote` does. The same ledger and settings give the same bytes.
/// Works also while the endpoint is serving.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    how: How,
    /// The share of the events, the latest, that the figures are measured on.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    heldout: f64,
    /// The share of the events before those that settings are chosen on; 0 = keep the configured settings.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    choose: f64,
    /// Take this feature map whatever the comparison says: the one in force, or one refitted from logged vectors.
    #[arg(long, value_enum, default_value_t = Map::Choose)]
    map: Map,
    /// What is worth saying of it.
    #[arg(long, default_value = "")]
    note: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Which feature map the version is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Map {
    /// The one in force, unless another is surely better.
    Choose,
    /// The one in force.
    Keep,
    /// Principal components of the logged vectors.
    Components,
    /// What tells the models apart first, components of the rest after it.
    Supervised,
}

/// Settings, and what they gain.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    /// The feature map.
    map: Map,
    /// After which time what was learned weighs half.
    half_life: String,
    /// How wide a belief is taken to be.
    spread: Spread,
    /// The gain over the configured settings on the part for choosing; `None` = nothing there could be weighed.
    gain: Option<Figure>,
}

/// What a training run has to say of itself; the model card is written from it.
#[derive(Debug, Serialize)]
struct Trained {
    /// Events learned from.
    events: Offset,
    /// Vectors that feature maps were made from; `None` = the ledger holds none.
    vectors: Option<usize>,
    /// Up to which event settings were compared from, and up to which figures are measured from.
    cuts: (Offset, Offset),
    /// The time of the first and of the last event.
    span: (Timestamp, Timestamp),
    /// The configured settings first.
    tried: Vec<Tried>,
    /// Index into `tried`.
    taken: usize,
    /// The figures; `None` = the log cannot tell ...
    evaluation: Option<Evaluation>,
    /// ... for this reason.
    cannot_tell: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    for (name, share) in [("--heldout", args.heldout), ("--choose", args.choose)] {
        if !(0.0..0.9).contains(&share) || args.heldout + args.choose > 0.9 {
            return Err(Failure::Usage(format!("{name}: expected shares from 0 that leave a tenth to learn from")));
        }
    }
    let config = args.data.config()?;
    let folder = args.data.folder()?;
    let ledger = SqliteLedger::open_to_read(&folder).map_err(Failure::failed)?;
    let versions = Versions::of_data(&folder);
    let fleet = Fleet::read(&ledger, &versions, &config, args)?;
    let (trained, learner) = fleet.settle(&config, args)?;
    let files = [
        ("card.md", card::markdown(&trained, learner.state()).into_bytes()),
        ("card.json", serde_json::to_vec_pretty(&trained).map_err(Failure::failed)?),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let version = versions.put_with(&learner, Maker::Trained, &args.note, &files).map_err(Failure::failed)?;
    tell(&version, &trained, &versions, args.json);
    Ok(())
}

fn tell(version: &Version, trained: &Trained, versions: &Versions, json: bool) {
    if json {
        println!("{:#}", serde_json::json!({ "version": version, "trained": trained }));
        return;
    }
    if let Some(evaluation) = &trained.evaluation {
        say(evaluation, false);
    }
    let card = versions.file(&version.name, "card.md");
    let (name, learned) = (&version.name, HumanCount(version.offset));
    let verdict = trained.evaluation.as_ref().and_then(|evaluation| evaluation.candidates.first());
    let next = match verdict.map(|judged| judged.verdict) {
        Some("promote") => {
            format!("it is better; a part of the traffic first, then all: pointsman policy promote {name}")
        }
        Some("keep") => {
            format!("the gate keeps what serves; to watch it decide nothing: pointsman policy promote {name} --shadow")
        }
        _ => format!("the log leaves it open; a part of the traffic tells: pointsman policy promote {name}"),
    };
    println!("\n{name} has learned {learned} events; its card: {}\n{next}", card.display());
}
