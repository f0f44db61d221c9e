//! A session as a tree: its tool calls, what each was decided and declares, and the operations seen under it, with what
//! contradicts the declaration. Made of the ledger alone.

mod build;
mod target;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::{ActionName, Layer, Mode};
use crate::ledger::{Attribution, DecidedBy, Effect, Hex, RuleRef, Time};
use crate::session::declared::Contradiction;

pub use build::build;
pub use target::{Target, TraceError, find};

/// A session.
#[derive(Debug, Clone, Serialize)]
pub struct SessionTree {
    /// Its id.
    pub session: Uuid,
    /// The agent's name.
    pub agent: Option<String>,
    /// When it began; none: before the ledger does.
    pub start: Option<Time>,
    /// When it ended; none: not yet, or without a word.
    pub end: Option<Time>,
    /// Its trace.
    pub trace_id: Option<Hex<16>>,
    /// Its root span.
    pub span_id: Option<Hex<8>>,
    /// Whether decisions bound, at its start.
    pub mode: Option<Mode>,
    /// Digest of its policy.
    pub policy: Option<String>,
    /// Its tool calls, in the order of their start.
    pub calls: Vec<CallTree>,
    /// What may belong to one of several calls.
    pub ambiguous: Vec<Node>,
    /// What happened while no call was open.
    pub outside: Vec<Node>,
    /// Operations that left no record of their own.
    pub unrecorded: u64,
}

/// A tool call.
#[derive(Debug, Clone, Serialize)]
pub struct CallTree {
    /// Its id; none: its decision is not in the ledger.
    pub call: Option<Uuid>,
    /// `server/tool`.
    pub tool: String,
    /// Its span.
    pub span_id: Hex<8>,
    /// Its trace.
    pub trace_id: Option<Hex<16>>,
    /// Which gate.
    pub layer: Option<Layer>,
    /// What the caller says of it: its name for the call, its span, what it claims.
    pub detail: Map<String, Value>,
    /// When it was decided.
    pub start: Option<Time>,
    /// When it ended.
    pub end: Option<Time>,
    /// How.
    pub outcome: Option<String>,
    /// The strictest of its own decision and of what it implies.
    pub effect: Option<Effect>,
    /// The call's own decision, then what it implies: its declared operations.
    pub declared: Vec<Node>,
    /// What was seen under it.
    pub operations: Vec<Node>,
}

/// An operation, decided.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// The decision's id.
    pub id: Uuid,
    /// When.
    pub time: Time,
    /// What was to be done.
    pub action: ActionName,
    /// To what.
    pub resource: String,
    /// What it was done to instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// What was decided.
    pub effect: Effect,
    /// By which rules.
    pub rules: Vec<RuleRef>,
    /// By whom.
    pub decided_by: Option<DecidedBy>,
    /// False: it was only observed.
    pub enforced: bool,
    /// What a human, or the deadline, said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Effect>,
    /// How many it stands for.
    pub count: u64,
    /// How sure it is that it belongs here.
    pub attribution: Option<Attribution>,
    /// The spans of the calls it may belong to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// What it contradicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contradicts: Option<Contradiction>,
    /// The finding that the daemon recorded of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Uuid>,
}

#[cfg(test)]
mod tests;
