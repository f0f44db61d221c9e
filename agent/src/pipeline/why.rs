//! What would happen, and why: the same evaluation as of an operation, but nothing follows from it. It is not
//! recorded, nobody waits, no use is counted and nothing is remembered.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{build_input, refuse};
use super::{Pipeline, Recalled, VerdictSink, instead, names_in};
use crate::event::{Event, Mode};
use crate::ledger::Time;
use crate::ledger::entry::DecidedBy;
use crate::policy::grounds::Memory;
use crate::policy::reach::Reach;
use crate::policy::{Effect, Grounds, region};

/// What would happen to an operation of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Why {
    /// The session.
    pub session: Uuid,
    /// Whether what is decided binds.
    pub mode: Mode,
    /// Digest of its policy.
    pub policy: String,
    /// The action.
    pub action: String,
    /// The resource as the policy sees it.
    pub resource: String,
    /// Of which process: another one may differ, if the policy reads that.
    pub pid: i32,
    /// The tool call that it would be seen under, if it is certain which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the policy says, and on which grounds.
    #[serde(flatten)]
    pub grounds: Grounds,
    /// `policy`, `human` (who said yes to this before) or `failsafe`.
    pub decided_by: DecidedBy,
    /// What the enforcement point has in its table.
    pub known: Option<KnownVerdict>,
}

/// A remembered verdict, and the evaluation that it came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KnownVerdict {
    /// `kernel` or `supervisor`.
    pub table: DecidedBy,
    /// The verdict.
    pub allow: bool,
    /// It does not bind here, and why: the operation is asked about all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_used: Option<String>,
    /// The ledger's entry of the evaluation; none: so long ago that it is kept no more.
    pub from: Option<Source>,
    /// How long it holds still; none: as long as the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// How often it was used.
    pub hits: u64,
}

/// The evaluation that a verdict came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// The decision's id.
    pub decision_id: Uuid,
    /// When.
    pub time: Time,
    /// About which resource.
    pub resource: String,
    /// By which rules.
    pub rules: Vec<String>,
    /// For which resources it holds.
    pub reach: Reach,
}

impl Pipeline {
    /// Says what would become of an event; none if its session is over. `sha256` is the program's, as far as who asks
    /// could read it.
    pub fn why<B: VerdictSink + ?Sized>(
        &mut self,
        event: &Event,
        sha256: Option<&str>,
        back_end: &B,
    ) -> Option<Why> {
        let session = self.sessions.get_mut(event.session)?;
        let attributed = session.attribute(event.belongs);
        let (mut input, mut broken) = build_input(session, event, &attributed, &mut self.hashes);
        if let (Some(hash), Some(_)) = (sha256, &broken) {
            input.resource.properties.insert("sha256".into(), hash.into());
            broken = None;
        }
        let mut evaluation = session.engine.decide(&input);
        if let Some(cause) = broken {
            refuse(&mut evaluation, cause);
        }
        if evaluation.decision.effect == Effect::Allow && !evaluation.decision.constraints.is_empty() {
            let limits = evaluation.decision.limits().map_err(|error| error.to_string());
            if let Err(cause) = limits.and_then(|limits| session.has_use(&evaluation.decision, &limits)) {
                refuse(&mut evaluation, cause);
            }
        }
        let mut decided_by = DecidedBy::Policy;
        if evaluation.decision.effect == Effect::Escalate
            && session.approved(event.operation.action, &event.operation.resource.id, &evaluation.decision)
        {
            decided_by = DecidedBy::Human;
        }
        if let Err(cause) = instead(&evaluation, event, back_end) {
            refuse(&mut evaluation, cause);
        }
        if evaluation.cause.is_some() {
            decided_by = DecidedBy::Failsafe;
        }
        let mut grounds = Grounds::of(&session.engine, &input, &evaluation);
        if event.key.is_none() && grounds.memory.reach.is_some() {
            grounds.memory = Memory::none("enforcement points look such a resource up in no table");
        }
        if decided_by == DecidedBy::Human {
            grounds.effect = Effect::Allow;
        }
        let key = event.key.as_ref().filter(|key| key.names == names_in(session, event));
        let (id, mode, policy) = (session.id, session.mode, session.engine.digest().to_owned());
        let names = session.engine.names().clone();
        let tool = input.context.tool.as_ref().map(|tool| match &tool.server {
            Some(server) => format!("{server}/{}", tool.name),
            None => tool.name.clone(),
        });
        let domain = region::domain_key(session.engine.reads(), &input);
        let domain = domain.and_then(|domain| self.sessions.known_domain(&policy, domain.as_bytes()));
        let recalled = key.zip(domain).and_then(|(key, domain)| back_end.recall(domain, key));
        let known = recalled.map(|recalled| {
            let known = self.known.get(&recalled.evaluation);
            let from = known.map(|known| Source {
                decision_id: known.id,
                time: known.time,
                resource: known.resource.clone(),
                rules: known.evaluation.decision.rules.iter().map(|rule| rule.id.clone()).collect(),
                reach: Reach::of(&known.resource, known.evaluation.region, &names),
            });
            known_verdict(event, &recalled, from)
        });
        Some(Why {
            session: id,
            mode,
            policy,
            action: event.operation.action.as_str().to_owned(),
            resource: event.operation.resource.id.clone(),
            pid: event.task.tgid,
            tool,
            grounds,
            decided_by,
            known,
        })
    }
}

fn known_verdict(event: &Event, recalled: &Recalled, from: Option<Source>) -> KnownVerdict {
    use crate::event::Action::{FileRead, ProcessExec};
    let changes = !matches!(event.operation.action, FileRead | ProcessExec);
    let not_used = if recalled.left.is_some_and(|left| left.is_zero()) {
        Some("its time is over".to_owned())
    } else if recalled.allow && event.multilink && changes {
        Some("the file has another name, which may be protected".to_owned())
    } else {
        None
    };
    KnownVerdict {
        table: DecidedBy::table_of(event.layer),
        allow: recalled.allow,
        not_used,
        from,
        left_ms: recalled.left.map(|left| left.as_millis() as u64),
        hits: recalled.hits,
    }
}
