//! One typed file, or none.
//!
//! Every part has a `Config` of its own, with its defaults in code; the file only says what is to differ. Reading
//! goes in three steps: the text becomes a tree of fields that may all be absent (`raw`), with every unreadable or
//! unknown field noted and cut out (`sift`); the tree is checked for meaning, and every mistake found there joins
//! the list; and only if the list is empty is there a [`Config`]. So a file with five mistakes is told of five.
//!
//! Without a file, providers come from the keys in the environment ([`Config::of_environment`]), with the models,
//! prices and limits of the bundled catalogue ([`prices`]). Secrets stand in neither: a file names the variable or
//! the file that holds them.

mod catalogue;
mod environment;
mod presets;
pub mod prices;
mod provider;
mod raw;
mod sections;
mod sift;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use catalogue::Discovery;
pub use environment::Environment;
pub use sections::{Sections, Server};
use serde::Serialize;

use crate::base::{Digest, Problem, Secret};
use crate::catalog::Catalog;
use crate::gateway::Live;
use crate::policy::Preferences;

/// The only version of the file's format so far.
pub const VERSION: u32 = 1;
/// Characters that a key for sealing must have.
const SHORTEST_CACHE_KEY: usize = 32;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of every part.
    pub sections: Sections,
    /// The data folder, if the file names one.
    pub data: Option<PathBuf>,
    /// What the cache on disk is sealed with; `None` = it is in memory alone.
    pub cache_key: Option<Secret>,
    /// What can be called, without what is still to be discovered.
    pub catalog: Catalog,
    /// What `auto:NAME` weighs.
    pub presets: BTreeMap<String, Preferences>,
    /// Providers whose models are to be asked for at start.
    pub discoveries: Vec<Discovery>,
    /// What is allowed and yet worth saying, each once: prices that are not known, for example.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} problem{} in the configuration:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads this file, or the environment where there is none.
    ///
    /// # Errors
    /// Every mistake at once; a file that cannot be read is one.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, Problems> {
        Self::load_for(file, environment, false)
    }

    /// The same for what calls no provider and opens no cache: a key that is not there is no mistake.
    ///
    /// # Errors
    /// As [`Config::load`], but for keys.
    pub fn load_offline(file: Option<&Path>, environment: &Environment) -> Result<Self, Problems> {
        Self::load_for(file, environment, true)
    }

    fn load_for(file: Option<&Path>, environment: &Environment, offline: bool) -> Result<Self, Problems> {
        let Some(file) = file else { return Ok(Self::of_environment(environment)) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            let found = format!("the file {}, which cannot be read ({error})", file.display());
            Problems(vec![Problem::new("", found, "a file in TOML; pointsman check FILE tells what is wrong with one")])
        })?;
        Self::read_for(&text, environment, offline)
    }

    /// Reads the text of a file. Providers come from the file, or from the environment if it names none.
    ///
    /// # Errors
    /// Every mistake at once, each with its path, what was found and what is allowed.
    pub fn read(text: &str, environment: &Environment) -> Result<Self, Problems> {
        Self::read_for(text, environment, false)
    }

    fn read_for(text: &str, environment: &Environment, offline: bool) -> Result<Self, Problems> {
        let (file, mut problems) = sift::sift::<raw::File>(text);
        let Some(file) = file else { return Err(Problems(problems)) };
        match file.version {
            Some(VERSION) => {}
            // A version that could not be read has been told already.
            None if problems.iter().any(|problem| problem.path == "version") => {}
            found => {
                let found = found.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
                problems.push(Problem::new("version", found, format!("version = {VERSION}, at the top of the file")));
            }
        }
        let mut parts = catalogue::Parts::new(offline);
        let mut found = parts.of_file(&file, environment);
        let presets = presets::presets(&file.presets, &mut found);
        let (data, sections) = (file.data.clone(), file.sections());
        found.extend(sections.problems());
        let source = sections.cache.key.as_ref().filter(|_| !offline);
        let path = "cache.key";
        let cache_key = source
            .and_then(|source| provider::secret(source, environment, path.to_owned(), &mut found))
            .filter(|key| {
                let long = key.expose().len() >= SHORTEST_CACHE_KEY;
                if !long {
                    let allowed = "at least 32 characters; for example what `openssl rand -hex 32` prints";
                    found.push(Problem::new(path, "a key that is too short (not shown)", allowed));
                }
                long
            });
        // What lies at or under something that could not be read is a mere consequence of it.
        let told: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
        problems.extend(found.into_iter().filter(|problem| !told.iter().any(|path| lies_under(&problem.path, path))));
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let catalog = parts.catalog();
        Ok(Self {
            sections,
            data,
            cache_key,
            presets,
            catalog,
            discoveries: parts.discoveries,
            warnings: parts.warnings,
        })
    }

    /// The configuration of a machine without a file: every default, and the providers whose keys or addresses
    /// are in the environment. May have no deployment at all; see [`Config::is_empty`].
    #[must_use]
    pub fn of_environment(environment: &Environment) -> Self {
        let mut parts = catalogue::Parts::default();
        parts.of_environment(environment);
        Self {
            sections: Sections::default(),
            data: None,
            cache_key: None,
            presets: Live::built_in_presets(),
            catalog: parts.catalog(),
            discoveries: parts.discoveries,
            warnings: parts.warnings,
        }
    }

    /// Whether there is nothing to call, now or after discovery.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.catalog.deployments.is_empty() && self.discoveries.is_empty()
    }

    /// The same configuration with these models of a provider that was asked for its list.
    #[must_use]
    pub fn with_discovered(mut self, discovery: &Discovery, names: &[String]) -> Self {
        let mut deployments = self.catalog.deployments;
        deployments.extend(discovery.deployments(names, &deployments));
        self.catalog = Catalog::new(deployments, self.catalog.aliases, self.catalog.baseline);
        self
    }

    /// Names this configuration in every event. Keys are not part of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        #[derive(Serialize)]
        struct Resolved<'a> {
            version: u32,
            sections: &'a Sections,
            presets: &'a BTreeMap<String, Preferences>,
            catalog: Digest,
        }
        let Self { sections, presets, catalog, .. } = self;
        Digest::of_json(&Resolved { version: VERSION, sections, presets, catalog: catalog.digest })
    }
}

