//! From an operation to its verdict: the table, else the daemon, else the fail direction. Every call that is
//! mediated ends here, as every hook ends in `decide()` of ebpf/lib/decide.h.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use super::blocked::Blocked;
use super::bound::Bound;
use super::lineage::Lineage;
use super::table::Table;
use super::{facts, fail};
use crate::abi::raw::*;
use crate::clock::monotonic_ns;
use crate::enforce::wire;
use crate::event::{Event, EventKind, Layer};
use crate::pipeline::{Answer, Verdict};
use crate::policy::names::Names;
use crate::sys::seccomp::Listener;

/// A daemon that has not been heard for so long is dead, as for the LSM programs.
const STALE: Duration = Duration::from_secs(5);

/// The supervisor gives up on a human so much later than the daemon: the daemon's deny comes first.
const GRACE: Duration = Duration::from_secs(5);

/// How often a waiting worker looks whether its thread still lives.
const LOOK: Duration = Duration::from_millis(250);

/// Events that may wait for the loop before workers do.
const QUEUE_MAX: usize = 4096;

/// What workers know of a session.
#[derive(Debug)]
pub struct Known {
    /// Its index.
    pub index: u32,
    /// Where its calls wait.
    pub listener: Listener,
    /// Decisions bind.
    pub enforce: AtomicBool,
    /// Of what domains mean.
    pub generation: AtomicU32,
    /// The domain of all its operations, with its generation in the upper half; 0: not known yet.
    pub domain: AtomicU64,
    /// All its operations share one domain, since the policy reads nothing that differs between processes.
    pub one_domain: AtomicBool,
    /// The policy reads the arguments of programs.
    pub reads_arguments: AtomicBool,
    /// Each remembered allow is recorded.
    pub audit_each: bool,
    /// How long a human has.
    pub hold_timeout: Duration,
    /// Folders of control sockets.
    pub control: Vec<PathBuf>,
    /// A process may have a root or namespace of its own, by a rule of the policy.
    pub moved: AtomicBool,
    /// The set of tool calls that are open.
    pub calls: AtomicU32,
    /// There was ever one.
    pub had_calls: AtomicBool,
    /// The names that its policy looks for in paths.
    pub names: RwLock<Arc<Names>>,
    /// Under which set processes were started.
    pub lineage: Lineage,
    /// By which paths sockets were bound.
    pub bound: Bound,
}

impl Known {
    /// Whether a path is that of a control socket: no session speaks to one, in any mode.
    pub fn is_control(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let asks = path.file_name().is_some_and(|name| name == crate::paths::ASK);
        !asks && self.control.iter().any(|folder| path.starts_with(folder))
    }

    /// Puts under which tool calls a process acts.
    pub fn put_calls(&self, raw: &mut authz_event) {
        if self.had_calls.load(Ordering::Acquire) {
            raw.open_calls = self.calls.load(Ordering::Acquire);
            raw.calls = self.lineage.of(raw.tgid as i32);
        }
    }
}

/// An answer on its way to a worker.
#[derive(Default)]
struct Slot {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    answer: Option<Answer>,
    /// A human is asked.
    parked: bool,
}

/// Shared by all workers of all sessions.
pub struct Judge {
    /// What is remembered.
    pub table: Table,
    /// What blocks.
    pub blocked: Arc<Blocked>,
    /// Live sessions by index.
    pub sessions: RwLock<HashMap<u32, Arc<Known>>>,
    events: Mutex<Sender<Event>>,
    wake: Arc<EventFd>,
    /// Events that the loop has not taken yet.
    pub queued: AtomicUsize,
    slots: Mutex<HashMap<u64, Arc<Slot>>>,
    last_ticket: AtomicU64,
    heartbeat_ns: AtomicU64,
}

impl Judge {
    /// Events go to `events`, after which `wake` is readable.
    pub fn new(events: Sender<Event>, wake: Arc<EventFd>, blocked: Arc<Blocked>) -> Self {
        Self {
            blocked,
            table: Table::default(),
            sessions: RwLock::default(),
            events: Mutex::new(events),
            wake,
            queued: AtomicUsize::new(0),
            slots: Mutex::default(),
            last_ticket: AtomicU64::new(0),
            heartbeat_ns: AtomicU64::new(monotonic_ns()),
        }
    }

    /// The daemon lives.
    pub fn heartbeat(&self) {
        self.heartbeat_ns.store(monotonic_ns(), Ordering::Relaxed);
    }

    fn daemon_alive(&self) -> bool {
        let silent = monotonic_ns().saturating_sub(self.heartbeat_ns.load(Ordering::Relaxed));
        Duration::from_nanos(silent) < STALE
    }

    /// Decides; `add` puts facts that no record of the kernel has. `Err(EACCES)`: no.
    pub fn decide(
        &self,
        session: &Known,
        id: u64,
        raw: &authz_event,
        add: impl FnOnce(&mut Event),
    ) -> Result<Verdict, Errno> {
        let Some(mut event) = event(session, raw) else { return self.fail(session, raw, fail::RECORD) };
        add(&mut event);
        if u32::from(raw.object) == AUTHZ_OBJ_BROKEN {
            return self.fail(session, raw, fail::PATH);
        }
        if let Some(verdict) = self.remembered(session, &event) {
            return self.obey(session, verdict);
        }
        let verdict = if event.observe {
            event.kind = EventKind::Ask { ticket: None, park: false };
            self.send(event);
            Verdict::Allow
        } else {
            self.ask(session, id, raw, event)?
        };
        self.obey(session, verdict)
    }

