//! Questions of other gates: the same flow as an operation, but the verdict goes to who asked.
//!
//! Nobody waits under a question that a human has to answer: the gate is told so, and asks again later. The answer
//! is for that question only: the same subject, action and resource with all their properties.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Pipeline;
use super::record::{NO_CALL, check_limits, decided_entry, refuse};
use crate::event::{Layer, Mode};
use crate::hold::PendingView;
use crate::ledger::entry::{DecidedBy, Entry, Kind, ResourceEntry};
use crate::policy::input::Context;
use crate::policy::question::Question;
use crate::policy::{Decision, Effect, Evaluation, RuleRef};
use crate::session::{Approved, Session};

/// How many questions may wait for a human at once.
const WAITING_MAX: usize = 1000;

/// Who asks: a process, by the socket that it came through.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Asker {
    /// Process id.
    pub pid: i32,
    /// User.
    pub uid: u32,
}

/// What a question came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluated {
    /// The decision's id in the ledger; of one that a human is asked about already, the first one's.
    pub id: Uuid,
    /// The session whose policy decided.
    pub session: Uuid,
    /// What was decided.
    pub effect: Effect,
    /// Whether it binds; in observe mode nothing is refused.
    pub mode: Mode,
    /// The rules of that effect that matched.
    pub rules: Vec<RuleRef>,
    /// How long, and how often, it holds.
    pub constraints: Map<String, Value>,
    /// What to do instead, for `compute`.
    pub rewrite: Option<Value>,
    /// Why the policy itself gave no decision.
    pub cause: Option<String>,
}

/// Questions that a human is asked about, and those that one has allowed.
#[derive(Default)]
pub(super) struct Questions {
    waiting: Vec<Waiting>,
    granted: Vec<Granted>,
}

struct Waiting {
    id: Uuid,
    session: u32,
    question: Question,
    asker: Asker,
    evaluation: Evaluation,
    since: Instant,
    deadline: Instant,
}

struct Granted {
    session: u32,
    question: Question,
    rules: Vec<RuleRef>,
    once: bool,
    until: Option<Instant>,
}

impl Questions {
    /// Whether a human has allowed just this; a yes for once is used up by it.
    fn allowed(&mut self, session: u32, question: &Question, decision: &Decision) -> bool {
        let now = Instant::now();
        self.granted.retain(|granted| granted.until.is_none_or(|until| now < until));
        let found = self.granted.iter().position(|granted| {
            granted.session == session
                && granted.question.same_as(question)
                && granted.rules == decision.rules
        });
        if let Some(at) = found.filter(|at| self.granted[*at].once) {
            self.granted.remove(at);
        }
        found.is_some()
    }

    fn asked_already(&self, session: u32, question: &Question) -> Option<Uuid> {
        let alike = |waiting: &&Waiting| waiting.session == session && waiting.question.same_as(question);
        self.waiting.iter().find(alike).map(|waiting| waiting.id)
    }

    fn take(&mut self, is: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let at = self.waiting.iter().position(is)?;
        Some(self.waiting.remove(at))
    }
}

impl Pipeline {
    /// Decides a question by a session's policy and records it; none if the session is over. `rewrites`: who asks
    /// does what a rewrite says.
    pub fn question(
        &mut self,
        index: u32,
        question: &Question,
        asker: Asker,
        rewrites: bool,
    ) -> Option<Evaluated> {
        let session = self.sessions.get_mut(index)?;
        let input = question.input(context(session));
        let mut evaluation = session.engine.decide(&input);
        if let Some(cause) = question.unknown_to(&session.engine) {
            refuse(&mut evaluation, cause);
        }
        check_limits(session, &mut evaluation);
        let mut decided_by = DecidedBy::Policy;
        match evaluation.decision.effect {
            Effect::Compute if !rewrites => {
                refuse(&mut evaluation, "who asks does not say that it understands a rewrite".into());
            }
            Effect::Escalate if self.questions.allowed(index, question, &evaluation.decision) => {
                evaluation.decision.effect = Effect::Allow;
                decided_by = DecidedBy::Human;
            }
            Effect::Escalate if self.questions.waiting.len() >= WAITING_MAX => {
                refuse(&mut evaluation, format!("{WAITING_MAX} questions wait for a human already"));
            }
            _ => {}
        }
        let name = question.action.name.clone();
        session.stats.count(name, &question.resource.id, &evaluation.decision);
        let mut entry = question_entry(session, question, asker, &evaluation, decided_by);
        entry.input = Some(input.to_value());
        let (mut id, session_id, mode) = (entry.id, session.id, session.mode);
        let timeout = session.hold_timeout;
        if let Err(error) = self.append(entry) {
            refuse(&mut evaluation, format!("the ledger cannot be written: {error}"));
        }
        if evaluation.decision.effect != Effect::Allow {
            self.flush();
        }
        let decision = evaluation.decision.clone();
        if decision.effect == Effect::Escalate && mode == Mode::Enforce {
            if let Some(first) = self.questions.asked_already(index, question) {
                id = first;
            } else {
                let (question, since) = (question.clone(), Instant::now());
                let deadline = since + timeout;
                let waiting = Waiting {
                    id,
                    session: index,
                    question,
                    asker,
                    evaluation: evaluation.clone(),
                    since,
                    deadline,
                };
                self.questions.waiting.push(waiting);
            }
        }
        Some(Evaluated {
            id,
            session: session_id,
            effect: decision.effect,
            mode,
            rules: decision.rules,
            constraints: decision.constraints,
            rewrite: decision.rewrite,
            cause: evaluation.cause,
        })
    }

