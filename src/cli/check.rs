//! `pointsman check`: is the configuration right, and what does it come to?

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{Failure, Source};
use crate::base::duration;
use crate::catalog::{Capability, Deployment};
use crate::config::{Config, Environment, Problems};

/// Check a configuration: all its mistakes at once, each with its path, what was found and what is allowed; or,
/// if it is right, what it comes to. Nothing is started and nothing is called.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to check; the same as --config FILE.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let file = args.file.clone().or_else(|| args.source.file());
    match Config::load(file.as_deref(), &Environment::of_process()) {
        Ok(config) if args.json => print_json(&right(&config)),
        Ok(config) => println!("{}", summary(&config, file.as_deref())),
        Err(problems) if args.json => {
            print_json(&json!({ "ok": false, "problems": problems.0 }));
            return Err(Failure::Usage(short(&problems)));
        }
        Err(problems) => return Err(Failure::Usage(problems.to_string())),
    }
    Ok(())
}

fn short(problems: &Problems) -> String {
    format!("the configuration has {} problem(s)", problems.0.len())
}

fn print_json(value: &Value) {
    println!("{value:#}");
}

fn right(config: &Config) -> Value {
    let deployments: Vec<Value> = config
        .catalog
        .deployments
        .iter()
        .map(|deployment| {
            let mut value = json!(deployment);
            // Headers may hold keys of a provider's own kind.
            value["headers"] = json!(deployment.headers.keys().collect::<Vec<_>>());
            value["key"] = json!(deployment.key.is_some());
            value
        })
        .collect();
    json!({
        "ok": true,
        "digest": config.digest(),
        "catalog": config.catalog.digest,
        "settings": config.sections,
        "data": config.data,
        "deployments": deployments,
        "aliases": config.catalog.aliases,
        "baseline": config.catalog.baseline,
        "discover": config.discoveries.iter().map(|discovery| &discovery.base_url).collect::<Vec<_>>(),
        "warnings": config.warnings,
    })
}

fn summary(config: &Config, file: Option<&Path>) -> String {
    let source = file.map_or("no file: the environment and the defaults".to_owned(), |file| file.display().to_string());
    let mut lines = vec![format!("{source}: right (digest {})", config.digest())];
    let server = &config.sections.server;
    let encoder = &config.sections.embed;
    lines.push(format!("listens on {}, drains for up to {}", server.listen, duration::format(server.drain)));
    let lexical = || "no encoder: vectors are lexical".to_owned();
    lines.push(if encoder.enabled { format!("encoder {}", encoder.model) } else { lexical() });
    if config.is_empty() {
        lines.push("nothing to call: set a key such as OPENAI_API_KEY, or add [providers.NAME]".to_owned());
    } else {
        lines.push(String::new());
        lines.push(deployments(&config.catalog.deployments).to_string());
    }
    for discovery in &config.discoveries {
        lines.push(format!("{} will be asked for its models at start ({})", discovery.provider, discovery.base_url));
    }
    lines.extend(config.warnings.iter().map(|warning| format!("note: {warning}")));
    lines.join("\n")
}

/// A table of deployments; unknown is `?`.
fn deployments(deployments: &[Deployment]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["deployment", "model", "$/M in", "cached", "out", "context", "can", "auto"]);
    for deployment in deployments {
        let price = deployment.price.as_ref();
        let dollars = |amount: Option<f64>| amount.map_or_else(|| "?".to_owned(), |amount| amount.to_string());
        table.add_row([
            deployment.id.to_string(),
            deployment.model.to_string(),
            dollars(price.map(|price| price.input)),
            dollars(price.map(|price| price.cached_input.unwrap_or(price.input))),
            dollars(price.map(|price| price.output)),
            deployment.context_window.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string()),
            deployment.capabilities.iter().map(name).collect::<Vec<_>>().join(" "),
            if deployment.auto { "yes" } else { "no" }.to_owned(),
        ]);
    }
    for index in 2..=5 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "mapped over references")]
fn name(capability: &Capability) -> String {
    json!(capability).as_str().unwrap_or_default().to_owned()
}
