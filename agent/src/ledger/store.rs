//! Appending: one writer, group commit.
//!
//! Callers make their line, take the next number and queue it, all in their own thread. The writer takes
//! everything that is queued, writes it with one write(2) and makes it durable with one fdatasync(2); what
//! queues up meanwhile is the next batch. So the cost of the disk is shared by whoever waits.
//!
//! The first error is final: a ledger with a hole in it must not look whole. Every later call gets the
//! error, so that enforcement can deny; it is logged once.
//!
//! Behind the writer, the sealer makes what is durable into tiles and signs checkpoints.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::entry::{Entry, Hex, Kind};
use super::files::{self, LedgerError, MAX_LINE};
use super::note::Signer;
use super::recover::{self, Recovered};
use super::{key, redact, seal, sessions, wal, writer};
use crate::event::Layer;

/// How a ledger is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// A file of the log that has reached this many bytes is followed by a new one.
    pub rotate_at: u64,
    /// How long an entry may stay unsigned.
    pub checkpoint: Duration,
    /// The folder of the key that signs; none: that of the state.
    pub keys: Option<PathBuf>,
    /// How long an entry that nobody waits for may stay in memory.
    pub linger: Duration,
    /// How many bytes may be queued before [`Store::append`] waits for the disk.
    pub queue: usize,
    /// Who is told what is appended and signed.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Sees the ledger grow: what it gets is what is stored, secrets taken out. It must not block.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// An entry was queued for the disk.
    fn appended(&self, entry: Entry);

    /// A checkpoint was signed and is on the disk.
    fn signed(&self, checkpoint: &str);
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rotate_at: 64 << 20,
            checkpoint: Duration::from_secs(1),
            keys: None,
            linger: Duration::from_millis(50),
            queue: 16 << 20,
            observer: None,
        }
    }
}

/// The number of an appended entry, which is its `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

pub(super) type Callback = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

/// What callers and the writer share.
pub(super) struct Queue {
    /// Frames for the log.
    pub(super) bytes: Vec<u8>,
    pub(super) next_seq: u64,
    /// Entries below this number are durable.
    pub(super) durable: u64,
    /// Entries below this number are waited for.
    pub(super) wanted: u64,
    pub(super) callbacks: Vec<(u64, Callback)>,
    pub(super) failed: Option<LedgerError>,
    pub(super) closing: bool,
    /// Bytes that became durable since the sealer's last turn.
    pub(super) unsealed: u64,
    /// The writer has ended.
    pub(super) over: bool,
    /// What is not signed when it ends is left to the next who opens the ledger.
    pub(super) leave: bool,
}

pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Something for the writer.
    pub(super) work: Condvar,
    /// Something became durable, or failed.
    pub(super) done: Condvar,
    /// Something for the sealer.
    pub(super) seal: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ledger open for writing. Dropping it writes what is queued and signs a last checkpoint.
pub struct Store {
    shared: Arc<Shared>,
    options: Options,
    payloads: PathBuf,
    sessions: sessions::Index,
    /// The writer, then the sealer.
    threads: Vec<JoinHandle<()>>,
    _lock: Flock<std::fs::File>,
}

