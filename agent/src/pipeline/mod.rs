//! THE loop's body: event -> session -> input -> decision -> ledger -> verdict. It names no back end.
//!
//! A denial, and a question to a human, are on the disk before they take effect; an allow is recorded
//! by the same group commit, without waiting. Every path that cannot decide ends in [`Pipeline::refuse`].

pub mod calls;
pub mod change;
mod findings;
mod holds;
pub mod questions;
mod record;
pub mod why;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::event::{Action, Event, EventKind, Layer, Mode};
use crate::hold::Holds;
use crate::ledger::entry::DecidedBy;
use crate::ledger::{Store, Ticket, Time};
use crate::policy::hash_of;
use crate::policy::recorder::Region;
use crate::policy::region::{self, Remember};
use crate::policy::{Effect, Evaluation};
use crate::session::calls::Attributed;
use crate::session::identity::Hashes;
use crate::session::{Session, Sessions};

use record::{add_detail, build_input, check_limits, decision_entry, refuse, undecided};

/// Where events come from.
pub trait EventSource {
    /// The next event that is there, without waiting. An error is a record that was not understood.
    fn next(&mut self) -> Option<Result<Event, String>>;
}

/// Where verdicts go.
pub trait VerdictSink {
    /// Answers what waits under the ticket, and tells the task its domain.
    fn answer(&mut self, ticket: u64, answer: Answer) -> Result<(), String>;

    /// Whether it can do an operation of this action to something else ([`Verdict::Compute`]).
    fn computes(&self, _action: Action) -> bool {
        false
    }

    /// Lets the enforcement point decide alike by itself from now on.
    fn remember(&mut self, verdict: Remembered<'_>) -> Result<(), String>;

    /// What it would decide from for this domain and key. It is looked at, not used.
    fn recall(&self, _domain: u32, _key: &crate::event::Key) -> Option<Recalled> {
        None
    }

    /// Puts the thread that waits under the ticket to sleep until `release`: a human is slow.
    fn park(&mut self, tid: i32, ticket: u64);

    /// Wakes it.
    fn release(&mut self, tid: i32);
}

/// What becomes of an operation that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Allow,
    /// It fails.
    Deny,
    /// It happens to this path or address instead.
    Compute(String),
}

/// What an enforcement point is told.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What becomes of the operation.
    pub verdict: Verdict,
    /// Under which domain the task's operations are remembered from now on; 0: under none.
    pub domain: u32,
    /// Of what that number means.
    pub generation: u32,
}

/// A verdict to be remembered.
pub struct Remembered<'a> {
    /// For which session.
    pub session: u32,
    /// Under which domain.
    pub domain: u32,
    /// For what,
    pub key: &'a crate::event::Key,
    /// and for which resources around it.
    pub region: Region,
    /// The verdict.
    pub allow: bool,
    /// For how long.
    pub ttl: Option<Duration>,
    /// The number that an event will name it by.
    pub evaluation: u64,
}

/// A verdict as an enforcement point remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The verdict.
    pub allow: bool,
    /// Of which evaluation.
    pub evaluation: u64,
    /// How often it was used, as far as that is counted there.
    pub hits: u64,
    /// How long it holds still, down to nothing; none: as long as its domain.
    pub left: Option<Duration>,
}

/// What a remembered verdict came from.
#[derive(Clone)]
struct Known {
    id: Uuid,
    time: Time,
    resource: String,
    layer: Layer,
    session: u32,
    /// Digest of the policy, which the session may have no more.
    policy: String,
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
    undelivered: Vec<Given>,
    last_ticket: Option<Ticket>,
    /// An entry could not be written,
    unwritten: bool,
    /// and no verdict from before holds any more.
    revoked: bool,
    /// Tool calls that a human has answered, or nobody in time.
    answered: Vec<calls::CallView>,
    questions: questions::Questions,
}