/// Whether `path` is `above` or stands inside it.
fn lies_under(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(names: &[(&str, &str)]) -> Environment {
        names.iter().copied().collect()
    }

    fn problems(text: &str) -> Vec<String> {
        let keys = environment(&[("OPENAI_API_KEY", "sk-test")]);
        Config::read(text, &keys).expect_err("has mistakes").0.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn five_mistakes_are_told_at_once() {
        let text = r#"
version = 1
lisen = "0.0.0.0:80"

[server]
drain = 30

[providers.openai]
key = "sk-live-0123456789"

[providers.local]
base_url = "localhost:8000"

[[deployments]]
provider = "locl"
name = "qwen"
"#;
        insta::assert_snapshot!(Config::read(text, &Environment::default()).expect_err("has mistakes"));
    }

    #[test]
    fn a_key_written_into_the_file_is_refused_and_not_repeated() {
        let found = problems("version = 1\n[providers.openai]\nkey = 'sk-live-0123456789'\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("providers.openai.key: found the key itself (not shown); allowed: a reference"));
        assert!(!found[0].contains("sk-live"));
    }

    #[test]
    fn a_key_that_is_not_set_is_told_by_its_name() {
        let found = problems("version = 1\n[providers.mistral]\nkey = { env = 'NO_SUCH' }\n");
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn who_calls_no_provider_needs_no_key_and_everything_else_is_checked_all_the_same() {
        let read = |text: &str, offline| Config::read_for(text, &Environment::default(), offline);
        let text = "version = 1\nbaseline = 'mistral/mistral-large-4'\n[cache]\nkey = { env = 'NOT_SET' }\n\
                    [providers.mistral]\n[providers.openai]\nkey = { file = '/no/such/file' }\n";
        let told = read(text, false).expect_err("three keys are missing").0;
        let paths: Vec<&str> = told.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["providers.mistral.key", "providers.openai.key", "cache.key"]);
        let offline = read(text, true).expect("is right but for the keys");
        assert!(offline.catalog.deployments.iter().all(|deployment| deployment.key.is_none()) && !offline.is_empty());

        // The same as with the keys, so that what is written under it is not of another configuration.
        let text = "version = 1\n[providers.mistral]\n";
        let keys = environment(&[("MISTRAL_API_KEY", "k")]);
        assert_eq!(read(text, true).expect("is right").digest(), Config::read(text, &keys).expect("is right").digest());

        // Which models the environment would bring is not known without it.
        let text = "version = 1\nbaseline = 'openai/gpt'\n[budgets.day]\namount = '5 USD/day'\n";
        assert_eq!(read(text, true).expect("is right").sections.budgets.len(), 1);
        assert!(read(&text.replace("5 USD", "5 EUR"), true).is_err());
    }

    #[test]
    fn a_preset_says_only_what_differs_and_money_has_its_unit() {
        let text =
            "version = 1\n[providers.openai]\n[presets.frugal]\ncost = { relative = 0.5 }\nmax_cost = '0.02 USD'\n";
        let config = Config::read(text, &environment(&[("OPENAI_API_KEY", "k")])).expect("is right");
        let frugal = config.presets["frugal"];
        assert_eq!((frugal.max_cost, frugal.latency_per_second), (Some(crate::base::Usd(0.02)), 0.001));
        assert_eq!(config.presets.len(), 4);
        let found = problems("version = 1\n[providers.openai]\n[presets.x]\nmax_cost = '2 EUR'\nmin_quality = 2.0\n");
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn a_door_without_keys_opens_on_this_machine_only() {
        let text = "version = 1\n[providers.openai]\n[server]\nlisten = '0.0.0.0:8484'\n";
        insta::assert_snapshot!(problems(text).join("\n"));
    }

    #[test]
    fn a_file_without_its_version_is_refused() {
        assert_eq!(problems(""), ["version: found nothing; allowed: version = 1, at the top of the file"]);
        assert_eq!(problems("version = 2"), ["version: found 2; allowed: version = 1, at the top of the file"]);
    }

    #[test]
    fn a_known_provider_needs_only_its_name() {
        let text = "version = 1\n[providers.openai]\nmodels = ['gpt-6-luna', 'gpt-6.1-sol']\n";
        let config = Config::read(text, &environment(&[("OPENAI_API_KEY", "sk-test")])).expect("is right");
        let ids: Vec<_> = config.catalog.deployments.iter().map(|deployment| deployment.id.as_str()).collect();
        assert_eq!(ids, ["openai:gpt-6-luna", "openai:gpt-6.1-sol"]);
        let luna = &config.catalog.deployments[0];
        assert_eq!((luna.model.as_str(), luna.context_window), ("openai/gpt-6-luna", Some(272_000)));
        assert_eq!(luna.price.as_ref().map(|price| price.output), Some(0.5));
        assert_eq!(luna.key.as_ref().map(crate::base::Secret::expose), Some("sk-test"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn an_unknown_price_stays_unknown_and_is_said_once() {
        let text = "version = 1\n[providers.openai]\nmodels = ['gpt-99']\n";
        let config = Config::read(text, &environment(&[("OPENAI_API_KEY", "sk-test")])).expect("is right");
        assert_eq!(config.catalog.deployments[0].price, None);
        insta::assert_snapshot!(config.warnings.join("\n"));
    }

    #[test]
    fn a_deployment_overrides_what_is_known_of_it() {
        let text = r#"
version = 1
[providers.openai]
models = ["gpt-6-luna"]
[providers.azure]
base_url = "https://example.openai.azure.com/openai/v1/"
key = { env = "OPENAI_API_KEY" }
[[deployments]]
provider = "openai"
name = "gpt-6-luna"
price = { input = 0.05, output = 0.25 }
weight = 3.0
[[deployments]]
provider = "azure"
name = "luna-prod"
model = "openai/gpt-6-luna"
price = { input = 0.1, output = 0.5 }
tags = ["eu"]
"#;
        let config = Config::read(text, &environment(&[("OPENAI_API_KEY", "sk-test")])).expect("is right");
        let [own, azure] = &config.catalog.deployments[..] else { panic!("{:?}", config.catalog.deployments) };
        assert_eq!((own.weight, own.price.as_ref().map(|price| price.input)), (3.0, Some(0.05)));
        assert_eq!(own.max_output, Some(128_000), "what is not overridden stays");
        assert_eq!((&azure.model, azure.base_url.as_str()), (&own.model, "https://example.openai.azure.com/openai/v1"));
        assert_eq!(azure.tags, ["eu"]);
    }

    #[test]
    fn the_environment_alone_makes_a_catalogue() {
        let config = Config::of_environment(&environment(&[
            ("ANTHROPIC_API_KEY", "a"),
            ("GOOGLE_API_KEY", "g"),
            ("GROQ_API_KEY", "q"),
            ("TOGETHER_API_KEY", "t"),
            ("OLLAMA_HOST", "0.0.0.0:11434"),
        ]));
        let shown: Vec<String> = config
            .catalog
            .deployments
            .iter()
            .map(|deployment| format!("{} serves {}", deployment.id, deployment.model))
            .chain(config.catalog.aliases.iter().map(|(alias, models)| format!("{alias} = {models:?}")))
            .chain(config.discoveries.iter().map(|discovery| format!("ask {}", discovery.base_url)))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn nothing_in_the_environment_is_an_empty_catalogue() {
        assert!(Config::of_environment(&environment(&[("PATH", "/bin"), ("OPENAI_API_KEY", "")])).is_empty());
    }

    #[test]
    fn discovered_models_join_the_catalogue_once() {
        let config = Config::of_environment(&environment(&[("OLLAMA_HOST", "http://gpu:11434")]));
        let discovery = config.discoveries[0].clone();
        let names = ["qwen3:8b".to_owned(), "nomic-embed-text".to_owned()];
        let digest = config.digest();
        let config = config.with_discovered(&discovery, &names).with_discovered(&discovery, &names);
        let ids: Vec<_> = config.catalog.deployments.iter().map(|deployment| deployment.id.as_str()).collect();
        assert_eq!(ids, ["ollama:qwen3:8b"]);
        assert_ne!(config.digest(), digest);
    }

    #[test]
    fn the_digest_sees_settings_and_no_secret() {
        let text = "version = 1\n[providers.openai]\n";
        let of = |text: &str, key: &str| {
            Config::read(text, &environment(&[("OPENAI_API_KEY", key)])).expect("is right").digest()
        };
        assert_eq!(of(text, "one"), of(text, "other"));
        assert_ne!(of(text, "one"), of(&format!("{text}models = ['gpt-6-luna']"), "one"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(version = 1\n)?((\\[+[a-z.]{0,12}\\]+|[a-z_]{1,8} ?= ?[-0-9a-z'{}\\[\\], =.\"]{0,16})\n){0,8}") {
            let _ = Config::read(&text, &Environment::default());
        }
    }
}
