//! From providers and deployments, as they are written or found in the environment, to a catalogue.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::prices::{self, Facts, Known};
use super::provider::{base_url, check_price, key, local_url};
use super::raw;
use crate::base::{DeploymentId, ModelId, Problem, Secret};
use crate::catalog::{Capability, Catalog, Deployment, Price};

/// What an unknown model is taken to be able to do: all that is text. Say `can = [...]` where that is wrong.
const TEXT: [Capability; 6] = [
    Capability::Tools,
    Capability::JsonMode,
    Capability::JsonSchema,
    Capability::Logprobs,
    Capability::ManyChoices,
    Capability::LegacyCompletions,
];

/// What a token costs on a machine of one's own: electricity aside, nothing.
const OWN_MACHINE: Price = Price { input: 0.0, output: 0.0, cached_input: None, cache_write: None, reasoning: None };

/// A provider whose models are asked for at start.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Its name.
    pub provider: String,
    /// Where it is.
    pub base_url: String,
    /// Its key, if it wants one.
    pub key: Option<Secret>,
    /// Headers to add.
    pub headers: BTreeMap<String, String>,
    /// What each of its models costs, if that was said.
    pub price: Option<Price>,
}

impl Discovery {
    /// The deployments of these models that are not yet among `known`. Models that only embed are left out.
    pub(super) fn deployments(&self, names: &[String], known: &[Deployment]) -> Vec<Deployment> {
        let place = Place {
            provider: &self.provider,
            base_url: &self.base_url,
            key: self.key.as_ref(),
            headers: &self.headers,
        };
        names
            .iter()
            .filter(|name| !name.contains("embed"))
            .filter(|name| !known.iter().any(|old| old.provider == self.provider && old.upstream_model == **name))
            .map(|name| {
                let facts = prices::known(&self.provider).and_then(|provider| provider.model(name)).cloned();
                let mut deployment = place.deployment(&facts.unwrap_or_else(|| unknown(name)));
                deployment.price = self.price.clone().or(deployment.price);
                deployment
            })
            .collect()
    }
}

/// Where deployments of one provider are called.
struct Place<'a> {
    provider: &'a str,
    base_url: &'a str,
    key: Option<&'a Secret>,
    headers: &'a BTreeMap<String, String>,
}

impl Place<'_> {
    fn deployment(&self, facts: &Facts) -> Deployment {
        let provider = self.provider;
        Deployment {
            id: DeploymentId::from(format!("{provider}:{}", facts.name)),
            model: ModelId::from(facts.model.clone().unwrap_or_else(|| format!("{provider}/{}", facts.name))),
            provider: provider.to_owned(),
            upstream_model: facts.name.clone(),
            base_url: self.base_url.to_owned(),
            key: self.key.cloned(),
            headers: self.headers.clone(),
            price: facts.price.clone(),
            capabilities: facts.can.clone(),
            context_window: facts.window(),
            max_output: facts.max_output,
            weight: 1.0,
            tags: Vec::new(),
            auto: facts.auto,
            like: None,
        }
    }
}

/// A model of which nothing is known but its name.
fn unknown(name: &str) -> Facts {
    Facts {
        name: name.to_owned(),
        model: None,
        price: None,
        priced_up_to: None,
        context_window: None,
        max_output: None,
        can: TEXT.to_vec(),
        auto: true,
    }
}

/// A catalogue in the making.
#[derive(Default)]
pub(super) struct Parts {
    deployments: Vec<Deployment>,
    aliases: BTreeMap<String, Vec<ModelId>>,
    baseline: Option<ModelId>,
    /// Nothing will be called: a key that is not there is no mistake.
    offline: bool,
    pub(super) discoveries: Vec<Discovery>,
    pub(super) warnings: Vec<String>,
}

impl Parts {
    /// Nothing yet.
    pub(super) fn new(offline: bool) -> Self {
        Self { offline, ..Self::default() }
    }

    /// The catalogue, with the bare upstream names as further aliases, so that a client that asks for
    /// `gpt-6-luna` need not learn a new name.
    pub(super) fn catalog(&mut self) -> Catalog {
        let mut aliases = std::mem::take(&mut self.aliases);
        for deployment in &self.deployments {
            let name = &deployment.upstream_model;
            let taken = self.deployments.iter().any(|other| {
                other.model.as_str() == name
                    || other.id.as_str() == name
                    || (other.upstream_model == *name && other.model != deployment.model)
            });
            if !taken && !reserved(name) {
                aliases.entry(name.clone()).or_insert_with(|| vec![deployment.model.clone()]);
            }
        }
        Catalog::new(std::mem::take(&mut self.deployments), aliases, self.baseline.take())
    }

