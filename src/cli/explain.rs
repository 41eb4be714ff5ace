//! `pointsman explain` and `pointsman route`: what a running Pointsman decided, or would decide, and why.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::Failure;

/// Show what was decided for a request, why, and what came of it.
///
/// Every answer carries its decision's id in the header x-pointsman-decision.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The decision's id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Show where a prompt would go, and why, without asking any model.
#[derive(Debug, clap::Args)]
pub struct Route {
    /// The prompt.
    prompt: String,
    /// What to ask for: auto, auto:cheap, auto:best, a model, a deployment.
    #[arg(long, short, default_value = "auto")]
    model: String,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// A running Pointsman.
#[derive(Debug, clap::Args)]
pub(super) struct Endpoint {
    /// Where it is, up to and including the version.
    #[arg(long, value_name = "URL", env = "POINTSMAN_URL", default_value = "http://127.0.0.1:8484/v1")]
    url: String,
    /// Your key, if it wants one.
    #[arg(long, value_name = "KEY", env = "POINTSMAN_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Print the answer as it is: one JSON object.
    #[arg(long)]
    json: bool,
}

impl Endpoint {
    pub(super) async fn call(&self, route: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let url = format!("{}{route}", self.url.trim_end_matches('/'));
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
        let client = client.map_err(Failure::failed)?;
        let request = body.map_or_else(|| client.get(&url), |body| client.post(&url).json(body));
        let request = self.key.iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        let answer = request.send().await.map_err(|error| {
            let hint = "is Pointsman running? `pointsman serve` starts it, --url says where it is";
            Failure::Failed(format!("{url} does not answer ({}); {hint}", error.without_url()))
        })?;
        let status = answer.status();
        let value: Value = answer.json().await.map_err(Failure::failed)?;
        match value.pointer("/error/message").and_then(Value::as_str) {
            Some(message) => Err(Failure::Failed(message.to_owned())),
            None if status.is_success() => Ok(value),
            None => Err(Failure::Failed(format!("{url} answers with status {status}"))),
        }
    }

    pub(super) fn print(&self, value: &Value, words: impl FnOnce(&Value) -> String) {
        println!("{}", if self.json { format!("{value:#}") } else { words(value) });
    }
}

pub(super) async fn explain(args: &Explain) -> Result<(), Failure> {
    let value = args.endpoint.call(&format!("/decisions/{}", args.id), None).await?;
    args.endpoint.print(&value, past);
    Ok(())
}

pub(super) async fn route(args: &Route) -> Result<(), Failure> {
    let body = json!({ "model": args.model, "messages": [{ "role": "user", "content": args.prompt }] });
    let value = args.endpoint.call("/route", Some(&body)).await?;
    args.endpoint.print(&value, planned);
    Ok(())
}

fn planned(value: &Value) -> String {
    let plan: Vec<&str> = value["plan"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut words = format!("{}\nin this order: {}\n", text(&value["why"]), plan.join(", "));
    words += &asked(&value["features"]);
    words += &arms(&value["candidates"]);
    words += &excluded(&value["excluded"]);
    words += &guard(&value["guard"]);
    words
}

fn past(value: &Value) -> String {
    let decided = &value["decided"];
    let mut words = format!("{}\n", value["why"].as_str().unwrap_or("nothing was chosen for it"));
    words += &asked(&decided["features"]);
    words += &arms(&decided["arms"]);
    words += &excluded(&decided["excluded"]);
    words += &budgets(&decided["budgets"]);
    words += &guard(&decided["guard"]);
    let completed = &value["completed"];
    if completed.is_null() {
        words += "it has not ended yet\n";
    } else {
        let outcome = match &completed["outcome"] {
            Value::String(outcome) => outcome.clone(),
            other => other.to_string(),
        };
        words += &format!(
            "it ended: {outcome}, by {} after {} ms ({} ms of them Pointsman's own), for {}\n",
            completed["served"].as_str().unwrap_or("nobody"),
            number(&completed["total_ms"], 1),
            number(&completed["overhead_ms"], 1),
            completed["cost_usd"].as_f64().map_or("an unknown price".to_owned(), |cost| format!("${cost:.6}")),
        );
    }
    let scores = completed["scores"].as_array().into_iter().chain(value["feedback"].as_array()).flatten();
    for score in scores {
        words += &format!("scored {} by {}\n", number(&score["score"], 3), text(&score["channel"]));
    }
    words
}

fn asked(features: &Value) -> String {
    let known = |value: &Value| value.as_str().map(str::to_owned).or_else(|| value.as_f64().map(|n| format!("{n:.2}")));
    let parts = [
        ("intent", known(&features["intent"]["name"])),
        ("complexity", known(&features["complexity"])),
        ("language", known(&features["language"])),
        ("prompt tokens", features["needs"]["prompt_tokens"].as_u64().map(|tokens| tokens.to_string())),
    ];
    let said: Vec<String> = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))).collect();
    if said.is_empty() { String::new() } else { format!("the prompt: {}\n", said.join(", ")) }
}

