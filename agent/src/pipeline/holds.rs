//! Operations that wait for a human: from the question to the answer, or to the deadline.

use std::time::Instant;

use uuid::Uuid;

use super::record::{add_detail, decision_entry};
use super::{Answer, Given, Pipeline, Verdict, VerdictSink, give};
use crate::event::{Event, Mode};
use crate::hold::{Pending, PendingView, Waiter};
use crate::ledger::entry::{DecidedBy, Entry, Kind};
use crate::policy::{Effect, Evaluation};
use crate::session::Approved;

impl Pipeline {
    /// A question to a human: recorded first, then the thread sleeps.
    pub(super) fn hold<B: VerdictSink + ?Sized>(
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
        back_end.park(event.task.tid, ticket);
        let waiter = Waiter::Thread(ticket);
        self.holds.insert(Pending { id, event, waiter, evaluation, input, since, deadline });
    }

    /// A human's answer. The error is for the human.
    pub fn answer<B: VerdictSink + ?Sized>(
        &mut self,
        id: Uuid,
        approve: Option<Approved>,
        by: &str,
        reason: &str,
        back_end: &mut B,
    ) -> Result<(), String> {
        if self.answer_question(id, approve, by, reason)? {
            return Ok(());
        }
        let pending = self.holds.take(id).ok_or("no operation waits under this id")?;
        self.settle(pending, approve, DecidedBy::Human, by, reason, back_end);
        Ok(())
    }

    /// Denies what nobody answered in time.
    pub fn expire<B: VerdictSink + ?Sized>(&mut self, back_end: &mut B) {
        while let Some(pending) = self.holds.take_expired(Instant::now()) {
            self.settle(pending, None, DecidedBy::Failsafe, "deadline", "nobody answered in time", back_end);
        }
        self.expire_questions();
    }

    /// Ends the hold of a thread that cannot be parked or has ended.
    pub fn abandon<B: VerdictSink + ?Sized>(&mut self, tid: i32, why: &str, back_end: &mut B) {
        if let Some(pending) = self.holds.take_thread(tid) {
            self.settle(pending, None, DecidedBy::Failsafe, "authz", why, back_end);
        }
    }

    pub(super) fn settle<B: VerdictSink + ?Sized>(
        &mut self,
        pending: Pending,
        approve: Option<Approved>,
        decided_by: DecidedBy,
        by: &str,
        reason: &str,
        back_end: &mut B,
    ) {
        let Pending { id, event, waiter, mut evaluation, since, .. } = pending;
        let mut generation = 0;
        let mut entry = Entry::new(Kind::Answer);
        if let Some(session) = self.sessions.get_mut(event.session) {
            generation = session.generation;
            let (action, resource) = (event.operation.action, &event.operation.resource.id);
            if let Some(how) = approve {
                session.approve(action, resource, &evaluation.decision, how);
                if let Waiter::Gate { also, .. } = &waiter {
                    for (operation, decision) in also {
                        session.approve(operation.action, &operation.resource.id, decision, how);
                    }
                }
                evaluation.decision.effect = Effect::Allow;
            } else {
                evaluation.decision.effect = Effect::Deny;
                session.stats.count(action, resource, &evaluation.decision);
                session.stats.operations -= 1;
            }
            let attributed = session.attribute(event.belongs);
            entry = decision_entry(session, &event, &attributed, &evaluation, decided_by);
            let binds = session.mode == Mode::Enforce;
            if approve.is_none() && binds && matches!(waiter, Waiter::Thread(_)) {
                session.denied(id, &event.operation, &evaluation.decision, &attributed);
            }
            entry.kind = Kind::Answer;
        }
        entry.id = id;
        entry.held_us = Some(since.elapsed().as_micros() as u64);
        entry.output_hash = None;
        entry.cost_us = None;
        let scope = approve.map(|how| how.to_string()).unwrap_or_default();
        for (name, value) in [("by", by), ("reason", reason), ("for", &scope)] {
            add_detail(&mut entry, name, value.into());
        }
        let mut allow = approve.is_some();
        if let Err(error) = self.append(entry) {
            tracing::error!(%error, "an answer could not be recorded: it is a deny");
            allow = false;
        }
        self.flush();
        match waiter {
            Waiter::Thread(ticket) => {
                // Domain 0: what a human says for once is remembered nowhere.
                let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
                give(back_end, Given { ticket, answer: Answer { verdict, domain: 0, generation } });
                back_end.release(event.task.tid);
            }
            Waiter::Gate { arguments, .. } => {
                self.call_answered(&event, id, allow, &evaluation.decision, arguments);
            }
        }
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
                tool: match &pending.waiter {
                    Waiter::Thread(_) => None,
                    Waiter::Gate { tool, .. } => Some(tool.clone()),
                },
                decision: pending.evaluation.decision.clone(),
                waited_ms: pending.since.elapsed().as_millis() as u64,
                left_ms: pending.deadline.saturating_duration_since(now).as_millis() as u64,
            });
        }
        views.extend(self.pending_questions());
        views
    }
}
