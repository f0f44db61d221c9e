//! What the gate asks of the daemon, and what it is told.
#![allow(missing_docs, reason = "the shapes of the control protocol, which will take their place")]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::{Layer, Mode};
use crate::ledger::entry::Attribution;
use crate::policy::Effect;
pub use crate::policy::RuleRef as Rule;

/// A tool call to be decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolCall {
    pub session: Option<Uuid>,
    pub layer: Layer,
    pub server: Option<String>,
    pub name: String,
    pub call_id: Option<String>,
    pub arguments: Value,
    pub annotations: Value,
    pub cwd: Option<PathBuf>,
    pub traceparent: Option<String>,
    pub claimed: Map<String, Value>,
}

/// How it was decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallView {
    pub call: Uuid,
    pub session: Uuid,
    pub effect: Effect,
    pub mode: Mode,
    pub rules: Vec<Rule>,
    pub arguments: Option<Value>,
    pub pending: Option<String>,
    pub traceparent: String,
    pub span_id: String,
    pub trace_id: String,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Error,
    Cancelled,
    Lost,
}

/// A system call that was denied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DenialView {
    pub id: Uuid,
    pub time: String,
    pub action: String,
    pub resource: String,
    pub rule: String,
    pub reason: String,
    pub advice: String,
    pub span_id: Option<String>,
    pub attribution: Attribution,
    pub count: u64,
}
