//! Before the choice: who may serve at all, and why the others may not. After it: who is tried next.

use std::collections::BTreeMap;

use super::{Candidate, Exclusion, Preferences, PromptCache, Scored};
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
                prompt_cache: PromptCache::default(),
                like: first.like.clone(),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;
    use std::time::Duration;

    use super::*;
    use crate::catalog::{Capability, Health, Price};
    use crate::policy::{Estimate, Prediction};

    fn deployment(id: &str, model: &str, weight: f64) -> Deployment {
        Deployment {
            id: id.into(),
            model: model.into(),
            provider: "p".to_owned(),
            upstream_model: model.to_owned(),
            base_url: "http://localhost/v1".to_owned(),
            key: None,
            headers: Map::new(),
            price: Some(Price { input: 1.0, output: 2.0, cached_input: None, cache_write: None, reasoning: None }),
            capabilities: vec![Capability::Tools],
            context_window: Some(1_000),
            max_output: Some(500),
            weight,
            tags: Vec::new(),
            auto: true,
            like: None,
        }
    }

    fn catalog(deployments: Vec<Deployment>) -> Catalog {
        Catalog::new(deployments, Map::new(), None)
    }

    fn needs() -> Needs {
        Needs { capabilities: vec![Capability::Tools], prompt_tokens: 300, max_tokens: Some(400), ..Needs::default() }
    }

    fn busy(of: &[(&str, u32)]) -> Availability {
        let health = of.iter().map(|&(id, in_flight)| (id.into(), Health { in_flight, closed_for: None, cause: None }));
        Availability { health: health.collect() }
    }

    #[test]
    fn every_exclusion_is_named() {
        let mut catalog = catalog(vec![
            deployment("ok", "a", 1.0),
            Deployment { capabilities: vec![], ..deployment("no tools", "b", 1.0) },
            Deployment { context_window: Some(699), ..deployment("short", "b", 1.0) },
            Deployment { max_output: Some(399), ..deployment("terse", "b", 1.0) },
            Deployment { auto: false, ..deployment("premium", "c", 1.0) },
            Deployment { price: None, ..deployment("priceless", "d", 1.0) },
            deployment("down", "e", 1.0),
        ]);
        let down = Health { in_flight: 0, closed_for: Some(Duration::from_secs(1)), cause: None };
        let availability = Availability { health: Map::from([("down".into(), down)]) };
        let limited = Preferences { max_cost: Some(crate::base::Usd(1.0)), ..Preferences::BALANCED };
        let all =
            |catalog: &Catalog, asked: &Asked| eligible(catalog, &needs(), asked, &availability, &limited, Seed(1));
        let (candidates, excluded) = all(&catalog, &Asked::Auto);
        assert_eq!(candidates.iter().map(|c| c.deployment.as_str()).collect::<Vec<_>>(), ["ok"]);
        let expected = [
            ("no tools", Exclusion::Lacks(Capability::Tools)),
            ("short", Exclusion::ContextWindow),
            ("terse", Exclusion::MaxOutput),
            ("premium", Exclusion::OnlyWhenNamed),
            ("priceless", Exclusion::UnknownPrice),
            ("down", Exclusion::Unavailable),
        ];
        assert_eq!(excluded, expected.map(|(id, reason)| (id.into(), reason)).into());
        let (named, excluded) = all(&catalog, &Asked::Models(vec!["c".into()]));
        assert_eq!(named[0].deployment.as_str(), "premium");
        assert_eq!(excluded[&DeploymentId::from("ok")], Exclusion::NotAsked);
        catalog.deployments[0].model = "c".into();
        let (pinned, _) = all(&catalog, &Asked::Deployment("ok".into()));
        assert_eq!((pinned.len(), pinned[0].alternates.len()), (1, 0));
    }

    #[test]
    fn in_calm_shares_follow_the_weights_and_under_load_the_idle_one_goes_first() {
        let catalog = catalog(vec![deployment("one", "a", 3.0), deployment("two", "a", 1.0)]);
        let first = |availability: &Availability, seed: u64| {
            let (candidates, _) =
                eligible(&catalog, &needs(), &Asked::Auto, availability, &Preferences::BALANCED, Seed(seed));
            assert_eq!(candidates.len(), 1);
            assert_eq!(candidates[0].alternates.len(), 1);
            candidates[0].deployment.as_str() == "one"
        };
        let calm = (0..4_000).filter(|&seed| first(&busy(&[]), seed)).count();
        // Three in four, within five standard deviations.
        assert!((2_863..3_137).contains(&calm), "{calm}");
        let loaded = (0..4_000).filter(|&seed| first(&busy(&[("one", 30), ("two", 1)]), seed)).count();
        // Only where both looks fall on it: nine in sixteen.
        assert!((2_093..2_407).contains(&loaded), "{loaded}");
        let other = (0..4_000).filter(|&seed| first(&busy(&[("one", 3), ("two", 30)]), seed)).count();
        assert!((3_653..3_847).contains(&other), "{other}");
    }

    #[test]
    fn the_plan_falls_back_within_the_model_and_then_by_utility() {
        let candidate = |model: &str, alternates: &[&str]| Candidate {
            model: model.into(),
            deployment: model.into(),
            price: None,
            in_flight: 0,
            alternates: alternates.iter().map(|&id| id.into()).collect(),
            prompt_cache: PromptCache::default(),
            like: None,
        };
        let candidates = [candidate("a", &[]), candidate("b", &["b2"]), candidate("c", &[]), candidate("d", &["d2"])];
        let prediction = |utility: f64| Prediction {
            quality: Estimate { mean: utility, sd: 0.1 },
            cost: None,
            latency: None,
            utility,
        };
        let scored = Scored {
            propensities: vec![0.2, 0.3, 0.0, 0.5],
            predictions: [0.1, 0.2, 0.9, 0.5].map(prediction).to_vec(),
            greedy: 3,
            excluded: vec![None, None, Some(Exclusion::TooDear), None],
        };
        let order = plan(&scored, 1, &candidates);
        assert_eq!(order.iter().map(DeploymentId::as_str).collect::<Vec<_>>(), ["b", "b2", "d", "d2", "a"]);
    }
}
