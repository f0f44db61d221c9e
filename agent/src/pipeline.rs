//! THE loop's body: event -> session -> input -> decision -> ledger -> verdict. It names no back end.
//!
//! A denial, and a question to a human, are on the disk before they take effect; an allow is recorded
//! by the same group commit, without waiting. Every path that cannot decide ends in [`Pipeline::refuse`].

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::event::{Action, Event, EventKind, Layer, Mode};
use crate::hold::{Holds, Pending, PendingView};
use crate::ledger::entry::{Attribution, DecidedBy, Entry, Kind, ResourceEntry};
use crate::ledger::{LedgerError, Store, Ticket};
use crate::policy::input::{Context, Input, Subject};
use crate::policy::region::{self, Remember};
use crate::policy::{Decision, Effect, Evaluation};
use crate::session::identity::{self, Hashes};
use crate::session::{Approved, Session, Sessions};

/// Where events come from.
pub trait EventSource {
    /// The next event that is there, without waiting. An error is a record that was not understood.
    fn next(&mut self) -> Option<Result<Event, String>>;
}

/// Where verdicts go.
pub trait VerdictSink {
    /// Answers what waits under the ticket, and tells the task its domain.
    fn answer(&mut self, ticket: u64, allow: bool, domain: u32, generation: u32) -> Result<(), String>;

    /// Lets the enforcement point decide alike by itself from now on.
    fn remember(&mut self, verdict: Remembered<'_>) -> Result<(), String>;

    /// Puts the thread to sleep until `release`: a human is slow.
    fn park(&mut self, tid: i32);

    /// Wakes it.
    fn release(&mut self, tid: i32);
}

/// A verdict to be remembered.
pub struct Remembered<'a> {
    /// Under which domain.
    pub domain: u32,
    /// For what.
    pub key: &'a crate::event::Key,
    /// The verdict.
    pub allow: bool,
    /// For how long.
    pub ttl: Option<Duration>,
    /// A thread waits for it and will find it in the table.
    pub awaited: bool,
    /// The number that an event will name it by.
    pub evaluation: u64,
}

/// What a remembered verdict came from.
#[derive(Clone)]
struct Known {
    id: Uuid,
    session: u32,
    evaluation: Evaluation,
}

/// How many evaluations are kept to name the rule behind a remembered verdict.
const KNOWN_MAX: usize = 100_000;

/// The state that the loop carries from one event to the next.
pub struct Pipeline {
    /// The live sessions.
    pub sessions: Sessions,
    /// What waits for a human.
    pub holds: Holds,
    store: Store,
    hashes: Hashes,
    known: HashMap<u64, Known>,
    known_order: VecDeque<u64>,
    next_evaluation: u64,
    /// Denials whose record is not on the disk yet, and the answers they will become.
    undelivered: Vec<Verdict>,
    last_ticket: Option<Ticket>,
}

/// An answer to be given.
struct Verdict {
    ticket: u64,
    allow: bool,
    domain: u32,
    generation: u32,
}

impl Pipeline {
    /// Around an open ledger.
    pub fn new(store: Store) -> Self {
        Self {
            sessions: Sessions::default(),
            holds: Holds::default(),
            store,
            hashes: Hashes::default(),
            known: HashMap::new(),
            known_order: VecDeque::new(),
            next_evaluation: 1,
            undelivered: Vec::new(),
            last_ticket: None,
        }
    }

    /// Decides up to `max` events that are there; true if there may be more.
    pub fn turn<B: EventSource + VerdictSink>(&mut self, back_end: &mut B, max: usize) -> bool {
        for _ in 0..max {
            match back_end.next() {
                Some(Ok(event)) => self.event(event, back_end),
                Some(Err(error)) => self.gap(&error),
                None => {
                    self.deliver(back_end);
                    return false;
                }
            }
        }
        self.deliver(back_end);
        true
    }

    /// Gives out the denials of this turn, once they are on the disk. If they cannot be written they
    /// are denials all the same.
    fn deliver<B: VerdictSink>(&mut self, back_end: &mut B) {
        if self.undelivered.is_empty() {
            return;
        }
        self.flush();
        for verdict in std::mem::take(&mut self.undelivered) {
            give(back_end, &verdict);
        }
    }

