//! `pointsman export`: the ledger as lines of JSON.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Data, Failure};
use crate::base::Timestamp;
use crate::ledger::{Event, Ledger, LedgerError, Offset, SqliteLedger};

/// The form of a line; a field may be added without a new one.
pub(super) const FORM: u32 = 1;
/// Events read at a time.
const STRIDE: usize = 1024;

/// Write the logged decisions, outcomes and feedback as lines of JSON, also while the endpoint is serving.
///
/// A line is {"form": 1, "offset": ..., "at": microseconds since 1970, "event": {"kind": "decided" | "completed" |
/// "feedback", ...}}; events of one request share its decision id (`id`, in feedback `decision`). There is no
/// prompt and no answer in it. With --output the file appears whole or not at all.
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
}

#[derive(Serialize)]
struct Line<'a> {
    form: u32,
    offset: Offset,
    at: Timestamp,
    event: &'a Event,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let ledger = SqliteLedger::open_to_read(&args.data.folder()?).map_err(Failure::failed)?;
    let Some(file) = &args.output else { return write(&ledger, args.after, stdout().lock()) };
    let beside = PathBuf::from(format!("{}.writing", file.display()));
    let failed = |error: std::io::Error| Failure::failed(format!("{} cannot be written: {error}", file.display()));
    write(&ledger, args.after, File::create(&beside).map_err(failed)?)?;
    into_place(&beside, file).map_err(failed)
}

fn into_place(beside: &Path, file: &Path) -> std::io::Result<()> {
    File::open(beside)?.sync_all()?;
    std::fs::rename(beside, file)
}

fn write(ledger: &dyn Ledger, mut after: Offset, out: impl Write) -> Result<(), Failure> {
    let mut out = BufWriter::new(out);
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
        let Some(last) = entries.last() else { break };
        after = last.offset;
        for entry in &entries {
            let line = Line { form: FORM, offset: entry.offset, at: entry.at, event: &entry.event };
            let written = serde_json::to_writer(&mut out, &line).map_err(std::io::Error::from);
            match written.and_then(|()| out.write_all(b"\n")) {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                result => result.map_err(Failure::failed)?,
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::failed),
    }
}
