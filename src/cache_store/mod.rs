//! The cache on disk: one SQLite file in the data folder, sealed by the operator's key.
//!
//! Changes are handed to one thread, which commits them in groups; nobody waits for it but those who want something
//! forgotten, who are told when it is. What a `kill -9` can cost is the last group: answers that will be asked for
//! again, and a few verdicts. Nothing half-written can come back: a group is committed or not, and a row that is
//! damaged does not open. An answer's row goes when the answer goes, and when a tenant has everything forgotten all
//! its rows go at once.
//!
//! What was learned is not kept as it stands but as the verdicts it was learned from, in order: at the start they are
//! learned again. Of one namespace the newest [`LABELS_KEPT`] are kept; an older one has no weight any more.

mod row;
mod seal;

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::base::{Secret, TenantId, Timestamp};
use crate::cache::semantic::space::Label;
use crate::cache::{Change, Contents, Keeper, Key, Place};
use seal::Seal;

/// The form of the tables below; stands in the file's header.
const FORM: i64 = 1;
/// Marks the file as ours: `PTSC`.
const APPLICATION: i64 = 0x5054_5343;
/// How long a change may wait for others to share its commit.
const WINDOW: Duration = Duration::from_millis(20);
/// Answers that may wait for the thread; what comes beyond is kept in memory alone.
const QUEUE: usize = 16_384;
/// After a commit that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Tries to commit when the process ends.
const LAST_TRIES: usize = 4;
/// Verdicts of one namespace that are kept. The rate of learning never falls under .002, so that what is older has a
/// weight under e^-40.
pub const LABELS_KEPT: u32 = 20_000;
/// What the seal is proven by.
const PROOF: &[u8] = b"pointsman cache";

const TABLES: &str = "
    CREATE TABLE answers (
        key    BLOB PRIMARY KEY,
        tenant TEXT    NOT NULL,
        made   INTEGER NOT NULL,
        answer BLOB    NOT NULL,
        prompt BLOB
    ) STRICT;
    CREATE TABLE labels (
        number INTEGER PRIMARY KEY,
        space  BLOB    NOT NULL,
        tenant TEXT    NOT NULL,
        about  TEXT    NOT NULL,
        entry  BLOB    NOT NULL,
        made   INTEGER NOT NULL,
        label  TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX labels_of_space ON labels (space);
    CREATE TABLE generations (tenant TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
    CREATE TABLE seal (proof BLOB NOT NULL) STRICT;
";

/// Why the cache on disk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was sealed by another key.
    #[error("{} was sealed by another key than cache.key names; give that key, or delete the file to begin anew", .0.display())]
    OtherKey(PathBuf),
    /// It was written by a later version.
    #[error("{} has a form that this version does not read; use the version that wrote it, or delete the file", .0.display())]
    Form(PathBuf),
    /// The store failed.
    #[error("the cache on disk: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Its thread could not be started, or a damaged file not be moved away.
    #[error("the cache on disk: {0}")]
    System(#[from] std::io::Error),
}

enum Message {
    Change(Change),
    Flush(oneshot::Sender<()>),
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    shed: u64,
    urgent: bool,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// The cache on disk. Dropping it writes what is still queued and waits for that.
pub struct CacheStore {
    queue: Arc<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheStore").finish_non_exhaustive()
    }
}

impl CacheStore {
    /// Opens `cache.sqlite` in this folder, or begins one, and reads what is in it. A file that is damaged beyond
    /// reading is moved aside: a cache is worth less than a start.
    ///
    /// # Errors
    /// If it was sealed by another key or has another form, or SQLite fails.
    pub fn open(folder: &Path, key: Secret) -> Result<(Self, Contents), StoreError> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("cache.sqlite");
        let seal = Seal::new(key);
        let opened = connect(&file, &seal).and_then(|connection| {
            let contents = read(&connection, &seal)?;
            Ok((connection, contents))
        });
        let (connection, contents) = match opened {
            Err(StoreError::Sqlite(error)) if is_damage(&error) => {
                let aside = folder.join("cache.sqlite.damaged");
                tracing::error!(%error, aside = %aside.display(), "the cache on disk is damaged and begins anew");
                for end in ["", "-wal", "-shm"] {
                    let from = folder.join(format!("cache.sqlite{end}"));
                    match std::fs::rename(&from, folder.join(format!("cache.sqlite.damaged{end}"))) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                        _ => {}
                    }
                }
                (connect(&file, &seal)?, Contents::default())
            }
            opened => opened?,
        };
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("cache".to_owned())
            .spawn(move || Writer { connection, seal }.run(&shared))?;
        Ok((Self { queue, thread: Some(thread) }, contents))
    }

    /// Answers that were kept in memory alone because the disk was too slow for them.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.queue.waiting.lock().shed
    }
}

