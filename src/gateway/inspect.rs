//! Looking at decisions without making one count: the dry run before, the explanation after.

use std::collections::BTreeMap;

use serde::Serialize;

use super::asked;
use super::choice::{Bounds, choose};
use super::wishes::Wishes;
use super::{Gateway, Subject};
use crate::admission::Caller;
use crate::base::{DecisionId, DeploymentId, Error, ModelId, Seed};
use crate::chat::ChatRequest;
use crate::features::Features;
use crate::ledger::{ArmRecord, Completed, Decided, Event, Feedback, GuardRecord, Mode};
use crate::policy::pacer::Pace;
use crate::policy::{Exclusion, Preferences};

/// What would be done with a request.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// The deployment that this draw chose; another draw may choose another.
    pub deployment: DeploymentId,
    /// Its model.
    pub model: ModelId,
    /// How it was chosen.
    pub mode: Mode,
    /// The probability it was drawn with.
    pub propensity: f64,
    /// The deployment of greatest expected utility.
    pub greedy: DeploymentId,
    /// Why, in a sentence.
    pub why: String,
    /// Whom to call, in order.
    pub plan: Vec<DeploymentId>,
    /// Every candidate, with its probability and what is believed of it.
    pub candidates: Vec<ArmRecord>,
    /// Every other deployment, and why it is no candidate.
    pub excluded: BTreeMap<DeploymentId, Exclusion>,
    /// What the caller wants of the choice.
    pub preferences: Preferences,
    /// What the budgets ask of the choice; `None` = there are none for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// What the rules of exploring say; `None` = there are none for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardRecord>,
    /// What the request is.
    pub features: Features,
    /// The policy and its state.
    pub policy: String,
}

/// A past decision, from the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// Its name.
    pub id: DecisionId,
    /// Why, in a sentence; `None` if nothing was chosen (an answer from memory, a refusal).
    pub why: Option<String>,
    /// What was weighed.
    pub decided: Option<Decided>,
    /// What came of it; `None` while it is under way.
    pub completed: Option<Completed>,
    /// What was said of it.
    pub feedback: Vec<Feedback>,
}

impl Gateway {
    /// Chooses as [`Gateway::handle`] would, calls nobody and writes nothing down.
    ///
    /// # Errors
    /// Those of the choice.
    pub async fn dry_run(&self, caller: &Caller, request: &ChatRequest, wishes: &Wishes) -> Result<DryRun, Error> {
        let live = self.live();
        let wanted = asked::understand(&request.view.model, wishes, caller, &live)?;
        let embedding = self.embed(request.prompt()).await;
        let seed = Seed::of_decision(self.seed, self.new_id());
        let deciding = live.deciding(seed);
        let features = deciding.features.extract(request, embedding.as_ref());
        let shadow = deciding.shadow_sees(&features, request, embedding.as_ref());
        let purses = live.budgets.of(&caller.tenant);
        let (tenant, now) = (&caller.tenant, self.clock.now());
        let warmth = &self.recorder.warmth;
        let conversation = warmth.conversation(tenant, wishes.conversation.as_deref(), &request.view, &features);
        let warm = (warmth, conversation);
        let bounds = Bounds { tenant, now, purses: &purses, guards: &live.guards, warm, dry: true };
        let choice = choose(&wanted, &features, &deciding, shadow, &self.dispatcher.availability(), seed, &bounds)?;
        let arm = choice.arm().clone();
        Ok(DryRun {
            why: in_words(&choice.arms, choice.chosen, choice.greedy, choice.mode),
            deployment: arm.deployment,
            model: arm.model,
            mode: choice.mode,
            propensity: arm.propensity,
            greedy: choice.arms[choice.greedy].deployment.clone(),
            plan: choice.plan.steps,
            candidates: choice.arms,
            excluded: choice.excluded,
            preferences: choice.preferences,
            pace: (!purses.is_empty()).then_some(choice.pace),
            guard: choice.guard,
            features,
            policy: choice.policy,
        })
    }

    /// What happened to a request.
    ///
    /// # Errors
    /// [`crate::base::Kind::NotFound`] if the caller's tenant has no such decision.
    pub async fn explain(&self, caller: &Caller, id: DecisionId) -> Result<Explained, Error> {
        let (id, entries) = self.find(caller, &Subject::Decision(id)).await?;
        let mut explained = Explained { id, why: None, decided: None, completed: None, feedback: Vec::new() };
        for entry in entries {
            match entry.event {
                Event::Decided(event) => {
                    explained.why = Some(in_words(&event.arms, event.chosen, event.greedy, event.mode));
                    explained.decided = Some(*event);
                }
                Event::Completed(event) => explained.completed = Some(*event),
                Event::Feedback(event) => explained.feedback.push(*event),
            }
        }
        Ok(explained)
    }
}

/// The choice in a sentence.
fn in_words(arms: &[ArmRecord], chosen: usize, greedy: usize, mode: Mode) -> String {
    let Some(arm) = arms.get(chosen) else { return "there was no candidate".to_owned() };
    let name = &arm.deployment;
    match mode {
        Mode::Pinned => format!("`{name}` was asked for by name"),
        Mode::Held => format!("the conversation stays with `{name}`, whose provider has it in its prompt cache"),
        Mode::Single => format!("`{name}` was the only candidate"),
        Mode::Guarded => format!("`{name}` is the baseline, and nothing else surely keeps the promise made of it"),
        Mode::Policy => {
            let believed = &arm.prediction;
            let cost = believed.cost.map_or("unknown".to_owned(), |cost| format!("${:.6}", cost.mean));
            let belief = format!(
                "expected quality {:.3} (sd {:.3}), cost {cost}, utility {:.3}",
                believed.quality.mean, believed.quality.sd, believed.utility
            );
            let odds = format!("drawn with probability {:.3} among {}", arm.propensity, arms.len());
            match arms.get(greedy) {
                Some(best) if greedy != chosen => {
                    format!(
                        "`{name}` was {odds} to learn about it; the best by expectation was `{}`; {belief}",
                        best.deployment
                    )
                }
                _ => format!("`{name}` is the best by expectation; {odds}; {belief}"),
            }
        }
    }
}
