//! The kernel back end as the pipeline sees it: the eBPF programs and the tracer that parks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bpf_lsm::{BpfLsm, PIN_ROOT, remove_pins};
use super::level::Enforcement;
use super::park::{Report, Tracer};
use super::regions::{self, Regions};
use super::verdicts::Entry;
use super::{Admission, EnforcementPoint, Error, processes, wire};
use crate::abi::raw::*;
use crate::clock::monotonic_ns;
use crate::event::{Event, Key, Mode};
use crate::pipeline::{Answer, EventSource, Recalled, Remembered, Verdict, VerdictSink};
use crate::policy::names::Names;
use crate::session::Session;
use crate::sys::peer::{Peer, pidfd_open};

/// The kernel gives up on an answer so much later than the daemon: the daemon's deny comes first.
const GRACE: Duration = Duration::from_secs(5);

/// How often the programs are told that the daemon lives, at the least.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// An answer that no thread has taken after this long will never be taken.
const ANSWER_KEPT: Duration = Duration::from_secs(10);

/// Programs and tracer.
pub struct Kernel {
    lsm: BpfLsm,
    enforcement: Enforcement,
    tracer: Tracer,
    given: VecDeque<(Instant, u64)>,
    /// What is in the programs' table, with the places of the verdicts.
    regions: Regions<u32>,
    /// The names that each session's policy looks for in paths, and the number they go by in the programs.
    names: HashMap<u32, (Arc<Names>, u32)>,
    last_names: u32,
    unrecorded: [u64; UNRECORDED.len()],
}

/// Causes that leave no event, and so reach the record as counts.
const UNRECORDED: [u32; 2] = [AUTHZ_CAUSE_RING, AUTHZ_CAUSE_INHERIT];

impl Kernel {
    /// Loads and pins the programs as `instance`; the tracer tells `report` what becomes of parked threads.
    pub fn load(instance: &str, report: impl FnMut(Report) + Send + 'static) -> Result<Self, Error> {
        let tracer =
            Tracer::spawn(report).map_err(|source| Error::Io { what: "cannot start the tracer", source })?;
        let seed = uuid::Uuid::new_v4().as_u64_pair();
        let lsm = BpfLsm::load(instance, [seed.0, seed.1])?;
        let enforcement = lsm.enforcement()?;
        Ok(Self {
            lsm,
            enforcement,
            tracer,
            given: VecDeque::new(),
            // A new verdict has its place before an old one leaves its own.
            regions: Regions::new(AUTHZ_VERDICTS_MAX as usize - 1),
            names: HashMap::new(),
            last_names: 0,
            unrecorded: [0; UNRECORDED.len()],
        })
    }

    /// Tells the programs what a session has become. Which names its policy looks for comes after the generation has
    /// grown, by which no verdict of an old policy is found any more; while they change they go by no number, and the
    /// programs keep no path by them. Without all of them no path could be told from another: then the session is
    /// over for the programs, which deny.
    fn tell(&mut self, session: &Session, flags: u32) -> Result<(), Error> {
        let (index, names) = (session.index, session.engine.names());
        let mut known = kernel_session(session, flags);
        let (old, number) = self.names.get(&index).cloned().unwrap_or_default();
        if old == *names {
            known.names_version = number;
            return Ok(self.lsm.set_session(index, known)?);
        }
        self.lsm.set_session(index, known)?;
        self.names.remove(&index);
        if let Err(error) = self.exchange_names(index, &old, names) {
            self.lsm.set_session(index, authz_session::default())?;
            return Err(error);
        }
        self.last_names += 1;
        known.names_version = self.last_names;
        self.names.insert(index, (names.clone(), known.names_version));
        Ok(self.lsm.set_session(index, known)?)
    }

    fn exchange_names(&mut self, index: u32, old: &Names, new: &Names) -> Result<(), Error> {
        for (name, _) in old.iter() {
            self.lsm.forget_name(wire::name_key(index, name))?;
        }
        for (name, groups) in new.iter() {
            self.lsm.set_name(wire::name_key(index, name), groups)?;
        }
        Ok(())
    }
}