impl Keeper for CacheStore {
    fn keep(&self, change: Change) {
        let mut waiting = self.queue.waiting.lock();
        // What is to be forgotten is never shed, or it would come back.
        let may_be_shed = matches!(change, Change::Put(..) | Change::Placed(..) | Change::Learned(..));
        if may_be_shed && waiting.messages.len() >= QUEUE {
            waiting.shed += 1;
            return;
        }
        waiting.messages.push_back(Message::Change(change));
        self.queue.wake.notify_one();
    }

    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.queue.waiting.lock();
        waiting.messages.push_back(Message::Flush(tell));
        waiting.urgent = true;
        self.queue.wake.notify_one();
        Box::pin(async move { told.await.is_ok() })
    }
}

impl Drop for CacheStore {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn connect(file: &Path, seal: &Seal) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    let empty: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if empty {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        if let Some(proof) = seal.seal("", PROOF, PROOF) {
            transaction.execute("INSERT INTO seal (proof) VALUES (?)", [proof])?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORM)?;
        transaction.commit()?;
    }
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let form: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if (application, form) != (APPLICATION, FORM) {
        return Err(StoreError::Form(file.to_owned()));
    }
    let proof: Option<Vec<u8>> = connection.query_row("SELECT proof FROM seal", [], |row| row.get(0)).optional()?;
    if proof.and_then(|proof| seal.open("", PROOF, &proof)).as_deref() != Some(PROOF) {
        return Err(StoreError::OtherKey(file.to_owned()));
    }
    Ok(connection)
}

/// The name of a row, as it is sealed in: whose part, of which answer, made when.
fn name(part: u8, key: &Key, made: Timestamp) -> Vec<u8> {
    [&[part], key.as_bytes().as_slice(), &made.0.to_le_bytes()].concat()
}

const ANSWER: u8 = b'a';
const PROMPT: u8 = b'p';

fn read(connection: &Connection, seal: &Seal) -> Result<Contents, StoreError> {
    let mut contents = Contents::default();
    let mut damaged: Vec<[u8; 32]> = Vec::new();
    let mut generations = connection.prepare("SELECT tenant, number FROM generations")?;
    let mut rows = generations.query([])?;
    while let Some(row) = rows.next()? {
        contents.generations.insert(TenantId::from(row.get::<_, String>(0)?), row.get::<_, i64>(1)?.cast_unsigned());
    }
    let mut answers = connection.prepare("SELECT key, tenant, made, answer, prompt FROM answers ORDER BY rowid")?;
    let mut rows = answers.query([])?;
    while let Some(row) = rows.next()? {
        let (key, made) = (Key::from_bytes(row.get(0)?), Timestamp(row.get::<_, i64>(2)?.cast_unsigned()));
        let tenant: String = row.get(1)?;
        let open = |part: u8, sealed: &[u8]| seal.open(&tenant, &name(part, &key, made), sealed);
        let answer: Vec<u8> = row.get(3)?;
        let whose = TenantId::from(tenant.as_str());
        let Some(entry) = open(ANSWER, &answer).and_then(|plain| row::read_answer(&plain, whose.clone(), made)) else {
            damaged.push(*key.as_bytes());
            continue;
        };
        contents.entries.push((key, entry));
        let prompt: Option<Vec<u8>> = row.get(4)?;
        let prompt = prompt.and_then(|sealed| open(PROMPT, &sealed));
        contents.prompts.extend(prompt.and_then(|plain| row::read_prompt(&plain, key, whose, made)));
    }
    connection.execute(
        "DELETE FROM labels WHERE number IN (SELECT number FROM (SELECT number, row_number() OVER
         (PARTITION BY space ORDER BY number DESC) AS age FROM labels) WHERE age > ?)",
        [LABELS_KEPT],
    )?;
    let mut labels =
        connection.prepare("SELECT space, tenant, about, entry, made, label FROM labels ORDER BY number")?;
    let mut rows = labels.query([])?;
    while let Some(row) = rows.next()? {
        let place = Place {
            space: Key::from_bytes(row.get(0)?),
            tenant: TenantId::from(row.get::<_, String>(1)?),
            about: row.get(2)?,
        };
        let (entry, made) = (Key::from_bytes(row.get(3)?), Timestamp(row.get::<_, i64>(4)?.cast_unsigned()));
        match serde_json::from_str::<Label>(&row.get::<_, String>(5)?) {
            Ok(label) => contents.labels.push((place, entry, made, label)),
            Err(error) => tracing::warn!(%error, "a verdict on a cached answer cannot be read and is left out"),
        }
    }
    if !damaged.is_empty() {
        tracing::warn!(count = damaged.len(), "cached answers on disk are damaged and are left out");
        for key in damaged {
            connection.execute("DELETE FROM answers WHERE key = ?", [key])?;
        }
    }
    Ok(contents)
}

