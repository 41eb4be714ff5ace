//! `pointsman export`: the ledger as lines of JSON, or as one Parquet file.

pub(super) mod columns;

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::columns::Columns;
use super::{Data, Failure};
use crate::base::Timestamp;
use crate::ledger::{Entry, Event, Ledger, LedgerError, Offset, SqliteLedger};

/// The form of a line, and of a Parquet file's columns; a field or a column may be added without a new one.
pub(super) const FORM: u32 = 1;
/// Events read at a time.
const STRIDE: usize = 1024;

/// Write the logged decisions, outcomes and feedback as lines of JSON or as a Parquet file, also while the endpoint is
/// serving.
///
/// A line is {"form": 1, "offset": ..., "at": microseconds since 1970, "event": {"kind": "decided" | "completed" |
/// "feedback", ...}}; events of one request share its decision id (`id`, in feedback `decision`). A row of a Parquet
/// file is one event too: the column `event` holds the whole of it as JSON, the others what reports ask for most;
/// --columns lists them. There is no prompt and no answer in either. `pointsman import` takes both back. With --output
/// the file appears whole or not at all.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Only what stands after this position in the ledger.
    #[arg(long, default_value_t = 0, value_name = "OFFSET")]
    after: Offset,
    /// Write to this file instead of the standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format; else Parquet if the file's name ends in `.parquet`, lines of JSON if not.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// List the columns of a Parquet file, with what they hold, and end.
    #[arg(long)]
    columns: bool,
}

/// What the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Lines of JSON.
    Jsonl,
    /// Apache Parquet, its columns compressed by Snappy.
    Parquet,
}

#[derive(Serialize)]
struct Line<'a> {
    form: u32,
    offset: Offset,
    at: Timestamp,
    event: &'a Event,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.columns {
        print!("{}", columns::in_words());
        return Ok(());
    }
    let named = args.output.as_ref().is_some_and(|file| file.extension().is_some_and(|ending| ending == "parquet"));
    let format = args.format.unwrap_or(if named { Format::Parquet } else { Format::Jsonl });
    let ledger = SqliteLedger::open_to_read(&args.data.folder()?).map_err(Failure::failed)?;
    let Some(file) = &args.output else {
        if format == Format::Parquet {
            return Err(Failure::Usage("a Parquet file needs a place: name it with --output".to_owned()));
        }
        return lines(&ledger, args.after, stdout().lock());
    };
    let beside = PathBuf::from(format!("{}.writing", file.display()));
    let failed = |error: std::io::Error| Failure::failed(format!("{} cannot be written: {error}", file.display()));
    let begun = File::create(&beside).map_err(failed)?;
    let written = match format {
        Format::Jsonl => lines(&ledger, args.after, begun),
        Format::Parquet => table(&ledger, args.after, begun),
    };
    match written {
        Ok(()) => into_place(&beside, file).map_err(failed),
        Err(failure) => {
            // What is half written is nobody's; that it may be left behind is no second failure.
            let _ = std::fs::remove_file(&beside);
            Err(failure)
        }
    }
}

/// Synced, and renamed: whoever looks sees the old file or the whole new one.
fn into_place(beside: &Path, file: &Path) -> std::io::Result<()> {
    File::open(beside)?.sync_all()?;
    std::fs::rename(beside, file)
}

/// All events after a position, a batch at a time. One that cannot be read is left out, with a warning.
fn each(
    ledger: &dyn Ledger,
    mut after: Offset,
    mut with: impl FnMut(&[Entry]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let entries = match ledger.scan(after, STRIDE) {
            Ok(entries) => entries,
            Err(error @ LedgerError::Corrupt { offset, .. }) => {
                tracing::warn!(%error, "left out");
                after = offset;
                continue;
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.offset;
        with(&entries)?;
    }
}

fn lines(ledger: &dyn Ledger, after: Offset, out: impl Write) -> Result<(), Failure> {
    let mut out = BufWriter::new(out);
    let mut write = |entries: &[Entry]| {
        entries.iter().try_for_each(|entry| {
            let line = Line { form: FORM, offset: entry.offset, at: entry.at, event: &entry.event };
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")
        })
    };
    let mut closed = false;
    each(ledger, after, |entries| match write(entries) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            closed = true;
            Err(Failure::failed(error))
        }
        result => result.map_err(Failure::failed),
    })
    .or_else(|failure| if closed { Ok(()) } else { Err(failure) })?;
    match out.flush() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::failed),
    }
}

fn table(ledger: &dyn Ledger, after: Offset, out: File) -> Result<(), Failure> {
    let mut columns = Columns::new(BufWriter::new(out)).map_err(Failure::failed)?;
    each(ledger, after, |entries| entries.iter().try_for_each(|entry| columns.add(entry)).map_err(Failure::failed))?;
    columns.finish().map_err(Failure::failed)
}
