//! Tool calls: decided like any operation, together with what they imply (`data.authz.tools`). The strictest
//! decision holds for the call. From its start to its end a call is open, and operations are seen under it.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Pipeline;
use super::record::{add_detail, build_input, check_limits, decision_entry, of_session, refuse};
use crate::clock::monotonic_ns;
use crate::event::{Action, Belongs, Event, EventKind, Mode, Operation, Resource, Task};
use crate::hold::{Pending, Waiter};
use crate::ledger::entry::{DecidedBy, Entry, Kind};
use crate::policy::implied::{Base, Implied};
use crate::policy::{Decision, Effect, Evaluation, RuleRef};
use crate::session::Session;
use crate::session::calls::{Call, DenialView, Outcome, Source, ToolCall};
use crate::session::declared::Declared;

/// Operations of a session that may wait for a human when another call comes.
const HELD_MAX: usize = 1000;

/// What a gate is told about a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallView {
    /// The decision's id, and the call's.
    pub call: Uuid,
    /// The session.
    pub session: Uuid,
    /// What the gate has to do now; in observe mode always to let it pass.
    pub effect: Effect,
    /// Whether decisions bind.
    pub mode: Mode,
    /// The rules of the strictest decision.
    pub rules: Vec<RuleRef>,
    /// Under compute: send these arguments instead.
    #[serde(default)]
    pub arguments: Option<Value>,
    /// Under escalate: what a human answers by.
    #[serde(default)]
    pub pending: Option<String>,
    /// W3C trace context of the call, for the server.
    pub traceparent: String,
    /// Its span.
    pub span_id: String,
    /// Its trace.
    pub trace_id: String,
}

/// A part of a call, decided: the call itself, or what it implies.
struct Judged {
    event: Event,
    evaluation: Evaluation,
    input: Value,
    /// Where in the arguments its name came from.
    origin: Option<String>,
    decided_by: DecidedBy,
}

impl Pipeline {
    /// What a call implies by the session's policy, its paths as they are named; or why that cannot be told.
    pub fn implied(&self, index: u32, asked: &ToolCall) -> Result<Vec<Implied>, String> {
        let session = self.sessions.get(index).ok_or("the session is over")?;
        let base = Base { folder: asked.cwd.as_deref(), home: asked.home.as_deref() };
        let implied = session.engine.tools().implied(&asked.resource(), &asked.tool(), base);
        implied.map_err(|error| error.to_string())
    }

