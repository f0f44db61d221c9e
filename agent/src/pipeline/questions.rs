//! Questions of other gates: the same flow as an operation, but the verdict goes to who asked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Pipeline;
use super::record::{check_limits, of_session, refuse};
use crate::event::{Layer, Mode};
use crate::ledger::entry::{DecidedBy, Entry, Kind, ResourceEntry};
use crate::policy::input::Context;
use crate::policy::question::Question;
use crate::policy::{Effect, Evaluation, RuleRef};
use crate::session::Session;

/// What a question came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluated {
    /// The decision's id in the ledger.
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

impl Pipeline {
    /// Decides a question by a session's policy and records it; none if the session is over. `rewrites`: who asks
    /// does what a rewrite says.
    pub fn question(
        &mut self,
        index: u32,
        question: &Question,
        asker: Value,
        rewrites: bool,
    ) -> Option<Evaluated> {
        let session = self.sessions.get_mut(index)?;
        let input = question.input(context(session));
        let mut evaluation = session.engine.decide(&input);
        if let Some(cause) = question.unknown_to(&session.engine) {
            refuse(&mut evaluation, cause);
        }
        check_limits(session, &mut evaluation);
        if evaluation.decision.effect == Effect::Compute && !rewrites {
            refuse(&mut evaluation, "who asks does not say that it understands a rewrite".into());
        }
        session.stats.count(question.action.name.clone(), &question.resource.id, &evaluation.decision);
        let mut entry = entry(session, question, &evaluation, asker);
        entry.input = Some(input.to_value());
        let (id, session, mode) = (entry.id, session.id, session.mode);
        if let Err(error) = self.append(entry) {
            refuse(&mut evaluation, format!("the ledger cannot be written: {error}"));
        }
        if evaluation.decision.effect != Effect::Allow {
            self.flush();
        }
        let decision = evaluation.decision;
        Some(Evaluated {
            id,
            session,
            effect: decision.effect,
            mode,
            rules: decision.rules,
            constraints: decision.constraints,
            rewrite: decision.rewrite,
            cause: evaluation.cause,
        })
    }
}

/// The circumstances that the daemon knows.
fn context(session: &Session) -> Context {
    Context {
        layer: Layer::Api,
        mode: session.mode,
        session: Some(session.id.to_string()),
        trace_id: Some(session.trace.to_string()),
        span_id: Some(session.span.to_string()),
        tool: None,
        request: None,
    }
}

/// The decision as it is recorded.
fn entry(session: &Session, question: &Question, evaluation: &Evaluation, asker: Value) -> Entry {
    let mut entry = Entry::new(Kind::Decision);
    of_session(session, &mut entry);
    entry.layer = Some(Layer::Api);
    entry.action = Some(question.action.name.clone());
    entry.resource = Some(ResourceEntry {
        kind: question.resource.kind.clone(),
        id: question.resource.id.clone(),
        properties: Map::new(),
        raw: None,
    });
    let (kind, id) = (&question.subject.kind, &question.subject.id);
    entry.subject = Some(serde_json::json!({ "type": kind, "id": id, "asker": asker }));
    entry.path = Some("authz/decision".into());
    entry.input_hash = Some(evaluation.input_hash.clone());
    entry.output_hash = Some(evaluation.output_hash.clone());
    entry.nd_builtin_cache = (!evaluation.drawn.is_empty()).then(|| evaluation.drawn.clone());
    entry.causes.extend(evaluation.cause.clone());
    entry.decision = Some(evaluation.decision.clone());
    entry.decided_by = Some(DecidedBy::Policy);
    entry.enforced = Some(session.mode == Mode::Enforce);
    entry.cost_us = Some(evaluation.cost.as_micros() as u64);
    entry
}
