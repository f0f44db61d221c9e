//! The seccomp back end: the filter stops a call, the supervisor decides and, wherever it can, does the operation
//! itself with the thread's rights, so that nothing can be exchanged in between. What needs no root, and holds in
//! any container.
//!
//! In the order of a call: [`filter`] (made from [`calls`]) stops it; a [`worker`] takes it and reads the
//! [`target`]; a handler ([`open`], [`names`], [`attributes`], [`queue`], [`exec`], [`map`], [`socket`],
//! [`process`], [`system`]) finds what it is about with [`resolve`] and [`address`], puts it as [`facts`], and asks the
//! [`judge`], which looks into the [`table`] and else asks the daemon. What cannot be decided ends in its one fail
//! direction, with a cause of [`fail`].

mod address;
mod attributes;
mod blocked;
mod bound;
mod call;
pub mod calls;
mod exec;
mod facts;
mod fail;
pub mod filter;
mod image;
mod judge;
mod lineage;
mod map;
mod names;
mod open;
mod place;
mod process;
mod queue;
mod resolve;
mod socket;
mod sticky;
mod system;
mod table;
mod target;
mod worker;

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::level::Enforcement;
use super::{Admission, EnforcementPoint, Error};
use crate::event::{Action, Event, Key, Mode};
use crate::paths::Owner;
use crate::pipeline::{Answer, EventSource, Recalled, Remembered, VerdictSink};
use crate::session::Session;
use crate::sys::peer::Peer;
use crate::sys::seccomp::Listener;
use blocked::Blocked;
use bound::Bound;
use judge::{Judge, Known};
use lineage::Lineage;
use worker::Workers;

/// The supervisor as the daemon sees it.
pub struct Supervisor {
    judge: Arc<Judge>,
    events: Receiver<Event>,
    wake: Arc<EventFd>,
    enforcement: Enforcement,
    /// The folder of this user's daemons.
    run: PathBuf,
}

impl Supervisor {
    /// Without a session. `run`: the folder of this user's daemons, to which no session connects.
    pub fn new(run: &Path, enforcement: Enforcement) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)
            .map_err(|error| Error::Io { what: "eventfd", source: error.into() })?;
        let wake = Arc::new(wake);
        let blocked =
            Blocked::start().map_err(|source| Error::Io { what: "cannot start a thread", source })?;
        let (sender, events) = channel();
        let judge = Arc::new(Judge::new(sender, wake.clone(), blocked));
        Ok(Self { judge, events, wake, enforcement, run: run.to_owned() })
    }

    fn session(&self, index: u32) -> Option<Arc<Known>> {
        self.judge.sessions.read().ok()?.get(&index).cloned()
    }
}

/// Whether every process of a session has one domain: nothing the policy reads differs between them.
fn one_domain(session: &Session) -> bool {
    let reads = session.engine.reads();
    let differs = ["uid", "user", "pid", "exe", "comm", "parents"];
    !reads.needs("context.tool")
        && !differs.iter().any(|fact| reads.needs(&format!("subject.properties.{fact}")))
}

fn reads_arguments(session: &Session) -> bool {
    session.engine.reads().needs("resource.properties.argv")
}