    fn flush(&mut self) {
        if let Some(ticket) = self.last_ticket.take()
            && let Err(error) = self.store.wait(ticket)
        {
            tracing::error!(%error, "the ledger cannot be written: everything is denied in enforce mode");
        }
    }

    fn event<B: VerdictSink>(&mut self, event: Event, back_end: &mut B) {
        match event.kind {
            EventKind::Ask { ticket, .. } => self.ask(event, ticket, back_end),
            EventKind::Remembered { allowed, evaluation } => self.remembered(&event, allowed, evaluation),
            EventKind::Failed { cause } => self.failed(&event, cause),
        }
    }

    /// Something the enforcement point does not know.
    fn ask<B: VerdictSink>(&mut self, event: Event, ticket: Option<u64>, back_end: &mut B) {
        let Some(session) = self.sessions.get_mut(event.session) else {
            self.gap("an operation of a session that is over was refused");
            if let Some(ticket) = ticket {
                self.undelivered.push(Verdict { ticket, allow: false, domain: 0, generation: 0 });
            }
            return;
        };
        let (input, broken) = build_input(session, &event, &mut self.hashes);
        let mut evaluation = session.engine.decide(&input);
        if let Some(cause) = broken {
            refuse(&mut evaluation, cause);
        }
        let mut decided_by = DecidedBy::Policy;
        check_limits(session, &mut evaluation);
        let wait = evaluation.decision.effect == Effect::Escalate;
        if wait
            && session.approved(event.operation.action, &event.operation.resource.id, &evaluation.decision)
        {
            evaluation.decision.effect = Effect::Allow;
            decided_by = DecidedBy::Human;
        }
        if evaluation.decision.effect == Effect::Compute {
            refuse(&mut evaluation, "compute is not available at this enforcement point".into());
        }
        // The numbers are the daemon's; what a span is, only the session knows.
        let reads = session.engine.reads().clone();
        let policy = session.engine.digest().to_owned();
        let generation = session.generation;
        let remember = region::remember(&reads, &input, &evaluation);
        let domain = region::domain_key(&reads, &input)
            .map_or(0, |key| self.sessions.domain(&policy, key.as_bytes().to_vec()));
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        let id = Uuid::now_v7();
        let pending = evaluation.decision.effect == Effect::Escalate && ticket.is_some();
        session.stats.count(event.operation.action, &event.operation.resource.id, &evaluation.decision);
        let mut entry = decision_entry(session, &event, &evaluation, decided_by);
        entry.id = id;
        entry.input = Some(input.to_value());
        let recorded = self.append(entry);
        if let Err(error) = recorded {
            refuse(&mut evaluation, format!("the ledger cannot be written: {error}"));
        }
        let allow = match evaluation.decision.effect {
            Effect::Allow => true,
            Effect::Escalate if pending => {
                self.hold(id, event, ticket.unwrap_or_default(), evaluation, input.to_value(), back_end);
                return;
            }
            // Observe: a human would have been asked; nothing is blocked.
            _ => false,
        };
        // Where the thread will find the verdict in the table it needs no answer beside it: not if its
        // domain is new to it, nor where the table does not bind (a time limit, a second hard link).
        let same_domain = event.domain == domain && event.generation == generation;
        let mut in_table = false;
        if let Remember::Exact { ttl } = remember
            && evaluation.cause.is_none()
            && decided_by == DecidedBy::Policy
            && domain != 0
            && let Some(key) = &event.key
        {
            let awaited = ticket.is_some() && same_domain && ttl.is_none() && !event.multilink;
            if !allow {
                self.flush();
            }
            let number = self.know(Known { id, session: event.session, evaluation });
            let verdict = Remembered { domain, key, allow, ttl, awaited, evaluation: number };
            match back_end.remember(verdict) {
                Ok(()) => in_table = awaited,
                Err(error) => {
                    tracing::debug!(%error, "a verdict could not be remembered; it is asked for each time");
                }
            }
        }
        let Some(ticket) = ticket.filter(|_| !in_table) else { return };
        let verdict = Verdict { ticket, allow, domain, generation };
        if allow {
            give(back_end, &verdict);
        } else {
            self.undelivered.push(verdict);
        }
    }