/// An answer on its way.
struct Given {
    ticket: u64,
    answer: Answer,
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
            unwritten: false,
            revoked: false,
            answered: Vec::new(),
            questions: questions::Questions::default(),
        }
    }

    /// Decides up to `max` events that are there; true if there may be more.
    pub fn turn<B: EventSource + VerdictSink + ?Sized>(&mut self, back_end: &mut B, max: usize) -> bool {
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
    fn deliver<B: VerdictSink + ?Sized>(&mut self, back_end: &mut B) {
        if self.undelivered.is_empty() {
            return;
        }
        self.flush();
        for given in std::mem::take(&mut self.undelivered) {
            give(back_end, given);
        }
    }

    fn flush(&mut self) {
        if let Some(ticket) = self.last_ticket.take()
            && let Err(error) = self.store.wait(ticket)
        {
            self.unwritten = true;
            tracing::error!(%error, "the ledger cannot be written: everything is denied in enforce mode");
        }
    }

    fn event<B: VerdictSink + ?Sized>(&mut self, event: Event, back_end: &mut B) {
        match event.kind {
            EventKind::Ask { ticket, .. } => self.ask(event, ticket, back_end),
            EventKind::Remembered { allowed, evaluation } => self.remembered(&event, allowed, evaluation),
            EventKind::Failed { cause } => self.failed(&event, cause),
        }
    }

    /// Something the enforcement point does not know.
    fn ask<B: VerdictSink + ?Sized>(&mut self, event: Event, ticket: Option<u64>, back_end: &mut B) {
        let Some(session) = self.sessions.get_mut(event.session) else {
            self.gap("an operation of a session that is over was refused");
            if let Some(ticket) = ticket {
                let answer = Answer { verdict: Verdict::Deny, domain: 0, generation: 0 };
                self.undelivered.push(Given { ticket, answer });
            }
            return;
        };
        let attributed = session.attribute(event.belongs);
        let (input, broken) = build_input(session, &event, &attributed, &mut self.hashes);
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
        let instead = match instead(&evaluation, &event, back_end) {
            Ok(instead) => instead,
            Err(cause) => {
                refuse(&mut evaluation, cause);
                None
            }
        };
        // The numbers are the daemon's; what a span is, only the session knows.
        let policy = session.engine.digest().to_owned();
        let generation = session.generation;
        let remember = region::remember(&session.engine, &input, &evaluation);
        let same_names = event.key.as_ref().is_none_or(|key| key.names == names_in(session, &event));
        let domain = region::domain_key(session.engine.reads(), &input)
            .map_or(0, |key| self.sessions.domain(&policy, key.as_bytes().to_vec()));
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        let id = Uuid::now_v7();
        let pending = evaluation.decision.effect == Effect::Escalate && ticket.is_some();
        session.stats.count(event.operation.action, &event.operation.resource.id, &evaluation.decision);
        let mut entry = decision_entry(session, &event, &attributed, &evaluation, decided_by);
        entry.id = id;
        let time = entry.time;
        entry.input = Some(input.to_value());
        if let Some(instead) = &instead {
            entry.requested_id = Some(event.operation.resource.id.clone());
            entry.enforced_id = Some(instead.clone());
        }
        let recorded = self.append(entry);
        if let Err(error) = recorded {
            refuse(&mut evaluation, format!("the ledger cannot be written: {error}"));
        }
        // Without a record nothing is decided from memory.
        let domain = if self.unwritten { 0 } else { domain };
        self.tell(&event, id, &evaluation, &attributed);
        self.find(&event, id, &attributed);
        let verdict = match (evaluation.decision.effect, instead) {
            (Effect::Allow, _) => Verdict::Allow,
            (Effect::Compute, Some(instead)) => Verdict::Compute(instead),
            (Effect::Escalate, _) if pending => {
                self.hold(id, event, ticket.unwrap_or_default(), evaluation, input.to_value(), back_end);
                return;
            }
            // Observe: a human would have been asked; nothing is blocked.
            _ => Verdict::Deny,
        };
        let allow = verdict == Verdict::Allow;
        // Where the thread will find the verdict in the table it needs no answer beside it: not if its
        // domain is new to it, nor where the table does not bind (a time limit, a second hard link).
        let same_domain = event.domain == domain && event.generation == generation;
        let mut in_table = false;
        if let Remember::Within { region, ttl } = remember
            && evaluation.cause.is_none()
            && same_names
            && decided_by == DecidedBy::Policy
            && domain != 0
            && let Some(key) = &event.key
        {
            if !allow {
                self.flush();
            }
            let (layer, session) = (event.layer, event.session);
            let resource = event.operation.resource.id.clone();
            let number = self.know(Known { id, time, resource, layer, session, policy, evaluation });
            let finds_it = same_domain && ttl.is_none() && !event.multilink;
            let remembered = Remembered { session, domain, key, region, allow, ttl, evaluation: number };
            match back_end.remember(remembered) {
                Ok(()) => in_table = finds_it,
                Err(error) => {
                    tracing::debug!(%error, "a verdict could not be remembered; it is asked for each time");
                }
            }
        }
        let Some(ticket) = ticket.filter(|_| !in_table) else { return };
        // A rewritten operation is on the disk before it happens, like a denial.
        let given = Given { ticket, answer: Answer { verdict, domain, generation } };
        if allow {
            give(back_end, given);
        } else {
            self.undelivered.push(given);
        }
    }

    /// The table decided.
    fn remembered(&mut self, event: &Event, allowed: bool, evaluation: u64) {
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        session.stats.remembered += 1;
        let known = self.known.get(&evaluation);
        let effect = if allowed { Effect::Allow } else { Effect::Deny };
        let evaluation = known.map_or_else(|| undecided(effect), |known| known.evaluation.clone());
        session.stats.count(event.operation.action, &event.operation.resource.id, &evaluation.decision);
        let attributed = session.attribute(event.belongs);
        let mut entry =
            decision_entry(session, event, &attributed, &evaluation, DecidedBy::table_of(event.layer));
        if let Some(known) = known {
            add_detail(&mut entry, "evaluated_as", serde_json::json!(known.id));
            entry.policy = Some(known.policy.clone());
        }
        entry.cost_us = None;
        // The verdict may have come from another resource of the region: what was decided here is put down.
        let (input, _) = build_input(session, event, &attributed, &mut self.hashes);
        let input = input.to_value();
        entry.input_hash = Some(hash_of(&input));
        entry.input = Some(input);
        let id = entry.id;
        self.append_or_log(entry);
        self.tell(event, id, &evaluation, &attributed);
        self.find(event, id, &attributed);
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
        let attributed = session.attribute(event.belongs);
        let entry = decision_entry(session, event, &attributed, &evaluation, DecidedBy::Failsafe);
        let id = entry.id;
        self.append_or_log(entry);
        self.tell(event, id, &evaluation, &attributed);
    }

    /// Keeps what was denied for the answer to the tool call that caused it.
    fn tell(&mut self, event: &Event, id: Uuid, evaluation: &Evaluation, attributed: &Attributed) {
        if evaluation.decision.effect == Effect::Deny
            && let Some(session) = self.sessions.get_mut(event.session)
            && session.mode == Mode::Enforce
        {
            session.denied(id, &event.operation, &evaluation.decision, attributed);
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

fn give<B: VerdictSink + ?Sized>(back_end: &mut B, given: Given) {
    // The enforcement point denies by itself at its deadline.
    if let Err(error) = back_end.answer(given.ticket, given.answer) {
        tracing::error!(%error, "an answer could not be given: the operation fails at its deadline");
    }
}

/// Which groups of names the policy finds in the resource's path. An enforcement point that sees others is wrong.
fn names_in(session: &Session, event: &Event) -> u8 {
    let id = event.operation.resource.id.as_bytes();
    if id.starts_with(b"/") { session.engine.names().mask(id) } else { 0 }
}

/// What a `compute` decision puts in the place of the resource; the error says why it cannot be done.
fn instead<B: VerdictSink + ?Sized>(
    evaluation: &Evaluation,
    event: &Event,
    back_end: &B,
) -> Result<Option<String>, String> {
    if evaluation.decision.effect != Effect::Compute {
        return Ok(None);
    }
    if !back_end.computes(event.operation.action) {
        return Err("compute is not available at this enforcement point".into());
    }
    let member = if event.operation.action == Action::NetConnect { "address" } else { "path" };
    let rewrite = evaluation.decision.rewrite.as_ref().and_then(|rewrite| rewrite.get(member)?.as_str());
    match rewrite {
        Some(path) if member == "path" && !path.starts_with('/') => {
            Err(format!("the rewrite's path {path:?} is not absolute"))
        }
        Some(instead) => Ok(Some(instead.to_owned())),
        None => Err(format!("the rule's rewrite has no {member:?}")),
    }
}