impl EnforcementPoint for Supervisor {
    fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    fn ready(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn heartbeat(&mut self) -> Result<(), Error> {
        self.judge.heartbeat();
        Ok(())
    }

    fn admit(&mut self, session: &Session, admission: &Admission) -> Result<(), Error> {
        let missing = || std::io::Error::other("the first process has no seccomp listener");
        let number = admission.listener.ok_or_else(missing);
        let listener = number.and_then(|number| Listener::of_process(session.first_pid, number));
        let failed = |source| Error::Io { what: "cannot take the seccomp listener", source };
        let mut control = Owner::this().protected(session.owner);
        control.push(self.run.clone());
        let known = Arc::new(Known {
            index: session.index,
            listener: listener.map_err(failed)?,
            enforce: AtomicBool::new(session.mode == Mode::Enforce),
            generation: AtomicU32::new(session.generation),
            domain: AtomicU64::new(0),
            one_domain: AtomicBool::new(one_domain(session)),
            reads_arguments: AtomicBool::new(reads_arguments(session)),
            audit_each: admission.audit_each,
            hold_timeout: session.hold_timeout,
            control,
            moved: AtomicBool::new(false),
            calls: AtomicU32::new(session.calls.current()),
            had_calls: AtomicBool::new(false),
            names: RwLock::new(session.engine.names().clone()),
            lineage: Lineage::default(),
            bound: Bound::default(),
        });
        if let Ok(mut sessions) = self.judge.sessions.write() {
            sessions.insert(session.index, known.clone());
        }
        Workers::start(self.judge.clone(), known)
            .map_err(|source| Error::Io { what: "cannot start a worker", source })
    }

    fn publish(&mut self, session: &Session) -> Result<(), Error> {
        if let Some(known) = self.session(session.index) {
            known.enforce.store(session.mode == Mode::Enforce, Ordering::Release);
            known.one_domain.store(one_domain(session), Ordering::Release);
            known.reads_arguments.store(reads_arguments(session), Ordering::Release);
            known.generation.store(session.generation, Ordering::Release);
            // After the generation: see `Judge::remembered`.
            if let Ok(mut names) = known.names.write() {
                names.clone_from(session.engine.names());
            }
            let calls = session.calls.current();
            known.had_calls.fetch_or(calls != 0, Ordering::AcqRel);
            known.calls.store(calls, Ordering::Release);
        }
        Ok(())
    }

    fn forget(&mut self, index: u32) -> Result<(), Error> {
        if let Ok(mut sessions) = self.judge.sessions.write() {
            sessions.remove(&index);
        }
        Ok(())
    }

    /// A session's connections are made by this process, which refuses them; by number as a second guard.
    fn encloses(&self, peer: &Peer) -> std::io::Result<bool> {
        Ok(process::is_inside(peer.pid))
    }

    /// The one session, whose connections are made by this process.
    fn session_of(&self, peer: &Peer) -> std::io::Result<Option<u32>> {
        let ours = peer.pid == std::process::id() as i32 || process::is_inside(peer.pid);
        let sessions = self.judge.sessions.read().map_err(|_| std::io::Error::other("a worker failed"))?;
        let mut all = sessions.keys().copied();
        Ok(match (all.next(), all.next()) {
            (Some(index), None) if ours => Some(index),
            _ => None,
        })
    }

    /// A listener hangs up when the last process under its filter is gone.
    fn live(&self) -> HashSet<u32> {
        let Ok(sessions) = self.judge.sessions.read() else { return HashSet::new() };
        let hung_up = |known: &Known| {
            let mut fds = [PollFd::new(known.listener.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok()
                && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
        };
        sessions.values().filter(|known| !hung_up(known)).map(|known| known.index).collect()
    }

    fn take_hits(&mut self) -> Vec<(u64, u64)> {
        self.judge.table.take_hits()
    }

    fn sweep(&mut self) {}

    /// The channel has no bound that could be met.
    fn unrecorded(&mut self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl EventSource for Supervisor {
    fn next(&mut self) -> Option<Result<Event, String>> {
        let mut event = self.events.try_recv().ok();
        if event.is_none() {
            // Only then is there nothing to be woken for; what came in between is found by the next look.
            self.wake.read().ok();
            event = self.events.try_recv().ok();
        }
        if event.is_some() {
            self.judge.queued.fetch_sub(1, Ordering::Relaxed);
        }
        event.map(Ok)
    }
}

impl VerdictSink for Supervisor {
    fn answer(&mut self, ticket: u64, answer: Answer) -> Result<(), String> {
        self.judge.answer(ticket, answer);
        Ok(())
    }

    fn computes(&self, action: Action) -> bool {
        matches!(action, Action::FileRead | Action::FileWrite | Action::FileCreate | Action::NetConnect)
    }

    fn remember(&mut self, verdict: Remembered<'_>) -> Result<(), String> {
        let until = verdict.ttl.map(|ttl| Instant::now() + ttl);
        let Remembered { session, domain, key, region, allow, evaluation, .. } = verdict;
        self.judge.table.insert(session, domain, key, region, table::Verdict { allow, until, evaluation })
    }

    fn recall(&self, domain: u32, key: &Key) -> Option<Recalled> {
        self.judge.table.recall(domain, key)
    }

    fn park(&mut self, _tid: i32, ticket: u64) {
        self.judge.park(ticket);
    }

    fn release(&mut self, _tid: i32) {}
}
