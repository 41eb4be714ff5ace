//! The words of a simulated answer, in whatever form the request asks for.

use serde_json::{Map, Value, json};

/// What the answer consists of.
pub(super) enum Content {
    /// Text.
    Text(String),
    /// A tool call: the function's name and its arguments as JSON text.
    Call(String, String),
}

/// The answer to this request: a tool call where one is demanded or the prompt names the tool, JSON where JSON is
/// asked for, else text. It says that it is simulated wherever the form leaves room for it.
pub(super) fn content(request: &Value, model: &str, prompt: &str, tokens: u64) -> Content {
    if let Some((name, parameters)) = tool(request, prompt) {
        return Content::Call(name, example(&parameters).to_string());
    }
    match request.pointer("/response_format/type").and_then(Value::as_str) {
        Some("json_schema") => {
            let schema = request.pointer("/response_format/json_schema/schema").cloned().unwrap_or_default();
            Content::Text(example(&schema).to_string())
        }
        Some("json_object") => Content::Text(json!({ "simulated": true, "model": model }).to_string()),
        _ => Content::Text(text(model, tokens)),
    }
}

fn text(model: &str, tokens: u64) -> String {
    const FILLER: [&str; 12] =
        ["the", "points", "are", "set", "and", "every", "train", "finds", "its", "own", "quiet", "line"];
    let mut text = format!("[Simulated answer of {model}; no model was asked.]");
    let words = tokens.saturating_sub(12) as usize;
    for word in FILLER.iter().cycle().take(words) {
        text.push(' ');
        text.push_str(word);
    }
    text
}

/// The tool to call, if one is to be called: its name and the schema of its arguments.
fn tool(request: &Value, prompt: &str) -> Option<(String, Value)> {
    // After a tool's result comes an answer in words.
    if request.pointer("/messages")?.as_array()?.last()?.get("role")?.as_str()? == "tool" {
        return None;
    }
    let tools = request.get("tools")?.as_array()?;
    let choice = request.get("tool_choice");
    let named = choice.and_then(|choice| choice.pointer("/function/name")).and_then(Value::as_str);
    let function = match (choice.and_then(Value::as_str), named) {
        (Some("none"), _) => None,
        (_, Some(name)) => {
            tools.iter().find(|tool| tool.pointer("/function/name").and_then(Value::as_str) == Some(name))
        }
        (Some("required"), _) => tools.first(),
        _ => tools.iter().find(|tool| mentions(prompt, tool)),
    }?
    .get("function")?;
    Some((function.get("name")?.as_str()?.to_owned(), function.get("parameters").cloned().unwrap_or_default()))
}

/// Whether the prompt holds a word of the tool's name, as "weather" does of `get_weather`.
fn mentions(prompt: &str, tool: &Value) -> bool {
    let name = tool.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
    let prompt = prompt.to_lowercase();
    name.to_lowercase().split(['_', '-', '.']).any(|word| word.len() > 3 && prompt.contains(word))
}

/// A value that satisfies the plain parts of a JSON schema: types, properties, items, enumerations, bounds.
fn example(schema: &Value) -> Value {
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => json!("simulated"),
        Some("integer") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("number") => schema.get("minimum").cloned().unwrap_or(json!(1.0)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let item = schema.get("items").map(example);
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1) as usize;
            Value::Array(item.into_iter().cycle().take(least.min(16)).collect())
        }
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            Value::Object(properties.map_or_else(Map::new, |properties| {
                properties.iter().map(|(name, schema)| (name.clone(), example(schema))).collect()
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(request: &Value, prompt: &str) -> String {
        match content(request, "sim/x", prompt, 40) {
            Content::Text(text) => text,
            Content::Call(name, arguments) => format!("{name}({arguments})"),
        }
    }

    #[test]
    fn text_says_that_it_is_simulated() {
        assert!(words(&json!({}), "hello").starts_with("[Simulated answer of sim/x; no model was asked.]"));
    }

    #[test]
    fn a_schema_is_satisfied() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "age": { "type": "integer", "minimum": 18 },
                "tags": { "type": "array", "items": { "enum": ["a", "b"] }, "minItems": 2 },
                "more": { "type": ["object", "null"], "properties": { "ok": { "type": "boolean" } } },
            },
            "required": ["name", "age", "tags", "more"],
            "additionalProperties": false,
        });
        let request = json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": schema } } });
        let value: Value = serde_json::from_str(&words(&request, "")).expect("is JSON");
        assert!(jsonschema::is_valid(&schema, &value), "{value}");
    }

    #[test]
    fn a_tool_is_called_when_demanded_or_named_and_not_after_its_result() {
        let tools = json!([{ "type": "function", "function": {
            "name": "get_weather",
            "parameters": { "type": "object", "properties": { "city": { "type": "string" } } },
        } }]);
        let user = json!([{ "role": "user", "content": "?" }]);
        let call = r#"get_weather({"city":"simulated"})"#;
        assert_eq!(words(&json!({ "messages": user, "tools": tools }), "What is the weather like?"), call);
        assert_eq!(words(&json!({ "messages": user, "tools": tools, "tool_choice": "required" }), "Hi"), call);
        assert!(words(&json!({ "messages": user, "tools": tools }), "Hi").starts_with('['));
        assert!(words(&json!({ "messages": user, "tools": tools, "tool_choice": "none" }), "weather").starts_with('['));
        let after = json!([{ "role": "tool", "content": "sunny" }]);
        assert!(words(&json!({ "messages": after, "tools": tools }), "weather").starts_with('['));
    }
}