    /// THE fail direction: deny in enforce, allow in observe, and recorded, if only by action, call and thread.
    pub fn fail(&self, session: &Known, raw: &authz_event, cause: &'static str) -> Result<Verdict, Errno> {
        self.record_failure(session, raw, cause);
        self.obey(session, Verdict::Deny)
    }

    /// What no policy allows and no mode lets pass: an operation that aims at the supervisor.
    pub fn guard(&self, session: &Known, raw: &authz_event) -> Errno {
        self.record_failure(session, raw, fail::GUARD);
        Errno::EACCES
    }

    fn record_failure(&self, session: &Known, raw: &authz_event, cause: &'static str) {
        match event(session, raw).or_else(|| event(session, &facts::nameless(raw))) {
            Some(event) => self.send(Event { kind: EventKind::Failed { cause }, ..event }),
            None => tracing::error!(cause, action = raw.action, "a failure could not be recorded"),
        }
    }

    fn obey(&self, session: &Known, verdict: Verdict) -> Result<Verdict, Errno> {
        match verdict {
            Verdict::Deny if session.enforce.load(Ordering::Acquire) => Err(Errno::EACCES),
            Verdict::Deny => Ok(Verdict::Allow),
            verdict => Ok(verdict),
        }
    }

    fn remembered(&self, session: &Known, event: &Event) -> Option<Verdict> {
        // The event's names are older than what is read here: those of another policy meet another generation.
        let domain = session.domain.load(Ordering::Acquire);
        let (generation, domain) = ((domain >> 32) as u32, domain as u32);
        if domain == 0 || generation != session.generation.load(Ordering::Acquire) {
            return None;
        }
        let each = session.audit_each || event.leaves_trace();
        // Who acts faster than the record grows waits for an answer, as at first sight.
        if each && self.queued.load(Ordering::Relaxed) > QUEUE_MAX {
            return None;
        }
        let hit = self.table.find(domain, event.key.as_ref()?, event.multilink, !each)?;
        if !hit.allow || each {
            let kind = EventKind::Remembered { allowed: hit.allow, evaluation: hit.evaluation };
            self.send(Event { kind, ..event.clone() });
        }
        Some(if hit.allow { Verdict::Allow } else { Verdict::Deny })
    }

    /// Asks the daemon and waits.
    fn ask(&self, session: &Known, id: u64, raw: &authz_event, mut event: Event) -> Result<Verdict, Errno> {
        if !self.daemon_alive() {
            return self.fail(session, raw, fail::STALE);
        }
        let ticket = self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1;
        let slot = Arc::new(Slot::default());
        if let Ok(mut slots) = self.slots.lock() {
            slots.insert(ticket, slot.clone());
        }
        event.kind = EventKind::Ask { ticket: Some(ticket), park: false };
        self.send(event);
        let answer = wait(&slot, session, id);
        if let Ok(mut slots) = self.slots.lock() {
            slots.remove(&ticket);
        }
        match answer {
            Some(answer) => {
                if answer.domain != 0
                    && session.one_domain.load(Ordering::Acquire)
                    && answer.generation == session.generation.load(Ordering::Acquire)
                {
                    let domain = u64::from(answer.generation) << 32 | u64::from(answer.domain);
                    session.domain.store(domain, Ordering::Release);
                }
                Ok(answer.verdict)
            }
            None if !session.listener.is_waiting(id) => Err(Errno::EINTR),
            None => self.fail(session, raw, fail::DEADLINE),
        }
    }

    /// The daemon's answer.
    pub fn answer(&self, ticket: u64, answer: Answer) {
        self.tell(ticket, |waiting| waiting.answer = Some(answer));
    }

    /// A human is asked: it takes longer.
    pub fn park(&self, ticket: u64) {
        self.tell(ticket, |waiting| waiting.parked = true);
    }

    fn tell(&self, ticket: u64, change: impl FnOnce(&mut Waiting)) {
        let slot = self.slots.lock().ok().and_then(|slots| slots.get(&ticket).cloned());
        if let Some(slot) = slot
            && let Ok(mut waiting) = slot.state.lock()
        {
            change(&mut waiting);
            slot.changed.notify_all();
        }
    }

    fn send(&self, event: Event) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        // The receiver lives as long as the process.
        if let Ok(events) = self.events.lock() {
            events.send(event).ok();
        }
        if let Err(error) = self.wake.write(1) {
            tracing::error!(%error, "cannot wake the loop");
        }
    }
}

/// A record as an event of the session; none: it says nothing that is known.
fn event(session: &Known, raw: &authz_event) -> Option<Event> {
    let mut event = wire::event(raw).ok()?;
    if u32::from(raw.object) == AUTHZ_OBJ_PATH
        && let Some(key) = &mut event.key
    {
        key.names = session.names.read().ok()?.mask(&key.name);
    }
    let observe = !session.enforce.load(Ordering::Acquire);
    Some(Event { layer: Layer::Seccomp, session: session.index, observe, ..event })
}

/// The answer; none: too late, or the thread is gone.
fn wait(slot: &Slot, session: &Known, id: u64) -> Option<Answer> {
    let since = Instant::now();
    let mut waiting = slot.state.lock().ok()?;
    loop {
        if let Some(answer) = waiting.answer.take() {
            return Some(answer);
        }
        let limit = if waiting.parked { session.hold_timeout + GRACE } else { STALE };
        if since.elapsed() > limit {
            return None;
        }
        let (next, timeout) = slot.changed.wait_timeout(waiting, LOOK).ok()?;
        waiting = next;
        if timeout.timed_out() && waiting.answer.is_none() && !session.listener.is_waiting(id) {
            return None;
        }
    }
}
