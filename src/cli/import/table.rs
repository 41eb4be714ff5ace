//! The events of a Parquet file that `pointsman export` wrote.

use std::fs::File;
use std::io::{Read, Seek};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use parquet::schema::types::Type;

use super::own;
use crate::base::Timestamp;
use crate::cli::Failure;
use crate::cli::export::FORM;
use crate::cli::export::columns::FORM_KEY;
use crate::ledger::Event;

/// The columns that hold an event whole.
const NEEDED: [&str; 2] = ["at", "event"];

/// Whether the file begins as Parquet files do.
pub(super) fn is_one(file: &mut File) -> std::io::Result<bool> {
    let mut first = [0; 4];
    let read = file.read(&mut first)?;
    file.rewind()?;
    Ok(&first[..read] == b"PAR1")
}

/// Every row: when it was appended and what happened, or why it cannot be read.
pub(super) fn rows(file: File) -> Result<impl Iterator<Item = Result<(Timestamp, Event), String>>, Failure> {
    let wrong = |reason: String| Failure::failed(format!("this Parquet file cannot be read: {reason}"));
    let reader = SerializedFileReader::new(file).map_err(|error| wrong(error.to_string()))?;
    let metadata = reader.metadata().file_metadata();
    let form = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == FORM_KEY);
    match form.and_then(|pair| pair.value.as_deref()) {
        Some(form) if form == FORM.to_string() => {}
        Some(form) => return Err(wrong(format!("it has form {form}, this version reads {FORM}"))),
        None => {
            return Err(wrong(format!("its metadata has no `{FORM_KEY}`; expected a file of `pointsman export`")));
        }
    }
    let root = metadata.schema_descr().root_schema();
    let mut fields = Vec::new();
    for name in NEEDED {
        let field = root.get_fields().iter().find(|field| field.name() == name);
        fields.push(field.cloned().ok_or_else(|| wrong(format!("it has no column `{name}`")))?);
    }
    let projection = Type::group_type_builder(root.name()).with_fields(fields).build();
    let projection = projection.map_err(|error| wrong(error.to_string()))?;
    let rows = reader.into_iter().project(Some(projection)).map_err(|error| wrong(error.to_string()))?;
    Ok(rows.map(|row| {
        let row = row.map_err(|error| error.to_string())?;
        let at = row.get_timestamp_micros(0).map_err(|error| error.to_string())?;
        let event = row.get_string(1).map_err(|error| error.to_string())?;
        let event = own(event).map_err(|error| format!("its event cannot be read: {error}"))?;
        Ok((Timestamp(at.cast_unsigned()), event))
    }))
}