    /// A question to a human: recorded first, then the thread sleeps.
    fn hold<B: VerdictSink>(
        &mut self,
        id: Uuid,
        event: Event,
        ticket: u64,
        evaluation: Evaluation,
        input: serde_json::Value,
        back_end: &mut B,
    ) {
        self.flush();
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        session.stats.held += 1;
        let since = Instant::now();
        let deadline = since + session.hold_timeout;
        back_end.park(event.task.tid);
        self.holds.insert(Pending { id, event, ticket, evaluation, input, since, deadline });
    }

    /// The table decided.
    fn remembered(&mut self, event: &Event, allowed: bool, evaluation: u64) {
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        session.stats.remembered += 1;
        let known = self.known.get(&evaluation);
        let effect = if allowed { Effect::Allow } else { Effect::Deny };
        let evaluation = known.map_or_else(|| undecided(effect), |known| known.evaluation.clone());
        session.stats.count(event.operation.action, &event.operation.resource.id, &evaluation.decision);
        let mut entry = decision_entry(session, event, &evaluation, DecidedBy::Kernel);
        entry.detail = known.map(|known| serde_json::json!({ "evaluated_as": known.id }));
        entry.cost_us = None;
        self.append_or_log(entry);
    }

    /// The enforcement point could not decide.
    fn failed(&mut self, event: &Event, cause: &str) {
        let Some(session) = self.sessions.get_mut(event.session) else {
            self.gap(&format!("an operation of a session that is over was refused: {cause}"));
            return;
        };
        session.stats.failed += 1;
        let mut evaluation = undecided(Effect::Deny);
        refuse(&mut evaluation, cause.to_owned());
        session.stats.count(event.operation.action, &event.operation.resource.id, &evaluation.decision);
        let entry = decision_entry(session, event, &evaluation, DecidedBy::Failsafe);
        self.append_or_log(entry);
    }

    /// A human's answer. The error is for the human.
    pub fn answer<B: VerdictSink>(
        &mut self,
        id: Uuid,
        approve: Option<Approved>,
        by: &str,
        reason: &str,
        back_end: &mut B,
    ) -> Result<(), String> {
        let pending = self.holds.take(id).ok_or("no operation waits under this id")?;
        self.settle(pending, approve, DecidedBy::Human, by, reason, back_end);
        Ok(())
    }

    /// Denies what nobody answered in time.
    pub fn expire<B: VerdictSink>(&mut self, back_end: &mut B) {
        while let Some(pending) = self.holds.take_expired(Instant::now()) {
            self.settle(pending, None, DecidedBy::Failsafe, "deadline", "nobody answered in time", back_end);
        }
    }

    /// Ends the hold of a thread that cannot be parked or has ended.
    pub fn abandon<B: VerdictSink>(&mut self, tid: i32, why: &str, back_end: &mut B) {
        if let Some(pending) = self.holds.take_thread(tid) {
            self.settle(pending, None, DecidedBy::Failsafe, "authz", why, back_end);
        }
    }

    fn settle<B: VerdictSink>(
        &mut self,
        pending: Pending,
        approve: Option<Approved>,
        decided_by: DecidedBy,
        by: &str,
        reason: &str,
        back_end: &mut B,
    ) {
        let Pending { id, event, ticket, mut evaluation, since, .. } = pending;
        let mut generation = 0;
        let mut entry = Entry::new(Kind::Answer);
        if let Some(session) = self.sessions.get_mut(event.session) {
            generation = session.generation;
            let (action, resource) = (event.operation.action, &event.operation.resource.id);
            if let Some(how) = approve {
                session.approve(action, resource, &evaluation.decision, how);
                evaluation.decision.effect = Effect::Allow;
            } else {
                evaluation.decision.effect = Effect::Deny;
                session.stats.count(action, resource, &evaluation.decision);
                session.stats.operations -= 1;
            }
            entry = decision_entry(session, &event, &evaluation, decided_by);
            entry.kind = Kind::Answer;
        }
        entry.id = id;
        entry.held_us = Some(since.elapsed().as_micros() as u64);
        entry.output_hash = None;
        entry.cost_us = None;
        entry.detail = Some(serde_json::json!({
            "by": by, "reason": reason,
            "for": match approve {
                None => "".into(),
                Some(Approved::Once) => "once".to_owned(),
                Some(Approved::Session) => "session".into(),
                Some(Approved::For(duration)) => format!("{}s", duration.as_secs()),
            },
        }));
        let mut allow = approve.is_some();
        if let Err(error) = self.append(entry) {
            tracing::error!(%error, "an answer could not be recorded: it is a deny");
            allow = false;
        }
        self.flush();
        // Domain 0: what a human says for once is remembered nowhere.
        give(back_end, &Verdict { ticket, allow, domain: 0, generation });
        back_end.release(event.task.tid);
    }