    /// Every provider whose key or address is in the environment.
    pub(super) fn of_environment(&mut self, environment: &Environment) {
        for known in &prices::bundled().providers {
            if let Some(key) = known.keys.iter().find_map(|name| environment.get(name)) {
                let key = Some(Secret::new(key));
                self.add_all(known, &known.base_url, key.as_ref(), &BTreeMap::new());
            }
        }
        let local = [("ollama", "OLLAMA_HOST", 11434), ("vllm", "VLLM_BASE_URL", 8000)];
        for (provider, variable, port) in local {
            if let Some(address) = environment.get(variable) {
                self.discoveries.push(Discovery {
                    provider: provider.to_owned(),
                    base_url: local_url(address, port),
                    key: environment.get(&format!("{}_API_KEY", provider.to_uppercase())).map(Secret::new),
                    headers: BTreeMap::new(),
                    price: Some(OWN_MACHINE),
                });
            }
        }
    }

    fn add_all(&mut self, known: &Known, base_url: &str, key: Option<&Secret>, headers: &BTreeMap<String, String>) {
        let place = Place { provider: &known.id, base_url, key, headers };
        for facts in &known.models {
            self.add(place.deployment(facts));
        }
    }

    fn add(&mut self, deployment: Deployment) {
        if deployment.price.is_none() {
            self.warnings.push(unpriced(&deployment));
        }
        self.deployments.push(deployment);
    }

    /// Everything a file says of providers, deployments, aliases and the baseline, and what is wrong with it.
    pub(super) fn of_file(&mut self, file: &raw::File, environment: &Environment) -> Vec<Problem> {
        let mut problems = Vec::new();
        if file.providers.is_empty() && file.deployments.is_empty() {
            self.of_environment(environment);
        }
        let mut places: BTreeMap<&str, (String, Option<Secret>, &raw::Provider)> = BTreeMap::new();
        for (name, provider) in &file.providers {
            let path = format!("providers.{name}");
            let known = prices::known(name);
            let base_url = base_url(provider, known, &path, &mut problems);
            let mut locked = Vec::new();
            let key = key(provider, known, environment, &path, &mut locked);
            problems.extend(locked.into_iter().filter(|_| !self.offline));
            check_price(provider.price.as_ref(), &path, &mut problems);
            if let Some(base_url) = base_url {
                self.provider(name, provider, known, &base_url, key.as_ref());
                places.insert(name, (base_url, key, provider));
            }
        }
        for (index, deployment) in file.deployments.iter().enumerate() {
            let path = format!("deployments[{index}]");
            check_price(deployment.price.as_ref(), &path, &mut problems);
            if let Some(weight) = deployment.weight
                && !(weight.is_finite() && weight > 0.0)
            {
                problems.push(Problem::new(format!("{path}.weight"), weight, "a number above 0"));
            }
            let Some(provider) = &deployment.provider else {
                problems.push(Problem::new(format!("{path}.provider"), "nothing", "the name of a provider"));
                continue;
            };
            if deployment.name.is_none() {
                let allowed = "the model's name in the provider's requests";
                problems.push(Problem::new(format!("{path}.name"), "nothing", allowed));
            }
            match (places.get(provider.as_str()), &deployment.name) {
                (Some((base_url, key, raw)), Some(name)) => {
                    let place = Place { provider, base_url, key: key.as_ref(), headers: &raw.headers };
                    self.deployment(deployment, &place, name, raw, &path, &mut problems);
                }
                (None, _) if !file.providers.contains_key(provider) => {
                    let names: Vec<&str> = file.providers.keys().map(String::as_str).collect();
                    let allowed = if names.is_empty() {
                        format!("a provider of this file; add [providers.{provider}]")
                    } else {
                        format!("a provider of this file: {}", names.join(", "))
                    };
                    problems.push(Problem::new(format!("{path}.provider"), format!("{provider:?}"), allowed));
                }
                _ => {}
            }
        }
        self.names(file, &mut problems);
        let empty = self.deployments.is_empty() && self.discoveries.is_empty();
        if problems.is_empty() && empty && !self.unknown(file) {
            problems.push(Problem::new("providers", "nothing that can be called", NOTHING_TO_CALL));
        }
        problems
    }

    fn provider(
        &mut self,
        name: &str,
        provider: &raw::Provider,
        known: Option<&'static Known>,
        base_url: &str,
        key: Option<&Secret>,
    ) {
        let from = self.deployments.len();
        let place = Place { provider: name, base_url, key, headers: &provider.headers };
        match (&provider.models, known) {
            (Some(models), _) => {
                for model in models {
                    let facts = known.and_then(|known| known.model(model)).cloned();
                    let mut deployment = place.deployment(&facts.unwrap_or_else(|| unknown(model)));
                    deployment.price = provider.price.clone().or(deployment.price);
                    // Whoever names a model wants it.
                    deployment.auto = true;
                    self.add(deployment);
                }
            }
            (None, Some(known)) => self.add_all(known, base_url, key, &provider.headers),
            (None, None) => {}
        }
        if let Some(price) = &provider.price {
            for deployment in &mut self.deployments[from..] {
                deployment.price = Some(price.clone());
            }
        }
        if provider.discover {
            self.discoveries.push(Discovery {
                provider: name.to_owned(),
                base_url: base_url.to_owned(),
                key: key.cloned(),
                headers: provider.headers.clone(),
                price: provider.price.clone(),
            });
        }
    }