impl Store {
    /// Opens or creates the ledger below `state`. A line torn by a crash is moved aside and recorded.
    pub fn open(state: &Path, options: Options) -> Result<Self, LedgerError> {
        let folder = files::folder(state);
        files::make_private(&folder)?;
        let lock = std::fs::File::open(&folder).map_err(LedgerError::io("open folder", &folder))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| LedgerError::Locked(folder.clone()))?;
        files::make_private(&wal::folder(&folder))?;
        let signer = key::load_or_make(options.keys.as_deref().unwrap_or(state))?;
        let origin = origin(&signer, state);
        let Recovered { edge, bundle, tail, torn } = recover::open(&folder, &signer, &origin)?;
        key::publish(&signer, &folder)?;
        let sessions = sessions::Index::open(&folder, tail.next_seq == 0)?;
        let queue = Queue {
            bytes: Vec::new(),
            next_seq: tail.next_seq,
            durable: tail.next_seq,
            wanted: 0,
            callbacks: Vec::new(),
            failed: None,
            closing: false,
            unsealed: 0,
            over: false,
            leave: false,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            work: Condvar::new(),
            done: Condvar::new(),
            seal: Condvar::new(),
        });
        let payloads = folder.join(files::PAYLOADS);
        let mut store =
            Self { shared: shared.clone(), options, payloads, sessions, threads: Vec::new(), _lock: lock };
        let writer = writer::Writer::new(shared.clone(), store.options.clone(), tail);
        store.spawn("authz-ledger", || writer.run())?;
        let start = seal::Start { folder, signer, origin, edge, bundle };
        let sealer = seal::Sealer::new(shared, store.options.clone(), start);
        store.spawn("authz-sealer", || sealer.run())?;
        torn.iter().try_for_each(|path| store.record_gap(path))?;
        Ok(store)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), LedgerError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        self.threads.push(thread.map_err(LedgerError::io("start a thread for", &self.payloads))?);
        Ok(())
    }

    fn record_gap(&self, torn: &Path) -> Result<(), LedgerError> {
        let bytes = std::fs::metadata(torn).map_err(LedgerError::io("look at", torn))?.len();
        let kept = torn.with_extension("");
        let name = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut entry = Entry::new(Kind::Gap);
        entry.causes.push("the last write was cut short; it had not been reported durable".into());
        entry.detail = Some(serde_json::json!({ "file": name, "bytes": bytes }));
        self.wait(self.append(entry)?)?;
        std::fs::rename(torn, &kept).map_err(LedgerError::io("rename to", &kept))
    }

    /// Queues an entry under the next number. Secrets in it are redacted here.
    ///
    /// Not durable yet: see [`Store::wait`] and [`Store::on_durable`]. Waits only if the queue is full.
    pub fn append(&self, mut entry: Entry) -> Result<Ticket, LedgerError> {
        if let Some(input) = &mut entry.input {
            entry.erased.extend(redact::redact(input));
        }
        if let Some(resource) = &mut entry.resource {
            redact::redact_properties(&mut resource.properties, entry.layer == Some(Layer::Api));
        }
        entry.seq = 0;
        let mut line = to_line(&entry)?;
        if line.len() > MAX_LINE - SEQ_DIGITS {
            self.move_input_aside(&mut entry)?;
            line = to_line(&entry)?;
        }
        if line.len() > MAX_LINE - SEQ_DIGITS {
            return Err(LedgerError::TooLong(line.len()));
        }
        if let Some(session) = entry.session {
            self.sessions.add(session)?;
        }
        let mut queue = self.shared.lock();
        loop {
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            if queue.bytes.len() < self.options.queue {
                break;
            }
            queue.wanted = queue.next_seq;
            self.shared.work.notify_one();
            queue = self.shared.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let seq = queue.next_seq;
        let was_empty = queue.bytes.is_empty();
        queue.next_seq += 1;
        // The number is known only here; the line was made outside the lock with 0 in its place.
        let number = seq.to_string();
        wal::begin(&mut queue.bytes, line.len() - 1 + number.len());
        queue.bytes.extend_from_slice(wal::SEQ);
        queue.bytes.extend_from_slice(number.as_bytes());
        queue.bytes.extend_from_slice(&line[wal::SEQ.len() + 1..]);
        let wake = was_empty || queue.bytes.len() >= self.options.queue;
        drop(queue);
        if wake {
            self.shared.work.notify_one();
        }
        if let Some(observer) = &self.options.observer {
            entry.seq = seq;
            observer.appended(entry);
        }
        Ok(Ticket(seq))
    }

    fn move_input_aside(&self, entry: &mut Entry) -> Result<(), LedgerError> {
        let Some(input) = entry.input.take() else { return Ok(()) };
        let bytes = serde_json::to_vec(&input).map_err(|error| LedgerError::Json(error.to_string()))?;
        let hash = Hex::<32>(Sha256::digest(&bytes).into());
        files::make_private(&self.payloads)?;
        files::write_whole(&self.payloads.join(hash.to_string()), &bytes)?;
        entry.input_at = Some(hash);
        Ok(())
    }

    /// Waits until the entry is on the disk.
    pub fn wait(&self, ticket: Ticket) -> Result<(), LedgerError> {
        let mut queue = self.shared.lock();
        loop {
            if queue.durable > ticket.0 {
                return Ok(());
            }
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            self.want(&mut queue, ticket);
            queue = self.shared.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls back once the entry is on the disk or cannot be written. The call comes from the writer's
    /// thread, or at once from this one: it must not block.
    pub fn on_durable(
        &self,
        ticket: Ticket,
        callback: impl FnOnce(Result<(), LedgerError>) + Send + 'static,
    ) {
        let mut queue = self.shared.lock();
        let result = match &queue.failed {
            _ if queue.durable > ticket.0 => Ok(()),
            Some(error) => Err(error.clone()),
            None => {
                self.want(&mut queue, ticket);
                return queue.callbacks.push((ticket.0, Box::new(callback)));
            }
        };
        drop(queue);
        callback(result);
    }

    fn want(&self, queue: &mut Queue, ticket: Ticket) {
        queue.wanted = queue.wanted.max(ticket.0.saturating_add(1).min(queue.next_seq));
        self.shared.work.notify_one();
    }

    /// Waits until everything appended so far is on the disk.
    pub fn flush(&self) -> Result<(), LedgerError> {
        let next = self.shared.lock().next_seq;
        next.checked_sub(1).map_or(Ok(()), |last| self.wait(Ticket(last)))
    }

    /// Leaves the signing of what is durable to whoever opens the ledger next: dropping the store is quicker.
    pub fn leave_unsigned(&self) {
        self.shared.lock().leave = true;
    }

    /// Why nothing is recorded any more, if so.
    pub fn failed(&self) -> Option<LedgerError> {
        self.shared.lock().failed.clone()
    }
}

/// Whose ledger it is, as its checkpoints say: the key's name and the instance's.
fn origin(signer: &Signer, state: &Path) -> String {
    let name = state.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_whitespace() || c.is_control() || c == '+' { '-' } else { c };
    format!("{}/{}", signer.verifier().name(), name.chars().map(plain).collect::<String>())
}

/// How many digits more than one a number may have.
const SEQ_DIGITS: usize = 19;

fn to_line(entry: &Entry) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(entry).map_err(|error| LedgerError::Json(error.to_string()))
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