impl EnforcementPoint for Kernel {
    fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    fn ready(&self) -> BorrowedFd<'_> {
        self.lsm.as_fd()
    }

    fn rest(&self) -> Duration {
        HEARTBEAT
    }

    fn heartbeat(&mut self) -> Result<(), Error> {
        Ok(self.lsm.heartbeat(monotonic_ns())?)
    }

    fn admit(&mut self, session: &Session, admission: &Admission) -> Result<(), Error> {
        let flags = if admission.audit_each { AUTHZ_SESSION_AUDIT_EACH } else { 0 };
        self.tell(session, flags)?;
        let labelled =
            pidfd_open(session.first_pid).and_then(|pidfd| self.lsm.label(pidfd.as_fd(), session.index));
        labelled.map_err(|source| Error::Io { what: "cannot label the first process", source })
    }

    fn publish(&mut self, session: &Session) -> Result<(), Error> {
        let flags = self.lsm.session_flags(session.index)?;
        self.tell(session, flags & AUTHZ_SESSION_AUDIT_EACH)
    }

    fn forget(&mut self, index: u32) -> Result<(), Error> {
        self.lsm.set_session(index, authz_session::default())?;
        let (names, _) = self.names.remove(&index).unwrap_or_default();
        self.exchange_names(index, &names, &Names::default())
    }

    fn session_of(&self, peer: &Peer) -> std::io::Result<Option<u32>> {
        self.lsm.label_of(peer.pidfd.as_fd())
    }

    /// A thread has the label of its process.
    fn live(&self) -> HashSet<u32> {
        processes()
            .filter_map(|pid| self.lsm.label_of(pidfd_open(pid).ok()?.as_fd()).ok().flatten())
            .collect()
    }

    fn take_hits(&mut self) -> Vec<(u64, u64)> {
        let (hits, used) = self.lsm.verdicts().take_hits();
        used.iter().for_each(|start| self.regions.touch(start));
        hits
    }

    /// Removes answers that nobody took: their threads were killed.
    fn sweep(&mut self) {
        while self.given.front().is_some_and(|(at, _)| at.elapsed() > ANSWER_KEPT) {
            if let Some((_, ticket)) = self.given.pop_front() {
                self.lsm.forget_answer(ticket);
            }
        }
    }

    fn unrecorded(&mut self) -> Vec<(&'static str, u64)> {
        let Ok(counters) = self.lsm.counters() else { return Vec::new() };
        let mut new = Vec::new();
        for (seen, cause) in self.unrecorded.iter_mut().zip(UNRECORDED) {
            let total = counters[cause as usize];
            if total > *seen {
                new.push((wire::CAUSES[cause as usize], total - *seen));
                *seen = total;
            }
        }
        new
    }

    fn close(&mut self) -> Result<(), Error> {
        self.lsm.unpin().map_err(|source| Error::Io { what: "cannot remove the pins", source })
    }
}

impl EventSource for Kernel {
    fn next(&mut self) -> Option<Result<Event, String>> {
        Some(match self.lsm.next_event()? {
            Ok(raw) => wire::event(&raw).map_err(|error| error.to_string()),
            Err(length) => Err(format!("the kernel sent a record of {length} bytes, which is malformed")),
        })
    }
}

impl VerdictSink for Kernel {
    fn answer(&mut self, ticket: u64, answer: Answer) -> Result<(), String> {
        let Answer { verdict, domain, generation } = answer;
        let effect = if verdict == Verdict::Allow { AUTHZ_EFFECT_ALLOW } else { AUTHZ_EFFECT_DENY };
        self.given.push_back((Instant::now(), ticket));
        self.lsm
            .answer(ticket, authz_answer { effect, domain, generation, pad: 0 })
            .map_err(|error| error.to_string())
    }