    /// Everything that waits, as it is shown.
    pub fn pending(&mut self) -> Vec<PendingView> {
        let now = Instant::now();
        let mut views = Vec::new();
        for pending in self.holds.iter() {
            let Some(session) = self.sessions.get_mut(pending.event.session) else { continue };
            views.push(PendingView {
                id: pending.id,
                session: session.id,
                agent: session.name.clone(),
                pid: pending.event.task.tgid,
                action: pending.event.operation.action.as_str().into(),
                resource: pending.event.operation.resource.id.clone(),
                decision: pending.evaluation.decision.clone(),
                waited_ms: pending.since.elapsed().as_millis() as u64,
                left_ms: pending.deadline.saturating_duration_since(now).as_millis() as u64,
            });
        }
        views
    }

    /// Appends an entry about a session that is no decision.
    pub fn note(&mut self, session: u32, kind: Kind, detail: serde_json::Value) -> Result<(), LedgerError> {
        let mut entry = Entry::new(kind);
        if let Some(session) = self.sessions.get_mut(session) {
            of_session(session, &mut entry);
        }
        entry.detail = Some(detail);
        self.append(entry)?;
        if let Some(ticket) = self.last_ticket.take() {
            self.store.wait(ticket)?;
        }
        Ok(())
    }

    /// Records how often remembered verdicts were used since the last time.
    pub fn count_hits(&mut self, hits: impl Iterator<Item = (u64, u64)>) {
        for (evaluation, hits) in hits {
            let Some(known) = self.known.get(&evaluation).cloned() else { continue };
            let Some(session) = self.sessions.get_mut(known.session) else { continue };
            let denied = known.evaluation.decision.effect == Effect::Deny;
            if denied {
                continue; // each was an event of its own
            }
            session.stats.operations += hits;
            session.stats.remembered += hits;
            let mut entry = Entry::new(Kind::Remembered);
            of_session(session, &mut entry);
            entry.id = known.id;
            entry.count = Some(hits);
            entry.decided_by = Some(DecidedBy::Kernel);
            entry.decision = Some(known.evaluation.decision);
            self.append_or_log(entry);
        }
    }

    /// A gap in the record is itself a record.
    pub fn gap(&mut self, what: &str) {
        let mut entry = Entry::new(Kind::Gap);
        entry.causes.push(what.to_owned());
        self.append_or_log(entry);
    }

    /// Operations that left no event of their own, with their common cause.
    pub fn unrecorded(&mut self, cause: &str, count: u64) {
        let mut entry = Entry::new(Kind::Gap);
        entry.causes.push(cause.into());
        entry.count = Some(count);
        self.append_or_log(entry);
    }

    fn append(&mut self, entry: Entry) -> Result<(), LedgerError> {
        self.last_ticket = Some(self.store.append(entry)?);
        Ok(())
    }

    fn append_or_log(&mut self, entry: Entry) {
        if let Err(error) = self.append(entry) {
            tracing::error!(%error, "an entry could not be recorded");
        }
    }

    fn know(&mut self, known: Known) -> u64 {
        let number = self.next_evaluation;
        self.next_evaluation += 1;
        self.known.insert(number, known);
        self.known_order.push_back(number);
        if self.known_order.len() > KNOWN_MAX
            && let Some(oldest) = self.known_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        number
    }
}

/// THE fail direction of user space: an evaluation that cannot stand becomes a deny with its cause.
/// (In observe mode the enforcement point blocks nothing, whatever is answered.)
fn refuse(evaluation: &mut Evaluation, cause: String) {
    evaluation.decision = Decision::deny("authz-failsafe", &cause);
    evaluation.cause = Some(cause);
}

