//! Before the choice: who may serve at all, and why the others may not. After it: who is tried next.

use std::collections::BTreeMap;

use super::{Candidate, Exclusion, Preferences, Scored};
use crate::base::{DeploymentId, ModelId, Seed};
use crate::catalog::{Availability, Catalog, Deployment};
use crate::features::Needs;

/// What the caller asked for by `model`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Anything that serves `auto`.
    Auto,
    /// One of these models: a model, an alias or a pool, by name.
    Models(Vec<ModelId>),
    /// This deployment and no other.
    Deployment(DeploymentId),
}

/// The models that may serve this request, each with the deployment to call first, in the catalogue's order;
/// and why every other deployment may not.
///
/// Within a model two deployments are drawn by their weights and the one with fewer requests in flight for
/// its weight goes first: shares follow the weights while all is calm, and load evens out when it is not.
#[must_use]
pub fn eligible(
    catalog: &Catalog,
    needs: &Needs,
    asked: &Asked,
    availability: &Availability,
    preferences: &Preferences,
    seed: Seed,
) -> (Vec<Candidate>, BTreeMap<DeploymentId, Exclusion>) {
    let mut excluded = BTreeMap::new();
    let mut by_model: Vec<(&ModelId, Vec<&Deployment>)> = Vec::new();
    for deployment in &catalog.deployments {
        if let Some(reason) = exclusion(deployment, needs, asked, availability, preferences) {
            excluded.insert(deployment.id.clone(), reason);
        } else if let Some((_, same)) = by_model.iter_mut().find(|(model, _)| **model == deployment.model) {
            same.push(deployment);
        } else {
            by_model.push((&deployment.model, vec![deployment]));
        }
    }
    let candidates = by_model
        .into_iter()
        .map(|(model, mut deployments)| {
            order(&mut deployments, availability, seed);
            let first = deployments[0];
            Candidate {
                model: model.clone(),
                deployment: first.id.clone(),
                price: first.price.clone(),
                in_flight: availability.of(&first.id).in_flight,
                alternates: deployments[1..].iter().map(|deployment| deployment.id.clone()).collect(),
            }
        })
        .collect();
    (candidates, excluded)
}

fn exclusion(
    deployment: &Deployment,
    needs: &Needs,
    asked: &Asked,
    availability: &Availability,
    preferences: &Preferences,
) -> Option<Exclusion> {
    let named = match asked {
        Asked::Auto if !deployment.auto => return Some(Exclusion::OnlyWhenNamed),
        Asked::Auto => true,
        Asked::Models(models) => models.contains(&deployment.model),
        Asked::Deployment(id) => *id == deployment.id,
    };
    if !named {
        return Some(Exclusion::NotAsked);
    }
    if let Some(&lacking) = needs.capabilities.iter().find(|&&capability| !deployment.can(capability)) {
        return Some(Exclusion::Lacks(lacking));
    }
    let answer = needs.max_tokens.unwrap_or(0);
    if deployment.context_window.is_some_and(|window| needs.prompt_tokens.saturating_add(answer) > window) {
        return Some(Exclusion::ContextWindow);
    }
    if deployment.max_output.is_some_and(|most| answer > most) {
        return Some(Exclusion::MaxOutput);
    }
    if availability.of(&deployment.id).closed_for.is_some() {
        return Some(Exclusion::Unavailable);
    }
    if preferences.max_cost.is_some() && deployment.price.is_none() {
        return Some(Exclusion::UnknownPrice);
    }
    None
}

/// Puts the deployment to call first in front; the rest least busy for their weight first.
fn order(deployments: &mut [&Deployment], availability: &Availability, seed: Seed) {
    if deployments.len() < 2 {
        return;
    }
    let weight = |deployment: &Deployment| if deployment.weight > 0.0 { deployment.weight } else { 0.0 };
    let load = |deployment: &Deployment| {
        f64::from(availability.of(&deployment.id).in_flight) / weight(deployment).max(f64::MIN_POSITIVE)
    };
    let weights: Vec<f64> = deployments.iter().map(|deployment| weight(deployment)).collect();
    let one = super::draw(&weights, seed.uniform("deployment"));
    let other = super::draw(&weights, seed.uniform("deployment, second look"));
    let first = if load(deployments[other]) < load(deployments[one]) { other } else { one };
    deployments.swap(0, first);
    deployments[1..].sort_by(|a, b| load(a).total_cmp(&load(b)));
}

/// Whom to call, in order: the chosen candidate, the other deployments of its model, then the other models that
/// the caller's constraints allow by falling utility, each followed by its own other deployments.
#[must_use]
pub fn plan(scored: &Scored, chosen: usize, candidates: &[Candidate]) -> Vec<DeploymentId> {
    let mut order: Vec<usize> =
        (0..candidates.len()).filter(|&arm| arm != chosen && scored.excluded[arm].is_none()).collect();
    order.sort_by(|&a, &b| scored.predictions[b].utility.total_cmp(&scored.predictions[a].utility));
    std::iter::once(chosen)
        .chain(order)
        .flat_map(|arm| std::iter::once(&candidates[arm].deployment).chain(&candidates[arm].alternates))
        .cloned()
        .collect()
}
