//! The ledger on disk: one SQLite file in write-ahead mode.
//!
//! One table of events in the order they were committed. The thread of `writer` owns the only connection that
//! writes; readers have connections of their own, so that a long report never holds up a commit nor the other
//! way round. A lock file keeps a second process out: two writers would each believe they know the last
//! position. Stored are the events and nothing else: no key, no prompt, no answer.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rayon::prelude::*;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row as Stored, params};
use serde::de::DeserializeOwned;

use super::writer::{self, Queue, Row, Store};
use super::{Config, Durability, Entry, Event, Ledger, LedgerError, Offset, Pending};
use crate::base::{DecisionId, Timestamp};

/// The form of the tables below; stands in the file's header.
const FORM: i64 = 1;
/// Marks the file as ours: `PTSM`.
const APPLICATION: i64 = 0x5054_534D;
/// Pages of write-ahead log after which it is moved into the file (16 MB).
const CHECKPOINT_PAGES: u32 = 4_000;
/// Events from which on parsing is shared among the cores.
const WORTH_SHARING: usize = 256;
/// Idle reading connections kept open.
const IDLE_READERS: usize = 4;

const TABLES: &str = "
    CREATE TABLE events (
        offset   INTEGER PRIMARY KEY,
        at       INTEGER NOT NULL,
        kind     TEXT    NOT NULL,
        decision BLOB    NOT NULL,
        response TEXT,
        body     TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX events_of_decision ON events (decision);
    CREATE INDEX events_of_response ON events (response) WHERE response IS NOT NULL;
";

/// Events in one SQLite file. Dropping it writes what is still queued and waits for that.
#[derive(Debug)]
pub struct SqliteLedger {
    file: PathBuf,
    queue: Arc<Queue>,
    readers: Mutex<Vec<Connection>>,
    writer: Option<std::thread::JoinHandle<()>>,
    /// Held as long as the ledger is open for writing; the system lets go of it when the process dies.
    _lock: Option<File>,
}

impl SqliteLedger {
    /// Opens the ledger in this folder, or begins one; makes the folder if it is missing.
    ///
    /// # Errors
    /// If the folder cannot be written or is in use, if the file is of another form, or if SQLite fails.
    pub fn open(folder: &Path, config: &Config) -> Result<Self, LedgerError> {
        let lock = lock(folder)?;
        let file = folder.join("ledger.sqlite");
        let connection = open_for_writing(&file, config.durability)?;
        let last = last_offset(&connection)?;
        let queue = Arc::new(Queue::new(config, last));
        let window = config.window;
        let shared = Arc::clone(&queue);
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer::run(&shared, SqliteStore { connection }, window))
            .map_err(|error| LedgerError::Store(error.into()))?;
        Ok(Self { file, queue, readers: Mutex::default(), writer: Some(writer), _lock: Some(lock) })
    }

    /// Opens the ledger of this folder for reading alone, also while another process writes it: what was
    /// committed by now can be read, nothing can be appended.
    ///
    /// # Errors
    /// If there is none, or it is of another form.
    pub fn open_to_read(folder: &Path) -> Result<Self, LedgerError> {
        let file = folder.join("ledger.sqlite");
        if !file.is_file() {
            let reason = "there is no ledger.sqlite in it".to_owned();
            return Err(LedgerError::Folder { folder: folder.to_owned(), reason });
        }
        let connection = open_for_reading(&file)?;
        check_form(&connection, &file)?;
        let queue = Arc::new(Queue::new(&Config::default(), last_offset(&connection)?));
        queue.close();
        Ok(Self { file, queue, readers: Mutex::new(vec![connection]), writer: None, _lock: None })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let idle = self.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_for_reading(&self.file)?,
        };
        let result = read(&connection);
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        result
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so itself.
            let _ = writer.join();
        }
    }
}

impl Ledger for SqliteLedger {
    fn append(&self, at: Timestamp, event: Event) -> bool {
        self.queue.append(at, event)
    }

