//! `pointsman cache`: how far each namespace of a running Pointsman's cache is trusted, and how to have answers forgotten.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::Failure;
use super::explain::Endpoint;
use crate::base::Timestamp;
use crate::cache::semantic::standing::upper_limit;

/// See how often answers from memory are wrong, and have some forgotten.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the namespaces of your tenant: whether each serves, and the evidence for it.
    Show {
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Have answers of your tenant forgotten.
    Purge {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All of them at once, those on their way too, and all that was learned.
    #[arg(long)]
    all: bool,
    /// The one with this id (the header x-pointsman-cache-id of a hit).
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Those of a namespace, as `cache show` names it, and what it has learned.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Those kept under a tag (the header x-pointsman-cache-tags of their requests).
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Those made by a model or deployment.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Those made before this moment, such as 2026-11-30T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<Timestamp>,
    /// Those made at this moment or later.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
}

impl What {
    fn body(&self) -> Value {
        let Self { id, namespace, tag, model, before, since, .. } = self;
        let named = [("id", id), ("namespace", namespace), ("tag", tag), ("model", model)];
        let named = named.into_iter().find_map(|(name, value)| Some(json!({ name: value.as_ref()? })));
        let timed = [("before", before), ("since", since)];
        let timed = timed.into_iter().find_map(|(name, value)| Some(json!({ name: value.as_ref()? })));
        named.or(timed).unwrap_or_else(|| json!({ "all": true }))
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| "expected a time such as 2026-11-30T09:00:00Z".to_owned())?;
    u64::try_from(moment.as_microsecond()).map(Timestamp).map_err(|_| "expected a time after 1970".to_owned())
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] if no Pointsman answers, or it refuses.
pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Show { endpoint } => {
            let value = endpoint.call("/cache", None).await?;
            endpoint.print(&value, shown);
        }
        Command::Purge { what, endpoint } => {
            let value = endpoint.call("/cache/purge", Some(&what.body())).await?;
            endpoint.print(&value, |value| format!("forgotten: {}", value["forgotten"]));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    let Some(target) = value["max_wrong"].as_f64() else {
        return "answers are given to equal requests alone; `cache.semantic.max_wrong` lets like ones have them too"
            .to_owned();
    };
    let spaces: Vec<&Value> = value["namespaces"].as_array().into_iter().flatten().collect();
    let mut words = format!(
        "of the answers given to like prompts at most {:.1} % may be wrong; a namespace serves after {} verdicts, when the \
         upper limit (95 %) is within that\n",
        100.0 * target,
        value["min_labels"]
    );
    words += &match value["judge"].as_str() {
        Some(judge) => format!(
            "answers in words are compared by {judge}, at every check and for up to {:.0} % of the misses\n",
            100.0 * value["judge_share"].as_f64().unwrap_or(0.0)
        ),
        None => "answers in words are compared by their vectors, as far as those can tell\n".to_owned(),
    };
    if spaces.is_empty() {
        return words + "no prompt was compared yet";
    }
    let mut table = Table::new();
    let head = [
        "namespace",
        "model",
        "state",
        "prompts",
        "verdicts",
        "checks",
        "wrong",
        "unclear",
        "reported",
        "wrong at most",
        "to serve",
    ];
    table.load_style(presets::NOTHING).set_header(head);
    table.discover_columns();
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for space in spaces {
        let word = |name: &str| space[name].as_str().unwrap_or("?").to_owned();
        let mut row =
            vec![word("namespace").chars().take(12).collect(), word("about"), word("state").replace('_', " ")];
        let numbers = ["entries", "labels", "checks", "wrong", "unclear", "reports"];
        row.extend(numbers.map(|name| space[name].to_string()));
        let checked = space["checks"].as_u64().unwrap_or(0) > 0;
        let bound = space["bound"].as_f64().filter(|_| checked);
        row.push(bound.map_or_else(|| "unknown".to_owned(), |bound| format!("{:.1} %", 100.0 * bound)));
        row.push(missing(space, target, value["min_labels"].as_u64().unwrap_or(0)));
        table.add_row(row);
    }
    words += &table.to_string();
    let vague = |space: &Value| {
        let count = |name: &str| space[name].as_u64().unwrap_or(0);
        count("checks") >= 20 && 5 * count("unclear") > count("checks")
    };
    if value["judge"].is_null() && value["namespaces"].as_array().into_iter().flatten().any(vague) {
        words += "\nmany checks end unclear, and unclear counts as wrong: `cache.semantic.judge = \"a cheap model\"` has \
                  answers in words compared";
    }
    words
}

/// What a namespace in the shadow lacks to serve.
fn missing(space: &Value, target: f64, least: u64) -> String {
    let count = |name: &str| space[name].as_u64().unwrap_or(0);
    if space["state"] != "shadow" {
        return "-".to_owned();
    }
    let lacks = least.saturating_sub(count("labels"));
    let (bad, done) = (count("wrong") + count("unclear"), count("checks"));
    // The limit falls with every right check, so the first that suffices is found by halving.
    let (mut more, mut enough) = (0, 1 << 20);
    while more < enough {
        let middle = u64::midpoint(more, enough);
        if upper_limit(bad, done + middle) <= target { enough = middle } else { more = middle + 1 }
    }
    match (lacks, more) {
        (0, 0) => "-".to_owned(),
        (lacks, 0) => format!("{lacks} verdicts"),
        (0, more) => format!("{more} right checks"),
        (lacks, more) => format!("{lacks} verdicts, {more} right checks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_each_namespace_is_told_in_words() {
        let space = json!({"namespace": "ab".repeat(32), "tenant": "t", "about": "auto", "entries": 12, "state": "serving",
            "labels": 260, "checks": 149, "wrong": 0, "unclear": 0, "reports": 1, "bound": 0.0199});
        let new = json!({"namespace": "cd".repeat(32), "tenant": "t", "about": "auto", "entries": 1, "state": "shadow",
            "labels": 0, "checks": 0, "wrong": 0, "unclear": 0, "reports": 0, "bound": 1.0});
        let said = shown(&json!({"max_wrong": 0.02, "min_labels": 200, "namespaces": [space.clone(), new]}));
        let told = ["at most 2.0 %", "abababababab", "serving", "149", "2.0 %", "shadow", "unknown", "their vectors"];
        for words in told.into_iter().chain(["200 verdicts, 149 right checks"]) {
            assert!(said.contains(words), "{words} is missing from:\n{said}");
        }
        assert!(!said.contains("end unclear"));
        let mut vague = json!({"max_wrong": 0.05, "min_labels": 200, "namespaces": [space]});
        vague["namespaces"][0]["unclear"] = json!(60);
        assert!(shown(&vague).contains("cache.semantic.judge"));
        (vague["judge"], vague["judge_share"]) = (json!("small"), json!(0.1));
        assert!(shown(&vague).contains("compared by small, at every check and for up to 10 %"));
        assert!(shown(&json!({"max_wrong": null})).contains("cache.semantic.max_wrong"));
    }
}