    /// One `[[deployments]]`: more about one that is there already, or a new one.
    fn deployment(
        &mut self,
        raw: &raw::Deployment,
        place: &Place<'_>,
        name: &str,
        provider: &raw::Provider,
        path: &str,
        problems: &mut Vec<Problem>,
    ) {
        let id = raw.id.clone().unwrap_or_else(|| format!("{}:{name}", place.provider));
        let facts = prices::known(place.provider).and_then(|known| known.model(name)).cloned();
        let there = self.deployments.iter().position(|old| old.id.as_str() == id);
        let mut deployment = match there {
            Some(at)
                if self.deployments[at].upstream_model == name && self.deployments[at].provider == place.provider =>
            {
                self.deployments.remove(at)
            }
            Some(_) => {
                problems.push(Problem::new(format!("{path}.id"), format!("{id:?}, which is taken"), "another name"));
                return;
            }
            None => {
                let mut fresh = place.deployment(&facts.unwrap_or_else(|| unknown(name)));
                fresh.auto = true;
                fresh.price = provider.price.clone().or(fresh.price);
                fresh
            }
        };
        self.warnings.retain(|warning| *warning != unpriced(&deployment));
        deployment.id = DeploymentId::from(id);
        if let Some(model) = &raw.model {
            deployment.model = ModelId::from(model.as_str());
        }
        if raw.price.is_some() {
            deployment.price.clone_from(&raw.price);
        }
        if let Some(can) = &raw.can {
            deployment.capabilities.clone_from(can);
        }
        deployment.context_window = raw.context_window.or(deployment.context_window);
        deployment.max_output = raw.max_output.or(deployment.max_output);
        deployment.weight = raw.weight.unwrap_or(deployment.weight);
        deployment.auto = raw.auto.unwrap_or(deployment.auto);
        deployment.tags.clone_from(&raw.tags);
        deployment.like = raw.like.as_deref().map(ModelId::from);
        if deployment.price.is_none() {
            self.warnings.push(unpriced(&deployment));
        }
        self.deployments.insert(there.unwrap_or(self.deployments.len()), deployment);
    }

    /// Whether the models are those of the environment's keys, and the keys need not be there.
    fn unknown(&self, file: &raw::File) -> bool {
        self.offline && file.providers.is_empty() && file.deployments.is_empty()
    }

    /// Aliases and the baseline: they must name models that are there, or may yet be discovered.
    fn names(&mut self, file: &raw::File, problems: &mut Vec<Problem>) {
        let models: Vec<&str> = self.deployments.iter().map(|deployment| deployment.model.as_str()).collect();
        let missing = |name: &str| !self.unknown(file) && self.discoveries.is_empty() && !models.contains(&name);
        let allowed = || format!("a model of this configuration: {}", short_list(&models));
        for (alias, names) in &file.aliases {
            let path = format!("aliases.{alias}");
            if reserved(alias) {
                problems.push(Problem::new(&path, "a reserved name", "any name but auto, auto:... and pointsman/..."));
            }
            if names.names().is_empty() {
                problems.push(Problem::new(&path, "an empty list", allowed()));
            }
            for name in names.names().iter().filter(|name| missing(name)) {
                problems.push(Problem::new(&path, format!("{name:?}"), allowed()));
            }
        }
        for (index, deployment) in file.deployments.iter().enumerate() {
            if let Some(name) = deployment.like.as_deref().filter(|name| missing(name)) {
                problems.push(Problem::new(format!("deployments[{index}].like"), format!("{name:?}"), allowed()));
            }
        }
        if let Some(name) = file.baseline.as_deref().filter(|name| missing(name)) {
            problems.push(Problem::new("baseline", format!("{name:?}"), allowed()));
        }
        let judge = file.cache.semantic.judge.as_ref().map(ModelId::as_str);
        if let Some(name) = judge.filter(|name| missing(name)) {
            problems.push(Problem::new("cache.semantic.judge", format!("{name:?}"), allowed()));
        }
        self.aliases = file
            .aliases
            .iter()
            .map(|(alias, names)| (alias.clone(), names.names().iter().map(|name| name.as_str().into()).collect()))
            .collect();
        self.baseline = file.baseline.as_deref().map(ModelId::from);
    }
}

/// What to do when there is no provider.
const NOTHING_TO_CALL: &str = "at least one provider: a key in the environment (OPENAI_API_KEY ...), or \
                               [providers.NAME] with base_url and models";

/// Names that mean something of their own as a `model`.
fn reserved(name: &str) -> bool {
    name == "auto" || name.starts_with("auto:") || name.starts_with("pointsman/")
}

fn unpriced(deployment: &Deployment) -> String {
    format!(
        "the price of {} is not known: its cost is left out of every figure, and a limit on cost excludes it; \
         set it under [[deployments]] with provider = {:?}, name = {:?}, price = {{ input = ..., output = ... }} \
         (US dollars per million tokens)",
        deployment.id, deployment.provider, deployment.upstream_model
    )
}

fn short_list(names: &[&str]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for name in names {
        if !shown.contains(name) {
            shown.push(name);
        }
    }
    match shown.len() {
        0 => "there is none yet".to_owned(),
        1..=12 => shown.join(", "),
        more => format!("{} and {} more", shown[..12].join(", "), more - 12),
    }
}