    /// Everything that waits under an id that ends or begins so.
    pub fn find_pending(&self, text: &str) -> Vec<Uuid> {
        let questions = self.questions.waiting.iter().map(|waiting| waiting.id);
        let questions = questions.filter(|id| crate::hold::is_meant(*id, text));
        self.holds.find(text).into_iter().chain(questions).collect()
    }

    /// A human's answer to a question; false if none waits under the id.
    pub(super) fn answer_question(
        &mut self,
        id: Uuid,
        approve: Option<Approved>,
        by: &str,
        reason: &str,
    ) -> Result<bool, String> {
        let Some(waiting) = self.questions.take(|waiting| waiting.id == id) else { return Ok(false) };
        self.settle_question(waiting, approve, DecidedBy::Human, by, reason)?;
        Ok(true)
    }

    /// Denies the questions that nobody answered in time, and those of sessions that are over.
    pub(super) fn expire_questions(&mut self) {
        let now = Instant::now();
        while let Some(waiting) = self.questions.take(|waiting| waiting.deadline <= now) {
            let (by, reason) = ("deadline", "nobody answered in time");
            if let Err(error) = self.settle_question(waiting, None, DecidedBy::Failsafe, by, reason) {
                tracing::error!(%error, "that nobody answered could not be recorded");
            }
        }
    }

    /// The session is over, and with it what was asked and allowed there.
    pub fn forget_questions(&mut self, index: u32) {
        self.questions.waiting.retain(|waiting| waiting.session != index);
        self.questions.granted.retain(|granted| granted.session != index);
    }

    /// Denies what waits in a session, and forgets what was granted there: what was asked holds no longer. How many.
    pub(super) fn end_questions(&mut self, index: u32, by: &str, reason: &str) -> usize {
        let mut ended = 0;
        while let Some(waiting) = self.questions.take(|waiting| waiting.session == index) {
            ended += 1;
            if let Err(error) = self.settle_question(waiting, None, DecidedBy::Failsafe, by, reason) {
                tracing::error!(%error, "the end of a question could not be recorded");
            }
        }
        self.questions.granted.retain(|granted| granted.session != index);
        ended
    }

    fn settle_question(
        &mut self,
        waiting: Waiting,
        approve: Option<Approved>,
        decided_by: DecidedBy,
        by: &str,
        reason: &str,
    ) -> Result<(), String> {
        let Waiting { id, session: index, question, asker, mut evaluation, since, .. } = waiting;
        let session = self.sessions.get_mut(index).ok_or("the session is over")?;
        let rules = evaluation.decision.rules.clone();
        evaluation.decision.effect = if approve.is_some() { Effect::Allow } else { Effect::Deny };
        let mut entry = question_entry(session, &question, asker, &evaluation, decided_by);
        let timeout = session.hold_timeout;
        (entry.kind, entry.id) = (Kind::Answer, id);
        entry.held_us = Some(since.elapsed().as_micros() as u64);
        (entry.output_hash, entry.cost_us) = (None, None);
        let scope = approve.map(|how| how.to_string()).unwrap_or_default();
        entry.detail = Some(json!({ "by": by, "reason": reason, "for": scope }));
        self.append(entry)
            .map_err(|error| format!("the answer could not be recorded, so it is a deny: {error}"))?;
        self.flush();
        let Some(how) = approve else { return Ok(()) };
        let until = match how {
            Approved::Once => Some(Instant::now() + timeout),
            Approved::Session => None,
            Approved::For(duration) => Some(Instant::now() + duration),
        };
        let once = how == Approved::Once;
        self.questions.granted.push(Granted { session: index, question, rules, once, until });
        Ok(())
    }

    /// The questions that wait, as they are shown.
    pub(super) fn pending_questions(&self) -> Vec<PendingView> {
        let now = Instant::now();
        let view = |waiting: &Waiting| {
            let session = self.sessions.get(waiting.session)?;
            let subject = &waiting.question.subject;
            Some(PendingView {
                id: waiting.id,
                session: session.id,
                agent: format!("{}/{}", subject.kind, subject.id),
                pid: waiting.asker.pid,
                action: waiting.question.action.name.as_str().into(),
                resource: waiting.question.resource.id.clone(),
                tool: None,
                decision: waiting.evaluation.decision.clone(),
                waited_ms: waiting.since.elapsed().as_millis() as u64,
                left_ms: waiting.deadline.saturating_duration_since(now).as_millis() as u64,
            })
        };
        self.questions.waiting.iter().filter_map(view).collect()
    }
}

/// The circumstances that the daemon knows.
fn context(session: &Session) -> Context {
    let attributed = session.attribute(NO_CALL);
    Context {
        layer: Layer::Api,
        mode: session.mode,
        session: Some(session.id.to_string()),
        trace_id: Some(attributed.trace.to_string()),
        span_id: Some(attributed.span.to_string()),
        tool: None,
        request: None,
    }
}

/// The decision as it is recorded.
fn question_entry(
    session: &Session,
    question: &Question,
    asker: Asker,
    evaluation: &Evaluation,
    decided_by: DecidedBy,
) -> Entry {
    let mut entry = decided_entry(session, &session.attribute(NO_CALL), evaluation, decided_by);
    entry.layer = Some(Layer::Api);
    entry.action = Some(question.action.name.clone());
    entry.resource = Some(ResourceEntry {
        kind: question.resource.kind.clone(),
        id: question.resource.id.clone(),
        properties: Map::new(),
        raw: None,
    });
    let (kind, id) = (&question.subject.kind, &question.subject.id);
    entry.subject = Some(json!({ "type": kind, "id": id, "asker": asker }));
    entry
}
