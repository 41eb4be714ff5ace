//! Other people's files as rows of the common form, one JSON object a line.
//!
//! Wide: CSV or Parquet with a `prompt` and a column a model (RouteLLM's evaluations; `RouterBench`'s table, with its
//! `MODEL|total_cost` columns). Long: JSON with an entry a prompt and model (`LLMRouterBench`'s result files, `RouterArena`'s
//! predictions). Pickles are not read: a pickle is a program, and reading one runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use parquet::file::reader::{ChunkReader, FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value, json};

use super::{hex, row_id};

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not CSV, Parquet or JSON.
    #[error("cannot be read: {0}")]
    Form(String),
    /// It has not the columns or fields that are needed.
    #[error("{0}")]
    Fields(String),
    /// The rows cannot be written.
    #[error("the rows cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows written.
    pub rows: usize,
    /// Models in every row.
    pub models: Vec<String>,
    /// Entries left out because a model's outcome was missing for the prompt, or the prompt was there already.
    pub left_out: usize,
}

type Rows = BTreeMap<String, (Option<String>, String, BTreeMap<String, Value>)>;

/// A score as these files write it: a number from 0 to 1, or True and False.
fn score(text: &str) -> Option<f64> {
    match text.trim() {
        "True" | "true" => Some(1.0),
        "False" | "false" => Some(0.0),
        number => number.parse().ok().filter(|x: &f64| (0.0..=1.0).contains(x)),
    }
}

/// Reads wide CSVs: `prompt`, perhaps `eval_name`, and a column a model. A column is a model's if every value is a score.
/// Each comes with the group of its rows, used where it has no `eval_name` (`RouteLLM`'s MMLU has a file a subject).
///
/// # Errors
/// [`ImportError`] if one is not CSV or has no `prompt`, or fewer than two models are in all of them.
pub fn wide_csv<R: Read>(
    set: &str,
    files: impl IntoIterator<Item = (Option<String>, R)>,
    into: &mut impl Write,
) -> Result<Imported, ImportError> {
    let (mut rows, mut repeated) = (Rows::new(), 0);
    for (group, reader) in files {
        repeated += one_csv(group.as_deref(), reader, &mut rows)?;
    }
    let mut imported = write(set, rows, into)?;
    imported.left_out += repeated;
    Ok(imported)
}

/// Reads wide Parquet files: the same columns as [`wide_csv`]. Pages are plain or packed by Snappy.
///
/// # Errors
/// As [`wide_csv`].
pub fn wide_parquet<R: ChunkReader + 'static>(
    set: &str,
    files: impl IntoIterator<Item = (Option<String>, R)>,
    into: &mut impl Write,
) -> Result<Imported, ImportError> {
    let (mut rows, mut repeated) = (Rows::new(), 0);
    let broken = |e: parquet::errors::ParquetError| ImportError::Form(e.to_string());
    for (group, file) in files {
        let reader = SerializedFileReader::new(file).map_err(broken)?;
        let mut wide = Wide { header: Vec::new(), records: Vec::new() };
        for row in reader.get_row_iter(None).map_err(broken)? {
            let row = row.map_err(broken)?;
            if wide.header.is_empty() {
                wide.header = row.get_column_iter().map(|(name, _)| name.clone()).collect();
            }
            wide.records.push(row.get_column_iter().map(|(_, field)| text_of(field)).collect());
        }
        repeated += wide.add(group.as_deref(), &mut rows)?;
    }
    let mut imported = write(set, rows, into)?;
    imported.left_out += repeated;
    Ok(imported)
}