    fn remember(&mut self, verdict: Remembered<'_>) -> Result<(), String> {
        let bits = wire::significant_bits(verdict.key, verdict.region).ok_or("the name is too long")?;
        let point = regions::point(verdict.domain, verdict.key);
        let verdicts = self.lsm.verdicts();
        let place = verdicts.place().ok_or("the table of verdicts is full")?;
        for (start, bits, gone) in self.regions.insert(verdict.session, &point, 64 + bits, place) {
            let (bits, key) = wire::key_at(&start, bits);
            verdicts.remove(bits, key, gone);
        }
        let (length, key) = wire::verdict_key(verdict.domain, verdict.key, bits);
        let entry = Entry {
            effect: if verdict.allow { AUTHZ_EFFECT_ALLOW } else { AUTHZ_EFFECT_DENY },
            evaluation: verdict.evaluation,
            expires_ns: verdict.ttl.map_or(0, |ttl| monotonic_ns() + ttl.as_nanos() as u64),
        };
        verdicts.insert(place, length, key, entry).map_err(|error| {
            self.regions.remove(&regions::start(&point, 64 + bits));
            error.to_string()
        })
    }

    /// Read from the programs' own table.
    fn recall(&self, domain: u32, key: &Key) -> Option<Recalled> {
        // As `remembered()` of ebpf/lib/decide.h looks it up: a name that is too long without the NUL behind it.
        let whole = (key.name.len() + 1).min(AUTHZ_KEY_MAX as usize) * 8;
        let (bits, key) = wire::verdict_key(domain, key, whole);
        let found =
            self.lsm.find(bits, key).inspect_err(|error| tracing::warn!(%error, "cannot look up a verdict"));
        let verdict = found.ok()??;
        let left = |until: u64| Duration::from_nanos(until.saturating_sub(monotonic_ns()));
        Some(Recalled {
            allow: verdict.effect == AUTHZ_EFFECT_ALLOW,
            evaluation: verdict.evaluation,
            hits: verdict.hits,
            left: (verdict.expires_ns != 0).then(|| left(verdict.expires_ns)),
        })
    }

    fn park(&mut self, tid: i32, _ticket: u64) {
        self.tracer.park(tid);
    }

    fn release(&mut self, tid: i32) {
        self.tracer.release(tid);
    }
}

fn kernel_session(session: &Session, flags: u32) -> authz_session {
    let reads = session.engine.reads();
    let subject = |field: &str| reads.needs(&format!("subject.properties.{field}"));
    let mut flags = flags;
    if subject("exe") || subject("parents") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_EXEC;
    }
    if subject("pid") || subject("parents") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_FORK;
    }
    if subject("uid") || subject("user") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_CRED;
    }
    if reads.needs("context.tool") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_CALL;
    }
    let mut names = [0; AUTHZ_NAME_WORDS as usize];
    for (name, _) in session.engine.names().iter() {
        flags |= AUTHZ_SESSION_NAMES;
        let bit = wire::name_bit(name);
        names[bit / 64] |= 1 << (bit % 64);
    }
    authz_session {
        mode: if session.mode == Mode::Enforce { AUTHZ_MODE_ENFORCE } else { AUTHZ_MODE_OBSERVE },
        generation: session.generation,
        flags,
        calls: session.calls.current(),
        hold_ns: (session.hold_timeout + GRACE).as_nanos() as u64,
        names,
        ..authz_session::default()
    }
}

/// Detaches what daemons left behind that were killed, once none of their tasks is left.
pub fn clean_up_dead(
    own: &str,
    is_dead: impl Fn(&std::ffi::OsStr) -> bool,
    forget: impl Fn(&std::ffi::OsStr),
) {
    let Ok(instances) = std::fs::read_dir(PIN_ROOT) else { return };
    for instance in instances.flatten() {
        let name = instance.file_name();
        if name == *own {
            continue;
        }
        if !is_dead(&name) {
            continue;
        }
        match BpfLsm::tasks_of_pins(&instance.path(), processes()) {
            Ok(0) => {
                let removed = remove_pins(&instance.path());
                forget(&name);
                tracing::info!(instance = ?name, ok = removed.is_ok(), "cleaned up after a daemon that was killed");
            }
            Ok(tasks) => tracing::warn!(
                instance = ?name, tasks,
                "a daemon was killed; its tasks stay enforced, and what was not decided before is denied"
            ),
            Err(error) => {
                tracing::warn!(instance = ?name, %error, "cannot look into the pins of a dead daemon")
            }
        }
    }
}
