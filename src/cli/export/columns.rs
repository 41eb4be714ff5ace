//! Events as the rows of a Parquet file.
//!
//! One row an event, in the order of the ledger. `event` holds the whole event as JSON: from it, with `at`,
//! `pointsman import` makes the ledger again, to the last bit. The other columns repeat what reports ask for, so that
//! nobody has to read JSON for them; each is null where the event is of another kind or the fact is unknown: an
//! unknown cost is never 0. The file's key-value metadata holds `pointsman.form`, the number of this form; columns may
//! be added within a form, so a reader should ask for them by name.
//!
//! The writer is the crate's own for columns: no arrow. Rows are gathered and written a group at a time, so memory
//! does not grow with the ledger.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::FORM;
use crate::base::{DeploymentId, ModelId, Usd};
use crate::ledger::{ArmRecord, Entry, Event};

/// Events in a row group.
const GROUP: usize = 16_384;
/// The key of the form's number in the file's metadata.
pub(in crate::cli) const FORM_KEY: &str = "pointsman.form";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Text,
    Number,
    Whole,
    Time,
    /// Lists, one entry a candidate or a score.
    Texts,
    Numbers,
}

/// The columns: name, type, meaning. `offset`, `at`, `kind`, `decision`, `tenant` and `event` are never null.
const COLUMNS: [(&str, Of, &str); 34] = [
    ("offset", Of::Whole, "position in the ledger, from 1"),
    ("at", Of::Time, "when the event was appended, microseconds, UTC"),
    ("kind", Of::Text, "decided, completed or feedback"),
    ("decision", Of::Text, "the request; its events share it"),
    ("tenant", Of::Text, "whose request it is"),
    ("event", Of::Text, "the whole event as JSON"),
    ("asked", Of::Text, "decided: `model` as asked for"),
    ("mode", Of::Text, "decided: policy, single or pinned"),
    ("policy", Of::Text, "decided: the policy that chose, and its state"),
    ("model", Of::Text, "decided: the model drawn; completed: the model whose answer the client has"),
    ("deployment", Of::Text, "decided: the deployment drawn; completed: the one that served"),
    ("propensity", Of::Number, "decided: the probability the drawn one was drawn with"),
    ("arm_models", Of::Texts, "decided: the candidates' models"),
    ("arm_deployments", Of::Texts, "decided: the candidates' deployments"),
    ("arm_propensities", Of::Numbers, "decided: the probability of each; they sum to 1"),
    ("arm_qualities", Of::Numbers, "decided: the quality expected of each"),
    ("arm_costs", Of::Numbers, "decided: the US dollars expected of each; not a number where unknown"),
    ("schema", Of::Text, "decided: the feature map of the context"),
    ("context", Of::Numbers, "decided: what the policy saw of the prompt"),
    ("intent", Of::Text, "decided: what the prompt was taken to want"),
    ("complexity", Of::Number, "decided: expected difficulty, 0 to 1"),
    ("language", Of::Text, "decided: ISO 639-3"),
    ("prompt_tokens", Of::Whole, "decided: estimated; completed: reported"),
    ("completion_tokens", Of::Whole, "completed: reported"),
    ("outcome", Of::Text, "completed: how it ended, as JSON"),
    ("cache", Of::Text, "completed: where the answer came from"),
    ("attempts", Of::Whole, "completed: calls made for it"),
    ("cost_usd", Of::Number, "completed: what all calls cost"),
    ("first_token_ms", Of::Number, "completed: arrival to first content"),
    ("total_ms", Of::Number, "completed: arrival to end"),
    ("score_channels", Of::Texts, "completed: the evaluators that spoke; feedback: the channel"),
    ("scores", Of::Numbers, "their scores, 0 to 1"),
    ("trial", Of::Text, "decided: the version that was on trial"),
    ("trial_part", Of::Text, "decided: candidate, others or shadow"),
];

/// The columns in words, a line each.
pub(in crate::cli) fn in_words() -> String {
    let line = |(name, of, meaning): &(&str, Of, &str)| {
        let of = match of {
            Of::Text => "string",
            Of::Number => "double",
            Of::Whole => "int64",
            Of::Time => "timestamp[us, UTC]",
            Of::Texts => "list<string>",
            Of::Numbers => "list<double>",
        };
        format!("{name:<18}{of:<20}{meaning}\n")
    };
    format!("form {FORM}\n{}", COLUMNS.iter().map(line).collect::<String>())
}

