//! The model card: what a version is, what it was learned from, and what it is worth, for people.

use super::{Map, Trained, Tried};
use crate::eval::ope::words::{dollars, figure, or_unknown, signed};
use crate::eval::ope::{Evaluation, Judgement};
use crate::policy::State;

/// The card, in Markdown.
pub(super) fn markdown(trained: &Trained, state: &State) -> String {
    let Trained { events, vectors, cuts, span, tried, taken, evaluation, cannot_tell } = trained;
    let mut card = format!(
        "# A routing policy, learned from a ledger\n\n\
         It chooses among models by what it believes of the quality, the cost and the time of their answers. It holds \
         sums over contexts and scores: no prompt, no answer, no key.\n\n\
         - learned from events 1 to {events}, {} to {}; {} rows\n\
         - on the features `{}`\n\
         - settings were compared on events {} to {}, the figures below are of events {} to {events}, before which \
         the policy they are of was frozen\n\n## Settings\n\n\
         | feature map | half-life | spread | gain over the configured settings |\n|---|---|---|---|\n",
        span.0,
        span.1,
        state.rows(),
        state.schema(),
        cuts.0 + 1,
        cuts.1,
        cuts.1 + 1,
    );
    for (n, Tried { map, half_life, spread, gain }) in tried.iter().enumerate() {
        let half_life = if half_life == "0s" { "never forgets" } else { half_life };
        let spread = format!("{spread:?}").to_lowercase();
        let gain = match (n, gain) {
            (0, _) => "configured".to_owned(),
            (_, Some(gain)) => signed(*gain),
            (_, None) => "?".to_owned(),
        };
        let mark = if n == *taken { " **taken**" } else { "" };
        let map = match map {
            Map::Components => "components of this traffic",
            Map::Supervised => "supervised",
            Map::Choose | Map::Keep => "in force",
        };
        card += &format!("| {map} | {half_life} | {spread} | {gain}{mark} |\n");
    }
    card += &match vectors {
        Some(count) => format!("\nNew feature maps were made of {count} logged vectors before event {}.\n", cuts.0 + 1),
        None => {
            "\nNo feature map was made anew: the ledger has no vectors (`log_vectors` in `[gateway]`).\n".to_owned()
        }
    };
    card += "\nOther settings than the configured ones are taken only if the whole interval is above zero.\n\n";
    card += &match evaluation {
        Some(evaluation) => held_out(evaluation),
        None => format!("## Held out\n\nNothing can be said: {}.\n", cannot_tell.as_deref().unwrap_or("no reason")),
    };
    card + "\n## Not for\n\nOther features than those above, other reward channels than those it was folded with, and \
            models that were no candidates in the traffic it saw.\n"
}

fn held_out(evaluation: &Evaluation) -> String {
    let mut card = format!(
        "## Held out\n\n{} judged decisions; worth by {}; {}.\nServed: quality {}, cost {} a request.\n\n\
         | policy | quality (DR) | gain | cost a request | rounds worth | support | verdict |\n|---|---|---|---|---|---|---|\n",
        evaluation.rounds,
        evaluation.reward,
        evaluation.left_out,
        or_unknown(evaluation.served, figure),
        or_unknown(evaluation.served_cost, dollars),
    );
    for candidate in &evaluation.candidates {
        let robust = candidate.estimates.iter().find(|estimate| estimate.estimator == "DR");
        card += &format!(
            "| {} | {} | {} | {} | {:.0} | {:.3} | {} |\n",
            candidate.policy,
            or_unknown(robust.and_then(|robust| robust.value), figure),
            or_unknown(candidate.gain.as_ref().map(|gain| gain.normal), signed),
            or_unknown(candidate.cost, dollars),
            candidate.effective_sample_size,
            candidate.support,
            candidate.verdict,
        );
    }
    if let Some(trained) = evaluation.candidates.first() {
        card += &format!("\nThe gate says: {}.\n", trained.why.join("; "));
        card += &segments(trained);
    }
    card
}

fn segments(trained: &Judgement) -> String {
    let mut card = "\n| where | | decisions | served | gain |\n|---|---|---|---|---|\n".to_owned();
    for segment in &trained.segments {
        card += &format!(
            "| {} | {} | {} | {:.4} | {} |\n",
            segment.by,
            segment.name,
            segment.rounds,
            segment.served,
            signed(segment.gain)
        );
    }
    card
}