    /// Decides a call with what it implies, its paths resolved; or with why that cannot be told. One that may go on is
    /// open when this returns; all of it is on the disk.
    pub fn open_call(
        &mut self,
        index: u32,
        asked: &ToolCall,
        implied: Result<Vec<Implied>, String>,
        source: Source,
        peer: Task,
    ) -> Result<CallView, String> {
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        if let Some(lost) = session.calls.make_room() {
            self.close_entry(index, lost, Outcome::Lost)?;
        }
        if self.holds.iter().filter(|pending| pending.event.session == index).count() >= HELD_MAX {
            return Err(format!("{HELD_MAX} operations of this session wait for an answer already"));
        }
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        let mut call = Call::new(asked, source, session.trace);
        let id = call.id;
        let resource = call.resource();
        let (implied, untold) = match implied {
            Ok(implied) => (implied, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let declared = |Implied { operation, .. }: &Implied| Declared {
            action: operation.action,
            id: operation.resource.id.clone(),
        };
        call.declared = implied.iter().map(declared).collect();
        session.calls.add(call.clone());
        let event = |operation: Operation| Event {
            time_ns: monotonic_ns(),
            layer: asked.layer,
            session: index,
            task: peer.clone(),
            belongs: Belongs::Call(id),
            kind: EventKind::Ask { ticket: None, park: false },
            operation,
            key: None,
            domain: 0,
            generation: 0,
            multilink: false,
            file: None,
            observe: false,
        };
        let mut judged = vec![self.judge(event(itself(asked, resource)), None, untold)?];
        for Implied { operation, origin, .. } in implied {
            judged.push(self.judge(event(operation), origin, None)?);
        }
        let recorded = self.record_call(asked, &call, &judged);
        self.flush();
        let mut decision = strictest(&judged).decision.clone();
        if let Err(error) = recorded {
            decision = Decision::deny("authz-failsafe", &format!("the ledger cannot be written: {error}"));
        }
        let arguments = match rewritten(&asked.arguments, &judged) {
            Ok(arguments) => arguments,
            Err(cause) => {
                decision = Decision::deny("authz-failsafe", &cause);
                None
            }
        };
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        let effect = if session.mode == Mode::Observe { Effect::Allow } else { decision.effect };
        let view =
            view(session, &call, effect, &decision, arguments.filter(|_| session.mode == Mode::Enforce));
        match effect {
            Effect::Allow | Effect::Compute => {
                session.calls.open(id);
                session.calls_changed();
            }
            Effect::Escalate => {
                let mut asks = judged.into_iter().filter(|part| part.evaluation.decision.effect == effect);
                let Some(Judged { event, evaluation, input, .. }) = asks.next() else { return Ok(view) };
                let also = asks.map(|part| (part.event.operation, part.evaluation.decision)).collect();
                session.stats.held += 1;
                let since = Instant::now();
                let deadline = since + session.hold_timeout;
                let waiter = Waiter::Gate { tool: call.resource(), arguments: view.arguments.clone(), also };
                self.holds.insert(Pending { id, event, waiter, evaluation, input, since, deadline });
            }
            Effect::Deny => {}
        }
        Ok(view)
    }

    fn judge(
        &mut self,
        event: Event,
        origin: Option<String>,
        broken: Option<String>,
    ) -> Result<Judged, String> {
        let session = self.sessions.get_mut(event.session).ok_or("the session is over")?;
        let attributed = session.attribute(event.belongs);
        let (input, unknown) = build_input(session, &event, &attributed, &mut self.hashes);
        let mut evaluation = session.engine.decide(&input);
        if let Some(cause) = broken.or(unknown) {
            refuse(&mut evaluation, cause);
        }
        check_limits(session, &mut evaluation);
        let mut decided_by = DecidedBy::Policy;
        let (action, resource) = (event.operation.action, &event.operation.resource.id);
        if evaluation.decision.effect == Effect::Escalate
            && session.approved(action, resource, &evaluation.decision)
        {
            evaluation.decision.effect = Effect::Allow;
            decided_by = DecidedBy::Human;
        }
        session.stats.count(action, resource, &evaluation.decision);
        Ok(Judged { event, evaluation, input: input.to_value(), origin, decided_by })
    }

    fn record_call(&mut self, asked: &ToolCall, call: &Call, judged: &[Judged]) -> Result<(), String> {
        for (number, part) in judged.iter().enumerate() {
            let Some(session) = self.sessions.get_mut(part.event.session) else { continue };
            let attributed = session.attribute(part.event.belongs);
            let mut entry =
                decision_entry(session, &part.event, &attributed, &part.evaluation, part.decided_by);
            entry.input = Some(part.input.clone());
            if number == 0 {
                entry.id = call.id;
                let parent = call.parent.map(|span| span.to_string());
                entry.detail = Some(json!({
                    "call_id": asked.call_id, "parent_span": parent, "source": call.source,
                    "claimed": asked.claimed, "cwd": asked.cwd, "home": asked.home,
                }));
            } else {
                add_detail(&mut entry, "implied_by", json!(call.id));
            }
            self.append(entry).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What a human, or the deadline, says about a call.
    pub(super) fn call_answered(
        &mut self,
        event: &Event,
        id: Uuid,
        allow: bool,
        decision: &Decision,
        arguments: Option<Value>,
    ) {
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        let Some(call) = session.calls.get(id).cloned() else { return };
        // It was switched to observe while the call waited.
        let allow = allow || session.mode == Mode::Observe;
        let effect = match (allow, &arguments) {
            (false, _) => Effect::Deny,
            (true, Some(_)) => Effect::Compute,
            (true, None) => Effect::Allow,
        };
        let view = view(session, &call, effect, decision, arguments);
        self.answered.push(view);
    }

    /// A gate takes the answer to a call: one that may go on is open from here on.
    pub fn begin_answered(&mut self, index: u32, view: &CallView) {
        if view.effect < Effect::Escalate
            && let Some(session) = self.sessions.get_mut(index)
        {
            session.calls.open(view.call);
            session.calls_changed();
        }
    }

    /// An answer that no gate has taken for too long: the call did not take place.
    pub fn forget_answered(&mut self, index: u32, view: &CallView) {
        if view.effect < Effect::Escalate
            && let Err(error) = self.close_entry(index, view.call, Outcome::Lost)
        {
            tracing::error!(error, "the end of a call could not be recorded");
        }
    }

    /// Calls that were answered since the last time.
    pub fn take_answered(&mut self) -> Vec<CallView> {
        std::mem::take(&mut self.answered)
    }

    /// Records what the client of a gate said about a call that waits.
    pub fn elicited(&mut self, index: u32, id: Uuid, action: &str) -> Result<(), String> {
        let waits = |pending: &&Pending| pending.id == id && pending.event.session == index;
        if self.holds.iter().find(waits).is_none() {
            return Err("no call waits under this id".into());
        }
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        let mut entry = Entry::new(Kind::Elicited);
        of_session(session, &session.attribute(Belongs::Call(id)), &mut entry);
        entry.detail = Some(json!({ "call": id, "action": action }));
        self.append(entry).map_err(|error| error.to_string())
    }

    /// A gate takes back a call that waits: as if nobody had answered.
    pub fn withdraw_call(&mut self, index: u32, id: Uuid) -> Result<(), String> {
        let waits = |pending: &&Pending| pending.id == id && pending.event.session == index;
        if self.holds.iter().find(waits).is_none() {
            return Err("no call waits under this id".into());
        }
        let Some(pending) = self.holds.take(id) else { return Ok(()) };
        let mut decision = pending.evaluation.decision;
        decision.effect = Effect::Deny;
        self.close_entry(index, id, Outcome::Cancelled)?;
        self.call_answered(&pending.event, id, false, &decision, None);
        Ok(())
    }

    /// The end of an open call; what was denied under it.
    pub fn close_call(
        &mut self,
        index: u32,
        name: &str,
        outcome: Outcome,
    ) -> Result<Vec<DenialView>, String> {
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        let id = session.calls.find(name).ok_or_else(|| format!("no call {name:?} is open"))?;
        session.calls.close(id);
        session.calls_changed();
        let denials = session.denials.iter().filter(|denial| denial.calls.contains(&id)).cloned().collect();
        self.close_entry(index, id, outcome)?;
        Ok(denials)
    }

    /// An agent's turn is over: none of its tools runs any more. What is still open of it was never run, or ended
    /// without a word.
    pub fn end_turn(
        &mut self,
        index: u32,
        source: Source,
        claimed: &Map<String, Value>,
    ) -> Result<(), String> {
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        for id in session.calls.of_turn(source, claimed) {
            self.close_call(index, &id.to_string(), Outcome::Lost)?;
        }
        Ok(())
    }

    fn close_entry(&mut self, index: u32, id: Uuid, outcome: Outcome) -> Result<(), String> {
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        let mut entry = Entry::new(Kind::CallClosed);
        of_session(session, &session.attribute(Belongs::Call(id)), &mut entry);
        entry.detail = Some(json!({ "call": id, "outcome": outcome }));
        self.append(entry).map_err(|error| error.to_string())
    }
}

/// The call as an operation.
fn itself(asked: &ToolCall, id: String) -> Operation {
    let mut properties = Map::new();
    properties.insert("arguments".into(), asked.arguments.clone());
    if !asked.annotations.is_null() {
        properties.insert("annotations".into(), asked.annotations.clone());
    }
    let resource = Resource { id, properties };
    Operation { action: Action::ToolCall, resource, properties: Map::new() }
}

/// The strictest decision; of equals the first.
fn strictest(judged: &[Judged]) -> &Evaluation {
    let strictest = judged.iter().rev().max_by_key(|part| part.evaluation.decision.effect);
    &strictest.unwrap_or(&judged[0]).evaluation
}

/// The arguments that compute decisions make of those asked for; none: as they are.
fn rewritten(arguments: &Value, judged: &[Judged]) -> Result<Option<Value>, String> {
    let mut new = None;
    for part in judged.iter().filter(|part| part.evaluation.decision.effect == Effect::Compute) {
        let arguments = new.get_or_insert_with(|| arguments.clone());
        let rewrite = part.evaluation.decision.rewrite.clone().unwrap_or_default();
        match (&part.origin, part.event.operation.action) {
            (_, Action::ToolCall) => {
                let (Some(members), Some(target)) =
                    (rewrite["arguments"].as_object(), arguments.as_object_mut())
                else {
                    return Err("the rule's rewrite has no object \"arguments\", or the call has none".into());
                };
                target.extend(members.clone());
            }
            (Some(origin), action) => {
                let member = if action == Action::NetConnect { "url" } else { "path" };
                let (Some(text), Some(target)) = (rewrite[member].as_str(), arguments.pointer_mut(origin))
                else {
                    return Err(format!("the rule's rewrite has no {member:?}"));
                };
                *target = text.into();
            }
            (None, _) => return Err("compute cannot replace an argument that is not given".into()),
        }
    }
    Ok(new)
}

fn view(
    session: &Session,
    call: &Call,
    effect: Effect,
    decision: &Decision,
    arguments: Option<Value>,
) -> CallView {
    let id = call.id.to_string();
    CallView {
        call: call.id,
        session: session.id,
        effect,
        mode: session.mode,
        rules: decision.rules.clone(),
        arguments: arguments.filter(|_| effect != Effect::Deny),
        pending: (effect == Effect::Escalate).then(|| id[id.len() - 8..].to_owned()),
        traceparent: call.traceparent(),
        span_id: call.span.to_string(),
        trace_id: call.trace.to_string(),
    }
}