fn schema() -> String {
    let field = |(name, of, _): &(&str, Of, &str)| match of {
        Of::Text => format!("optional binary {name} (STRING);"),
        Of::Number => format!("optional double {name};"),
        Of::Whole => format!("optional int64 {name};"),
        Of::Time => format!("optional int64 {name} (TIMESTAMP(MICROS,true));"),
        Of::Texts => {
            format!("optional group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}")
        }
        Of::Numbers => format!("optional group {name} (LIST) {{ repeated group list {{ required double element; }} }}"),
    };
    format!("message events {{ {} }}", COLUMNS.iter().map(field).collect::<String>())
}

/// One value of one row.
enum Value {
    Text(String),
    Number(f64),
    Whole(i64),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
}

/// The gathered values of one column, with the levels that say where there are none.
#[derive(Default)]
struct Gathered {
    texts: Vec<ByteArray>,
    numbers: Vec<f64>,
    wholes: Vec<i64>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Gathered {
    fn add(&mut self, of: Of, value: Option<Value>) {
        let list = matches!(of, Of::Texts | Of::Numbers);
        let count = match &value {
            Some(Value::Texts(texts)) => texts.len(),
            Some(Value::Numbers(numbers)) => numbers.len(),
            Some(_) => 1,
            None => 0,
        };
        match (&value, list) {
            (None, _) => self.level(0, 0),
            // A list that is there and empty.
            (Some(_), true) if count == 0 => self.level(1, 0),
            (Some(_), true) => (0..count).for_each(|at| self.level(2, i16::from(at > 0))),
            (Some(_), false) => self.level(1, 0),
        }
        let bytes = |text: String| ByteArray::from(text.into_bytes());
        match value {
            Some(Value::Text(text)) => self.texts.push(bytes(text)),
            Some(Value::Texts(texts)) => self.texts.extend(texts.into_iter().map(bytes)),
            Some(Value::Number(number)) => self.numbers.push(number),
            Some(Value::Numbers(numbers)) => self.numbers.extend(numbers),
            Some(Value::Whole(whole)) => self.wholes.push(whole),
            None => {}
        }
    }

    fn level(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = (Some(&self.definitions[..]), Some(&self.repetitions[..]));
        match writer {
            ColumnWriter::ByteArrayColumnWriter(writer) => writer.write_batch(&self.texts, levels.0, levels.1),
            ColumnWriter::DoubleColumnWriter(writer) => writer.write_batch(&self.numbers, levels.0, levels.1),
            ColumnWriter::Int64ColumnWriter(writer) => writer.write_batch(&self.wholes, levels.0, levels.1),
            _ => Err(ParquetError::General("a column of a type that the schema does not name".to_owned())),
        }?;
        Ok(())
    }
}

/// A Parquet file under way.
pub(super) struct Columns<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    gathered: Vec<Gathered>,
    rows: usize,
}

impl<W: Write + Send> Columns<W> {
    pub(super) fn new(out: W) -> Result<Self, ParquetError> {
        let form = KeyValue::new(FORM_KEY.to_owned(), FORM.to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("pointsman {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(vec![form]))
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(parse_message_type(&schema())?), Arc::new(properties))?;
        Ok(Self { writer, gathered: Self::empty(), rows: 0 })
    }

    fn empty() -> Vec<Gathered> {
        COLUMNS.iter().map(|_| Gathered::default()).collect()
    }

    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), ParquetError> {
        let mut row = Row::of(entry).map_err(|error| ParquetError::General(error.to_string()))?;
        for ((name, of, _), gathered) in COLUMNS.iter().zip(&mut self.gathered) {
            gathered.add(*of, row.take(name));
        }
        debug_assert!(row.0.is_empty(), "a value without a column");
        self.rows += 1;
        if self.rows == GROUP { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let gathered = std::mem::replace(&mut self.gathered, Self::empty());
        self.rows = 0;
        let mut group = self.writer.next_row_group()?;
        for column in gathered {
            if let Some(mut writer) = group.next_column()? {
                column.write(writer.untyped())?;
                writer.close()?;
            }
        }
        group.close()?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), ParquetError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.into_inner()?.flush()?;
        Ok(())
    }
}