/// A field as a CSV would have it.
fn text_of(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Adds the rows of a CSV; how many were there already.
fn one_csv(of_file: Option<&str>, reader: impl Read, rows: &mut Rows) -> Result<usize, ImportError> {
    let form = |e: csv::Error| ImportError::Form(e.to_string());
    let mut csv = csv::Reader::from_reader(reader);
    let texts = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
    let header = texts(csv.headers().map_err(form)?);
    let records =
        csv.records().map(|record| record.map(|record| texts(&record)).map_err(form)).collect::<Result<_, _>>()?;
    Wide { header, records }.add(of_file, rows)
}

/// A table of texts with a row a prompt.
struct Wide {
    header: Vec<String>,
    records: Vec<Vec<String>>,
}

impl Wide {
    /// Adds its rows to the others; how many were there already.
    fn add(&self, of_file: Option<&str>, rows: &mut Rows) -> Result<usize, ImportError> {
        let Self { header, records } = self;
        let prompt = header
            .iter()
            .position(|name| name == "prompt")
            .ok_or_else(|| ImportError::Fields(format!("expected a column `prompt`, found {}", header.join(", "))))?;
        let group = header.iter().position(|name| name == "eval_name");
        let models: Vec<usize> = (0..header.len())
            .filter(|column| *column != prompt && !header[*column].is_empty() && !header[*column].contains('|'))
            .filter(|column| !matches!(header[*column].as_str(), "sample_id" | "Unnamed: 0"))
            .filter(|column| !records.is_empty() && records.iter().all(|record| score(&record[*column]).is_some()))
            .collect();
        let cost = |model: usize| header.iter().position(|name| *name == format!("{}|total_cost", &header[model]));
        let costs: Vec<Option<usize>> = models.iter().map(|model| cost(*model)).collect();
        let mut repeated = 0;
        for record in records {
            let text = &record[prompt];
            let outcome = |(model, cost): (&usize, &Option<usize>)| {
                let usd = cost.and_then(|column| record[column].trim().parse::<f64>().ok());
                (header[*model].to_lowercase(), json!({ "score": score(&record[*model]), "cost_usd": usd }))
            };
            let outcomes = models.iter().zip(&costs).map(outcome).collect();
            let id = hex(&row_id(text));
            if let std::collections::btree_map::Entry::Vacant(e) = rows.entry(id) {
                let group = group.map(|column| record[column].as_str()).or(of_file);
                e.insert((group.map(str::to_owned), text.clone(), outcomes));
            } else {
                repeated += 1;
            }
        }
        Ok(repeated)
    }
}

/// Reads long JSON files: each an array of entries, or an object with `records` (and perhaps `model_name` and
/// `dataset_name` for all of them). An entry has `prompt` (or `origin_query`), a `model` (or `RouterArena`'s `prediction`)
/// unless the file names it, a `score` (or `accuracy`), and perhaps `cost`.
///
/// # Errors
/// [`ImportError`] if a file is not JSON, lacks a field, or fewer than two models share a prompt.
pub fn long_json<R: Read>(
    set: &str,
    readers: impl IntoIterator<Item = R>,
    into: &mut impl Write,
) -> Result<Imported, ImportError> {
    let mut rows = Rows::new();
    for reader in readers {
        let file: Value = serde_json::from_reader(reader).map_err(|e| ImportError::Form(e.to_string()))?;
        let nothing = Map::new();
        let head = file.as_object().unwrap_or(&nothing);
        let entries = file.as_array().or_else(|| head.get("records").and_then(Value::as_array));
        let entries =
            entries.ok_or_else(|| ImportError::Fields("expected an array, or an object with `records`".into()))?;
        for (i, entry) in entries.iter().enumerate() {
            let text = |names: &[&str]| {
                let of = |map: &Map<String, Value>| {
                    names.iter().find_map(|name| map.get(*name)?.as_str().map(str::to_owned))
                };
                entry.as_object().and_then(&of).or_else(|| of(head))
            };
            let missing = |name: &str| ImportError::Fields(format!("entry {i}: `{name}` is missing"));
            let number = |names: &[&str]| {
                names.iter().find_map(|name| match entry.get(name)? {
                    Value::Bool(right) => Some(f64::from(u8::from(*right))),
                    value => value.as_f64(),
                })
            };
            let prompt = text(&["origin_query", "prompt"]).ok_or_else(|| missing("prompt"))?;
            // In LLMRouterBench a record's `prediction` is the answer; in RouterArena, which names no model elsewhere, it
            // is the model that was picked.
            let model = text(&["model", "model_name"]).or_else(|| text(&["prediction"]));
            let model = model.ok_or_else(|| missing("model"))?;
            let score = number(&["score", "accuracy"]).ok_or_else(|| missing("score"))?;
            let usage = entry.pointer("/generated_result/token_usage");
            let tokens =
                |name: &str, in_usage: &str| entry.get(name).or_else(|| usage?.get(in_usage)).and_then(Value::as_i64);
            let outcome = json!({
                "score": score,
                "cost_usd": number(&["cost", "cost_usd"]),
                "tokens_in": tokens("prompt_tokens", "input_tokens"),
                "tokens_out": tokens("completion_tokens", "output_tokens"),
            });
            // RouterArena names the data set in front of a row's number: `ArcMMLU_655`.
            let numbered = || text(&["global index"])?.rsplit_once('_').map(|(set, _)| set.to_owned());
            let group = text(&["dataset_name", "dataset", "group"]).or_else(numbered);
            let row = rows.entry(hex(&row_id(&prompt))).or_insert_with(|| (group, prompt, BTreeMap::new()));
            row.2.insert(model.to_lowercase(), outcome);
        }
    }
    write(set, rows, into)
}

/// Writes the rows that have an outcome of every model.
fn write(set: &str, rows: Rows, into: &mut impl Write) -> Result<Imported, ImportError> {
    let models: BTreeSet<String> = rows.values().flat_map(|row| row.2.keys().cloned()).collect();
    if models.len() < 2 {
        let found: Vec<&str> = models.iter().map(String::as_str).collect();
        return Err(ImportError::Fields(format!(
            "expected scores (0 to 1, True or False) of two models or more, found {found:?}"
        )));
    }
    let mut imported = Imported { models: models.iter().cloned().collect(), ..Imported::default() };
    for (id, (group, prompt, outcomes)) in rows {
        if outcomes.len() < models.len() {
            imported.left_out += 1;
            continue;
        }
        let row = json!({ "id": id, "set": set, "group": group, "prompt": prompt, "outcomes": outcomes });
        writeln!(into, "{row}")?;
        imported.rows += 1;
    }
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::table::{Limits, read_rows};

    #[test]
    fn routellms_csv_becomes_rows_that_the_reader_takes() {
        use std::fmt::Write as _;
        let mut csv = "prompt,mistralai/Mixtral,gpt-4,note\n".to_owned();
        (0..12).for_each(|i| {
            writeln!(csv, "\"question {i}, please\",{},True,free text", ["True", "False"][i % 2]).expect("text");
        });
        let mut rows = Vec::new();
        let imported = wide_csv("gsm", [(None, csv.as_bytes())], &mut rows).expect("a wide table");
        assert_eq!((imported.rows, imported.models), (12, vec!["gpt-4".to_owned(), "mistralai/mixtral".to_owned()]));
        let intake = read_rows(rows.as_slice(), Limits::default()).expect("rows");
        assert_eq!((intake.found, intake.set.as_str()), (12, "gsm"));
        assert!(intake.left_out.is_empty());
    }

    #[test]
    fn routerbench_as_csv_keeps_its_costs_and_tasks() {
        let csv = "sample_id,prompt,eval_name,a,a|model_response,a|total_cost,b,b|model_response,b|total_cost\n\
                   1,hello,mmlu,1.0,x,0.002,0.5,y,0.0001\n";
        let mut rows = Vec::new();
        let other = "prompt,a,b\nbye,True,False\nhello,True,True\n";
        let files = [(None, csv.as_bytes()), (Some("law".to_owned()), other.as_bytes())];
        let imported = wide_csv("rb", files, &mut rows).expect("wide tables");
        assert_eq!((imported.rows, imported.left_out), (2, 1));
        let rows: Vec<Value> = rows.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        assert!(rows.iter().any(|row| row["group"] == "law" && row["prompt"] == "bye"));
        let row = rows.iter().find(|row| row["prompt"] == "hello").expect("the first of two");
        assert_eq!(row["group"], "mmlu");
        assert_eq!(row["outcomes"]["b"], json!({ "score": 0.5, "cost_usd": 0.0001 }));
    }

    #[test]
    fn the_same_table_as_parquet_gives_the_same_rows() {
        use std::sync::Arc;

        use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType};
        use parquet::file::properties::WriterProperties;
        use parquet::file::writer::SerializedFileWriter;
        use parquet::schema::parser::parse_message_type;

        let schema = "message schema { REQUIRED BINARY prompt (UTF8); REQUIRED BINARY eval_name (UTF8); REQUIRED DOUBLE a; \
                      OPTIONAL DOUBLE a|total_cost; REQUIRED BOOLEAN b; }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let mut bytes = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default())).expect("a writer");
        let mut group = writer.next_row_group().expect("a group");
        let texts = [["hello", "bye"], ["mmlu", "law"]].map(|column| column.map(ByteArray::from));
        for column in &texts {
            let mut into = group.next_column().expect("a column").expect("there is one");
            into.typed::<ByteArrayType>().write_batch(column, None, None).expect("texts");
            into.close().expect("closed");
        }
        let mut into = group.next_column().expect("a column").expect("there is one");
        into.typed::<DoubleType>().write_batch(&[1.0, 0.25], None, None).expect("scores");
        into.close().expect("closed");
        let mut into = group.next_column().expect("a column").expect("there is one");
        into.typed::<DoubleType>().write_batch(&[0.002], Some(&[1, 0]), None).expect("one known cost");
        into.close().expect("closed");
        let mut into = group.next_column().expect("a column").expect("there is one");
        into.typed::<BoolType>().write_batch(&[true, false], None, None).expect("scores");
        into.close().expect("closed");
        group.close().expect("closed");
        writer.close().expect("closed");

        let csv = "prompt,eval_name,a,a|total_cost,b\nhello,mmlu,1,0.002,True\nbye,law,0.25,,False\n";
        let (mut of_parquet, mut of_csv) = (Vec::new(), Vec::new());
        let imported = wide_parquet("rb", [(None, bytes::Bytes::from(bytes))], &mut of_parquet).expect("Parquet");
        assert_eq!(imported, wide_csv("rb", [(None, csv.as_bytes())], &mut of_csv).expect("CSV"));
        assert_eq!(String::from_utf8(of_parquet), String::from_utf8(of_csv));
        assert_eq!(imported.rows, 2);
        let broken = wide_parquet("rb", [(None, bytes::Bytes::from_static(b"PAR1, it says"))], &mut Vec::new());
        assert!(matches!(broken, Err(ImportError::Form(_))), "{broken:?}");
    }

    #[test]
    fn long_files_are_joined_by_prompt_and_halves_are_left_out() {
        let one = r#"{"model_name":"A","dataset_name":"d","records":[{"origin_query":"p","prompt":"Answer: p","prediction":"C","ground_truth":"C","score":1.0,"prompt_tokens":7,"completion_tokens":2,"cost":0.1},{"origin_query":"q","prediction":"B","score":0}]}"#;
        let two = r#"[{"global index":"d_0","prompt":"p","prediction":"b","generated_result":{"success":true,"token_usage":{"input_tokens":7,"output_tokens":5,"total_tokens":40}},"accuracy":0.5,"cost":0.2}]"#;
        let mut rows = Vec::new();
        let imported = long_json("lb", [one.as_bytes(), two.as_bytes()], &mut rows).expect("long files");
        assert_eq!((imported.rows, imported.left_out), (1, 1));
        let row: Value = serde_json::from_slice(&rows).expect("one row");
        assert_eq!((&row["group"], &row["outcomes"]["a"]["cost_usd"]), (&json!("d"), &json!(0.1)));
        assert_eq!((&row["outcomes"]["a"]["tokens_in"], &row["outcomes"]["b"]["score"]), (&json!(7), &json!(0.5)));
        assert_eq!(row["outcomes"]["b"]["tokens_out"], 5);
        let mut alone = Vec::new();
        long_json("ra", [two.as_bytes(), two.replace("\"b\"", "\"c\"").as_bytes()], &mut alone).expect("two routers");
        let row: Value = serde_json::from_slice(&alone).expect("one row");
        assert_eq!(row["group"], "d");
    }
}