struct Writer {
    connection: Connection,
    seal: Seal,
}

impl Writer {
    fn run(mut self, queue: &Queue) {
        loop {
            let (messages, closed) = {
                let mut waiting = queue.waiting.lock();
                while waiting.messages.is_empty() && !waiting.closed {
                    queue.wake.wait(&mut waiting);
                }
                if !waiting.urgent && !waiting.closed {
                    queue.wake.wait_while_for(&mut waiting, |waiting| !waiting.urgent && !waiting.closed, WINDOW);
                }
                waiting.urgent = false;
                (std::mem::take(&mut waiting.messages), waiting.closed)
            };
            let (mut changes, mut flushes) = (Vec::new(), Vec::new());
            for message in messages {
                match message {
                    Message::Change(change) => changes.push(change),
                    Message::Flush(tell) => flushes.push(tell),
                }
            }
            let mut tries = 0;
            while let Err(error) = self.commit(&changes) {
                tries += 1;
                tracing::error!(%error, "the cache's changes could not be written");
                // Whoever waits is told by the end of his channel that it is not written.
                flushes.clear();
                if queue.waiting.lock().closed && tries >= LAST_TRIES {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
            for tell in flushes {
                let _nobody_waits_any_more = tell.send(());
            }
            if closed && queue.waiting.lock().messages.is_empty() {
                return;
            }
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), rusqlite::Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in changes {
            write(&transaction, &self.seal, change)?;
        }
        transaction.commit()
    }
}

fn write(connection: &Connection, seal: &Seal, change: &Change) -> Result<(), rusqlite::Error> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(drop);
    match change {
        Change::Put(key, entry) => {
            let (tenant, made) = (entry.tenant.as_str(), entry.made);
            let sealed = row::answer(entry).and_then(|plain| seal.seal(tenant, &name(ANSWER, key, made), &plain));
            let Some(sealed) = sealed else { return Ok(()) };
            run(
                "INSERT OR REPLACE INTO answers (key, tenant, made, answer) VALUES (?, ?, ?, ?)",
                params![key.as_bytes(), tenant, made.0.cast_signed(), sealed],
            )
        }
        Change::Placed(place, prompt) => {
            let (tenant, key, made) = (place.tenant.as_str(), &prompt.key, prompt.made);
            let plain = row::prompt(place, prompt);
            let sealed = plain.and_then(|plain| seal.seal(tenant, &name(PROMPT, key, made), &plain));
            let Some(sealed) = sealed else { return Ok(()) };
            run(
                "UPDATE answers SET prompt = ? WHERE key = ? AND made = ?",
                params![sealed, key.as_bytes(), made.0.cast_signed()],
            )
        }
        Change::Gone(key) => run("DELETE FROM answers WHERE key = ?", params![key.as_bytes()]),
        Change::Learned(place, entry, made, label) => run(
            "INSERT INTO labels (space, tenant, about, entry, made, label) VALUES (?, ?, ?, ?, ?, ?)",
            params![
                place.space.as_bytes(),
                place.tenant.as_str(),
                place.about,
                entry.as_bytes(),
                made.0.cast_signed(),
                serde_json::to_string(label).unwrap_or_default(),
            ],
        ),
        Change::Dropped(space) => run("DELETE FROM labels WHERE space = ?", params![space.as_bytes()]),
        Change::Flushed(tenant, number) => {
            let tenant = tenant.as_str();
            run(
                "INSERT OR REPLACE INTO generations (tenant, number) VALUES (?, ?)",
                params![tenant, number.cast_signed()],
            )?;
            run("DELETE FROM answers WHERE tenant = ?", params![tenant])?;
            run("DELETE FROM labels WHERE tenant = ?", params![tenant])
        }
    }
}