    fn append_durable(&self, at: Timestamp, event: Event) -> Pending<'_, Offset> {
        let told = self.queue.append_durable(at, event);
        Box::pin(async move { told?.await.map_err(|_| LedgerError::Busy)? })
    }

    fn flush(&self) -> Pending<'_, Offset> {
        let told = self.queue.flush();
        Box::pin(async move { told?.await.map_err(|_| LedgerError::Busy)? })
    }

    fn shed(&self) -> u64 {
        self.queue.shed()
    }

    fn last(&self) -> Offset {
        self.queue.last()
    }

    fn wait_beyond(&self, offset: Offset) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(super::beyond(self.queue.watch(), offset))
    }

    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT offset, at, kind, body FROM events WHERE offset > ? ORDER BY offset LIMIT ?")?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![signed(after), limit])?;
            let mut read = Vec::new();
            while let Some(row) = rows.next()? {
                read.push(Read::of(row)?);
            }
            drop(rows);
            // Making sense of JSON is most of the work of a long pass.
            let parsed: Vec<Result<Entry, LedgerError>> = if read.len() < WORTH_SHARING {
                read.into_iter().map(Read::parse).collect()
            } else {
                read.into_par_iter().with_min_len(WORTH_SHARING / 4).map(Read::parse).collect()
            };
            let mut entries = Vec::with_capacity(parsed.len());
            for entry in parsed {
                match entry {
                    Ok(entry) => entries.push(entry),
                    Err(error) if entries.is_empty() => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(entries)
        })
    }

    fn of_decision(&self, id: DecisionId) -> Result<Vec<Entry>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT offset, at, kind, body FROM events WHERE decision = ? ORDER BY offset")?;
            let mut rows = statement.query(params![id.0.as_bytes()])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                match Read::of(row)?.parse() {
                    Ok(entry) => entries.push(entry),
                    Err(error @ LedgerError::Corrupt { .. }) => {
                        tracing::warn!(decision = %id, %error, "left out of what is known of this decision");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(entries)
        })
    }

    fn decision_of_response(&self, response_id: &str) -> Result<Option<DecisionId>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT decision FROM events WHERE response = ? ORDER BY offset DESC LIMIT 1")?;
            let found = statement.query_row([response_id], |row| row.get::<_, [u8; 16]>(0)).optional()?;
            Ok(found.map(|bytes| DecisionId(uuid::Uuid::from_bytes(bytes))))
        })
    }
}

/// The writing connection.
struct SqliteStore {
    connection: Connection,
}

impl Store for SqliteStore {
    fn commit(&mut self, rows: &[Row]) -> Result<(), LedgerError> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO events (offset, at, kind, decision, response, body) VALUES (?, ?, ?, ?, ?, ?)",
            )?;
            for row in rows {
                let Row { offset, at, kind, decision, response, body } = row;
                insert.execute(params![signed(*offset), signed(at.0), kind, decision, response, body])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn last(&mut self) -> Result<Offset, LedgerError> {
        last_offset(&self.connection)
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

fn lock(folder: &Path) -> Result<File, LedgerError> {
    let refuse = |error: std::io::Error| LedgerError::Folder { folder: folder.to_owned(), reason: error.to_string() };
    std::fs::create_dir_all(folder).map_err(refuse)?;
    let file =
        OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("ledger.lock")).map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::Locked { folder: folder.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(refuse(error)),
    }
}

fn open_for_writing(file: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_millis(100))?;
    let empty: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if !empty {
        check_form(&connection, file)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::Normal => "NORMAL",
        Durability::Full => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    if empty {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORM)?;
        transaction.commit()?;
    }
    Ok(connection)
}

fn check_form(connection: &Connection, file: &Path) -> Result<(), LedgerError> {
    let form: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if (application, form) == (APPLICATION, FORM) {
        return Ok(());
    }
    Err(LedgerError::Form { file: file.to_owned(), found: form, known: FORM })
}

fn open_for_reading(file: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

fn last_offset(connection: &Connection) -> Result<Offset, LedgerError> {
    let last: Option<i64> = connection.query_row("SELECT max(offset) FROM events", [], |row| row.get(0))?;
    Ok(last.map_or(0, unsigned))
}

/// A row as it is stored.
struct Read {
    offset: Offset,
    at: Timestamp,
    kind: Value,
    body: Value,
}

impl Read {
    fn of(row: &Stored<'_>) -> Result<Self, LedgerError> {
        Ok(Self {
            offset: unsigned(row.get(0)?),
            at: Timestamp(unsigned(row.get(1)?)),
            kind: row.get(2)?,
            body: row.get(3)?,
        })
    }

    fn parse(self) -> Result<Entry, LedgerError> {
        let Self { offset, at, kind, body } = self;
        let corrupt = |reason: String| LedgerError::Corrupt { offset, reason };
        let (Value::Text(kind), Value::Text(body)) = (kind, body) else {
            return Err(corrupt("its kind or its body is no text".to_owned()));
        };
        // By the column, not by the tag inside: a tagged reading would round each number twice.
        let event = match kind.as_str() {
            "decided" => parse(&body).map(Event::Decided),
            "completed" => parse(&body).map(Event::Completed),
            "feedback" => parse(&body).map(Event::Feedback),
            other => return Err(corrupt(format!("its kind is {other:?}; expected decided, completed or feedback"))),
        };
        let event = event.map_err(|error| corrupt(error.to_string()))?;
        Ok(Entry { offset, at, event })
    }
}

fn parse<T: DeserializeOwned>(body: &str) -> Result<Box<T>, serde_json::Error> {
    serde_json::from_str(body).map(Box::new)
}

/// SQLite's integers are signed; the bits are kept.
const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

const fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}
