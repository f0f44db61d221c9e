//! What a decision is made from and what is written of it.

use std::time::Duration;

use super::Pipeline;
use crate::event::{Action, Belongs, Event, Mode};
use crate::ledger::LedgerError;
use crate::ledger::entry::{Attribution, DecidedBy, Entry, Kind, ResourceEntry};
use crate::policy::input::{Context, Input, Subject, Tool};
use crate::policy::recorder::Region;
use crate::policy::{Decision, Drawn, Effect, Evaluation};
use crate::session::Session;
use crate::session::calls::Attributed;
use crate::session::identity::{self, Hashes};

/// What happens under no call.
pub(super) const NO_CALL: Belongs = Belongs::To { own: 0, open: 0 };

impl Pipeline {
    /// Appends an entry about a session that is no decision.
    pub fn note(&mut self, session: u32, kind: Kind, detail: serde_json::Value) -> Result<(), LedgerError> {
        let mut entry = Entry::new(kind);
        if let Some(session) = self.sessions.get_mut(session) {
            of_session(session, &session.attribute(NO_CALL), &mut entry);
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
            let attributed = counted(session);
            of_session(session, &attributed, &mut entry);
            entry.detail = detail_of(&attributed);
            entry.id = known.id;
            entry.count = Some(hits);
            entry.decided_by = Some(DecidedBy::table_of(known.layer));
            entry.decision = Some(known.evaluation.decision);
            entry.policy = Some(known.policy);
            self.append_or_log(entry);
        }
    }

    /// Whether something could not be recorded, the first time this is asked. What was remembered must not go on
    /// deciding without a record.
    pub fn stopped_recording(&mut self) -> bool {
        let first = self.unwritten && !self.revoked;
        self.revoked |= first;
        first
    }

    /// Leaves signing to whoever opens the ledger next.
    pub fn leave_unsigned(&self) {
        self.store.leave_unsigned();
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

    pub(super) fn append(&mut self, entry: Entry) -> Result<(), LedgerError> {
        match self.store.append(entry) {
            Ok(ticket) => self.last_ticket = Some(ticket),
            Err(error) => {
                self.unwritten = true;
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn append_or_log(&mut self, entry: Entry) {
        if let Err(error) = self.append(entry) {
            tracing::error!(%error, "an entry could not be recorded");
        }
    }
}

/// THE fail direction of user space: an evaluation that cannot stand becomes a deny with its cause.
/// (In observe mode the enforcement point blocks nothing, whatever is answered.)
pub(super) fn refuse(evaluation: &mut Evaluation, cause: String) {
    evaluation.decision = Decision::deny("authz-failsafe", &cause);
    evaluation.cause = Some(cause);
}

/// An evaluation that did not take place.
pub(super) fn undecided(effect: Effect) -> Evaluation {
    Evaluation {
        decision: Decision { effect, ..Decision::deny("", "") },
        cause: None,
        input_hash: String::new(),
        output_hash: String::new(),
        cost: Duration::ZERO,
        drawn: Drawn::default(),
        region: Region::default(),
    }
}

/// An enforcement point that does not understand a constraint denies; limits are counted.
pub(super) fn check_limits(session: &mut Session, evaluation: &mut Evaluation) {
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
pub(super) fn build_input(
    session: &Session,
    event: &Event,
    attributed: &Attributed,
    hashes: &mut Hashes,
) -> (Input, Option<String>) {
    let reads = session.engine.reads();
    let properties = identity::subject(reads, &event.task, session.first_pid);
    let context = Context {
        layer: event.layer,
        mode: session.mode,
        session: Some(session.id.to_string()),
        trace_id: Some(attributed.trace.to_string()),
        span_id: Some(attributed.span.to_string()),
        tool: tool(session, attributed),
        request: None,
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

/// The tool call that policy sees: only one that is certain.
fn tool(session: &Session, attributed: &Attributed) -> Option<Tool> {
    let [call] = attributed.calls[..] else { return None };
    let certain = attributed.attribution == Attribution::Exact;
    session.calls.get(call).filter(|_| certain).map(|call| call.tool.clone())
}

/// To what operations belong that were only counted: any call that was open meanwhile.
fn counted(session: &mut Session) -> Attributed {
    let recent = session.calls.take_recent();
    let mut attributed = session.attribute(NO_CALL);
    if !recent.is_empty() {
        attributed.attribution = Attribution::Ambiguous;
        attributed.candidates = recent.iter().filter_map(|id| Some(session.calls.get(*id)?.span)).collect();
        attributed.calls = recent;
    }
    attributed
}

/// What an entry says of calls that are not certain, or over.
fn detail_of(attributed: &Attributed) -> Option<serde_json::Value> {
    match attributed.attribution {
        Attribution::Ambiguous => Some(serde_json::json!({ "candidates": attributed.candidates })),
        Attribution::Exact if attributed.after_end => Some(serde_json::json!({ "after_end": true })),
        _ => None,
    }
}

/// Adds a member to an entry's detail.
pub(super) fn add_detail(entry: &mut Entry, name: &str, value: serde_json::Value) {
    let detail = entry.detail.get_or_insert_with(|| serde_json::json!({}));
    if let Some(members) = detail.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

pub(super) fn of_session(session: &Session, attributed: &Attributed, entry: &mut Entry) {
    entry.session = Some(session.id);
    entry.trace_id = Some(attributed.trace);
    entry.span_id = Some(attributed.span);
    entry.attribution = Some(attributed.attribution);
    entry.mode = Some(session.mode);
    entry.policy = Some(session.engine.digest().to_owned());
}

pub(super) fn decision_entry(
    session: &Session,
    event: &Event,
    attributed: &Attributed,
    evaluation: &Evaluation,
    decided_by: DecidedBy,
) -> Entry {
    let mut entry = decided_entry(session, attributed, evaluation, decided_by);
    entry.layer = Some(event.layer);
    entry.action = Some(event.operation.action.into());
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
    entry
}

/// What the entry of every decision has, whatever was decided about.
pub(super) fn decided_entry(
    session: &Session,
    attributed: &Attributed,
    evaluation: &Evaluation,
    decided_by: DecidedBy,
) -> Entry {
    let mut entry = Entry::new(Kind::Decision);
    of_session(session, attributed, &mut entry);
    entry.detail = detail_of(attributed);
    entry.path = Some("authz/decision".into());
    let hash = |text: &String| (!text.is_empty()).then(|| text.clone());
    entry.input_hash = hash(&evaluation.input_hash);
    entry.output_hash = hash(&evaluation.output_hash);
    entry.nd_builtin_cache = (!evaluation.drawn.is_empty()).then(|| evaluation.drawn.clone());
    entry.causes.extend(evaluation.cause.clone());
    entry.decision = Some(evaluation.decision.clone());
    entry.decided_by = Some(decided_by);
    entry.enforced = Some(session.mode == Mode::Enforce);
    entry.cost_us = Some(evaluation.cost.as_micros() as u64);
    entry
}