/// The values of one event, by column.
struct Row(Vec<(&'static str, Value)>);

impl Row {
    fn of(entry: &Entry) -> serde_json::Result<Self> {
        let mut row = Self(Vec::with_capacity(24));
        row.put("offset", Value::Whole(entry.offset.cast_signed()));
        row.put("at", Value::Whole(entry.at.0.cast_signed()));
        row.text("kind", Some(entry.event.kind()));
        row.text("decision", Some(entry.event.decision().to_string()));
        row.text("event", Some(serde_json::to_string(&entry.event)?));
        match &entry.event {
            Event::Decided(event) => {
                let arms = |of: fn(&ArmRecord) -> f64| Value::Numbers(event.arms.iter().map(of).collect());
                let names = |of: fn(&ArmRecord) -> &str| {
                    Value::Texts(event.arms.iter().map(|arm| of(arm).to_owned()).collect())
                };
                row.text("tenant", Some(event.tenant.as_str()));
                row.text("asked", Some(event.asked.as_str()));
                row.text("mode", name_of(&event.mode)?);
                row.text("policy", Some(event.policy.as_str()));
                row.text("model", event.arm().map(|arm| arm.model.as_str()));
                row.text("deployment", event.arm().map(|arm| arm.deployment.as_str()));
                row.number("propensity", event.arm().map(|arm| arm.propensity));
                row.put("arm_models", names(|arm| arm.model.as_str()));
                row.put("arm_deployments", names(|arm| arm.deployment.as_str()));
                row.put("arm_propensities", arms(|arm| arm.propensity));
                row.put("arm_qualities", arms(|arm| arm.prediction.quality.mean));
                row.put("arm_costs", arms(|arm| arm.prediction.cost.map_or(f64::NAN, |cost| cost.mean)));
                row.text("schema", Some(event.features.context.schema.as_str()));
                row.put("context", Value::Numbers(event.features.context.x.iter().map(|x| f64::from(*x)).collect()));
                row.text("intent", event.features.intent.as_ref().map(|intent| intent.name.as_str()));
                row.number("complexity", event.features.complexity);
                row.text("language", event.features.language.as_deref());
                row.put("prompt_tokens", Value::Whole(i64::from(event.features.needs.prompt_tokens)));
                row.text("trial", event.trial.as_ref().map(|trial| trial.version.as_str()));
                if let Some(trial) = &event.trial {
                    row.text("trial_part", name_of(&trial.part)?);
                }
            }
            Event::Completed(event) => {
                let tokens = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok()).map(Value::Whole);
                row.text("tenant", Some(event.tenant.as_str()));
                row.text("model", event.model.as_ref().map(ModelId::as_str));
                row.text("deployment", event.served.as_ref().map(DeploymentId::as_str));
                row.put_some("prompt_tokens", tokens(event.usage.and_then(|usage| usage.prompt_tokens)));
                row.put_some("completion_tokens", tokens(event.usage.and_then(|usage| usage.completion_tokens)));
                row.text("outcome", Some(serde_json::to_string(&event.outcome)?));
                row.text("cache", name_of(&event.cache)?);
                row.put("attempts", Value::Whole(i64::try_from(event.attempts.len()).unwrap_or(i64::MAX)));
                row.number("cost_usd", event.cost_usd.map(Usd::get));
                row.number("first_token_ms", event.first_token_ms);
                row.number("total_ms", Some(event.total_ms));
                let channels = event.scores.iter().map(|score| score.channel.clone());
                row.put("score_channels", Value::Texts(channels.collect()));
                row.put("scores", Value::Numbers(event.scores.iter().map(|score| score.score.get()).collect()));
            }
            Event::Feedback(event) => {
                row.text("tenant", Some(event.tenant.as_str()));
                if let Some(score) = event.score {
                    row.put("score_channels", Value::Texts(vec![event.channel.clone()]));
                    row.put("scores", Value::Numbers(vec![score.get()]));
                }
            }
        }
        Ok(row)
    }

    fn put(&mut self, column: &'static str, value: Value) {
        self.0.push((column, value));
    }

    fn put_some(&mut self, column: &'static str, value: Option<Value>) {
        self.0.extend(value.map(|value| (column, value)));
    }

    fn text(&mut self, column: &'static str, text: Option<impl Into<String>>) {
        self.put_some(column, text.map(|text| Value::Text(text.into())));
    }

    fn number(&mut self, column: &'static str, number: Option<f64>) {
        self.put_some(column, number.map(Value::Number));
    }

    fn take(&mut self, column: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| *name == column)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// The word that stands for a value in JSON; the JSON itself where that is no plain word.
fn name_of(value: &impl serde::Serialize) -> serde_json::Result<Option<String>> {
    Ok(match serde_json::to_value(value)? {
        serde_json::Value::String(name) => Some(name),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    })
}