fn arms(arms: &Value) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["candidate", "drawn with", "quality", "sd", "cost", "seconds", "utility"]);
    for arm in arms.as_array().into_iter().flatten() {
        let believed = &arm["prediction"];
        table.add_row([
            text(&arm["deployment"]).to_owned(),
            number(&arm["propensity"], 3),
            number(&believed["quality"]["mean"], 3),
            number(&believed["quality"]["sd"], 3),
            believed["cost"]["mean"].as_f64().map_or("?".to_owned(), |cost| format!("${cost:.6}")),
            number(&believed["latency"]["mean"], 2),
            number(&believed["utility"], 3),
        ]);
    }
    for index in 1..=6 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{table}\n\n") }
}

fn excluded(excluded: &Value) -> String {
    let reasons = excluded.as_object().into_iter().flatten();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |name| name.replace('_', " "));
    let reason = |reason: &Value| match reason.as_object().and_then(|object| object.iter().next()) {
        Some((kind, what)) => format!("{kind} {}", plain(what)),
        None => plain(reason),
    };
    reasons.map(|(deployment, why)| format!("not {deployment}: {}\n", reason(why))).collect()
}

fn budgets(budgets: &Value) -> String {
    let line = |budget: &Value| {
        format!(
            "budget {}: ${} left, ${} of it held back for this, price of money {}\n",
            text(&budget["name"]),
            number(&budget["left"], 6),
            number(&budget["hold"], 6),
            number(&budget["price"], 2),
        )
    };
    budgets.as_array().into_iter().flatten().map(line).collect()
}

fn guard(guard: &Value) -> String {
    let said = match guard["ruling"].as_str() {
        Some("free") => "it might explore as it wished",
        Some("spent") => "exploring had cost its share, so the best known arm served",
        Some("careful") => "the promise made of the baseline was at stake, so nothing was explored",
        _ => return String::new(),
    };
    let tally = &guard["tally"];
    let lift = tally["lift"].as_f64().filter(|lift| *lift != 0.0);
    let kept = lift.map_or_else(String::new, |lift| {
        format!("quality to be kept: from now on a dollar counts {:.2} times what the caller says\n", (-lift).exp())
    });
    format!("exploring: {said} ({} of {} requests explored)\n{kept}", tally["explored"], tally["requests"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "?".to_owned(), |number| format!("{number:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_decision_is_told_in_words_and_the_unknown_is_a_question_mark() {
        let value = json!({
            "id": "0", "why": "`a` is the best by expectation",
            "decided": {
                "features": { "intent": { "name": "code", "probability": 0.9 }, "complexity": 0.25, "language": null,
                    "needs": { "prompt_tokens": 12 } },
                "arms": [{ "deployment": "a", "propensity": 0.9, "prediction": {
                    "quality": { "mean": 0.8, "sd": 0.1 }, "cost": null, "latency": null, "utility": 0.75 } }],
                "excluded": { "b": "unavailable", "c": { "lacks": "vision" } },
                "budgets": [{ "name": "team", "left": 0.25, "hold": 0.001, "price": 1.5 }],
                "guard": { "ruling": "spent", "tally": { "explored": 3, "requests": 40 } },
            },
            "completed": { "outcome": "served", "served": "a", "total_ms": 31.25, "overhead_ms": 1.5,
                "cost_usd": null, "scores": [{ "channel": "format", "score": 1.0 }] },
            "feedback": [{ "channel": "user", "score": 0.5 }],
        });
        insta::assert_snapshot!(past(&value));
    }

    #[test]
    fn nothing_known_is_said_without_panic() {
        assert_eq!(past(&json!({})), "nothing was chosen for it\nit has not ended yet\n");
        assert_eq!(planned(&json!({})), "?\nin this order: \n");
    }
}