/// An evaluation that did not take place.
fn undecided(effect: Effect) -> Evaluation {
    Evaluation {
        decision: Decision { effect, ..Decision::deny("", "") },
        cause: None,
        input_hash: String::new(),
        output_hash: String::new(),
        cost: Duration::ZERO,
        deterministic: true,
    }
}

fn give<B: VerdictSink>(back_end: &mut B, verdict: &Verdict) {
    let Verdict { ticket, allow, domain, generation } = *verdict;
    // The hook denies by itself at its deadline.
    if let Err(error) = back_end.answer(ticket, allow, domain, generation) {
        tracing::error!(%error, "an answer could not be given: the operation fails at its deadline");
    }
}

/// An enforcement point that does not understand a constraint denies; limits are counted.
fn check_limits(session: &mut Session, evaluation: &mut Evaluation) {
    if evaluation.decision.effect != Effect::Allow || evaluation.decision.constraints.is_empty() {
        return;
    }
    let limits = evaluation.decision.limits().map_err(|error| error.to_string());
    let counted = limits.and_then(|limits| session.count_use(&evaluation.decision, &limits));
    if let Err(why) = counted {
        refuse(evaluation, why);
    }
}

/// The input of an event, and why it cannot be trusted, if so.
fn build_input(session: &Session, event: &Event, hashes: &mut Hashes) -> (Input, Option<String>) {
    let reads = session.engine.reads();
    let properties = identity::subject(reads, &event.task, session.first_pid);
    let context = Context {
        layer: Layer::Kernel,
        mode: session.mode,
        session: Some(session.id.to_string()),
        trace_id: Some(session.trace.to_string()),
        span_id: Some(span(session)),
        tool: session.call.as_ref().map(|call| call.tool.clone()),
    };
    let mut input = Input::new(Subject::agent(&session.name, properties), &event.operation, context);
    let mut broken = None;
    if event.operation.action == Action::ProcessExec && reads.needs("resource.properties.sha256") {
        match event.file {
            Some(file) if event.operation.resource.id.starts_with('/') => {
                match hashes.sha256(&event.operation.resource.id, file) {
                    Ok(hash) => drop(input.resource.properties.insert("sha256".into(), hash.into())),
                    Err(error) => broken = Some(error.to_string()),
                }
            }
            _ => broken = Some("the program has no path to hash it by, and the policy reads sha256".into()),
        }
    }
    (input, broken)
}

fn span(session: &Session) -> String {
    session.call.as_ref().map_or_else(|| session.span.to_string(), |call| call.span.clone())
}

fn of_session(session: &Session, entry: &mut Entry) {
    entry.session = Some(session.id);
    entry.trace_id = Some(session.trace);
    entry.span_id = span(session).parse().ok();
    entry.attribution = Some(if session.call.is_some() { Attribution::Exact } else { Attribution::None });
    entry.mode = Some(session.mode);
    entry.policy = Some(session.engine.digest().to_owned());
}

fn decision_entry(session: &Session, event: &Event, evaluation: &Evaluation, decided_by: DecidedBy) -> Entry {
    let mut entry = Entry::new(Kind::Decision);
    of_session(session, &mut entry);
    entry.layer = Some(Layer::Kernel);
    entry.action = Some(event.operation.action);
    entry.resource = Some(ResourceEntry {
        kind: event.operation.action.resource_type().into(),
        id: event.operation.resource.id.clone(),
        properties: event.operation.resource.properties.clone(),
        raw: None,
    });
    entry.subject = Some(serde_json::json!({
        "pid": event.task.tgid, "tid": event.task.tid, "uid": event.task.uid, "comm": event.task.comm,
    }));
    entry.syscall = event
        .operation
        .properties
        .get("syscall")
        .map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned));
    entry.path = Some("authz/decision".into());
    let hash = |text: &String| (!text.is_empty()).then(|| text.clone());
    entry.input_hash = hash(&evaluation.input_hash);
    entry.output_hash = hash(&evaluation.output_hash);
    entry.causes.extend(evaluation.cause.clone());
    entry.decision = Some(evaluation.decision.clone());
    entry.decided_by = Some(decided_by);
    entry.enforced = Some(session.mode == Mode::Enforce);
    entry.cost_us = Some(evaluation.cost.as_micros() as u64);
    entry
}
