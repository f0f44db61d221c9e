//! One line of the ledger.
//!
//! A line is an OPA decision log event with more in it, so a sink for those takes it as it is. The names
//! that are OPA's: `decision_id`, `timestamp`, `trace_id`, `span_id`, `path` (the rule that was asked),
//! `input`, `result` (the decision), `nd_builtin_cache`, `erased` (JSON pointers into `input` that redaction replaced),
//! `metrics` is left to the exporter (from `cost_us`), as are `labels` (from the daemon's configuration).
//! A field that has no value is left out. Unknown fields are ignored on reading, never written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Time;

use crate::event::{ActionName, Layer, Mode};
use crate::policy::{Decision, Drawn};

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A session began; `detail` says what is really enforced.
    SessionStart,
    /// An operation was decided.
    Decision,
    /// A human answered an escalation; `id` is that of the decision.
    Answer,
    /// `count` operations followed a verdict that the kernel remembered.
    Remembered,
    /// Something is missing from the record; `causes` says what and why.
    Gap,
    /// An effect that no declared tool call explains, or another contradiction.
    Finding,
    /// A tool call ended; `detail` says which and how.
    CallClosed,
    /// What the client of a gate said about a call that is held: no proof of a human.
    Elicited,
    /// A session has another policy; `detail` says from which to which, by whom, and what waited. `policy` is the old one.
    PolicyChanged,
    /// A session was switched between enforce and observe; `detail` says by whom. `mode` is the old one.
    ModeChanged,
    /// A session ended.
    SessionEnd,
}

impl Kind {
    /// The name in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionStart => "session_start",
            Self::Decision => "decision",
            Self::Answer => "answer",
            Self::Remembered => "remembered",
            Self::Gap => "gap",
            Self::Finding => "finding",
            Self::CallClosed => "call_closed",
            Self::Elicited => "elicited",
            Self::PolicyChanged => "policy_changed",
            Self::ModeChanged => "mode_changed",
            Self::SessionEnd => "session_end",
        }
    }
}

/// How sure it is which tool call an operation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// It is that call.
    Exact,
    /// One of several that were open; `detail` lists them.
    Ambiguous,
    /// No call was open.
    None,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// The kernel's table of remembered verdicts.
    Kernel,
    /// The same table in the seccomp supervisor.
    Supervisor,
    /// The policy, evaluated for this operation.
    Policy,
    /// A human.
    Human,
    /// The fail direction: no decision was to be had; `causes` says why.
    Failsafe,
}

impl DecidedBy {
    /// Whose table of remembered verdicts it is at a layer.
    pub fn table_of(layer: Layer) -> Self {
        if layer == Layer::Kernel { Self::Kernel } else { Self::Supervisor }
    }
}

/// What an operation acted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceEntry {
    /// `file`, `executable`, `process`, `address`, `system` or `tool`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Canonical identity, as the policy saw it.
    pub id: String,
    /// Facts of it, where they are not in `input` already.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// What the agent wrote, where that is not the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// N bytes, written as lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// An entry. [`Entry::new`] fills what every entry has; the rest is set by field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the ledger, from 0, without holes. Set by the store.
    pub seq: u64,
    /// When it was decided.
    #[serde(rename = "timestamp")]
    pub time: Time,
    /// The decision's id; an answer, and what follows from a decision, repeats it.
    #[serde(rename = "decision_id")]
    pub id: Uuid,
    /// What the entry is about.
    pub kind: Kind,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
    /// W3C trace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Hex<16>>,
    /// The tool call's span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<Hex<8>>,
    /// How sure the span is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// Where the operation was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// Whether decisions bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionName>,
    /// To what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceEntry>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Value>,
    /// The system call, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
    /// Digest of the policy bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rule that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the policy saw, redacted. With this and `policy` the decision can be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Instead of `input`, if that was too long for a line: SHA-256 of the file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_at: Option<Hex<32>>,
    /// What redaction replaced in `input`, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<String>,
    /// Hash of the canonical input, before redaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_hash: Option<String>,
    /// Hash of the canonical decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_hash: Option<String>,
    /// What the policy looked at of time and chance, so that it can be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nd_builtin_cache: Option<Drawn>,
    /// What was decided.
    #[serde(default, rename = "result", skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Errors that led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DecidedBy>,
    /// Whether it took effect; false reads as "would have".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<bool>,
    /// The identity that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_id: Option<String>,
    /// The identity that was acted on; another one under `compute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_id: Option<String>,
    /// How many operations a `remembered` or `gap` entry stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How long the operation was held, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_us: Option<u64>,
    /// What the evaluation took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_us: Option<u64>,
    /// Whatever else belongs to this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

impl Entry {
    /// An entry of now, with a new id and nothing else.
    pub fn new(kind: Kind) -> Self {
        Self {
            seq: 0,
            time: Time::now(),
            id: Uuid::now_v7(),
            kind,
            session: None,
            trace_id: None,
            span_id: None,
            attribution: None,
            layer: None,
            mode: None,
            action: None,
            resource: None,
            subject: None,
            syscall: None,
            policy: None,
            path: None,
            input: None,
            input_at: None,
            erased: Vec::new(),
            input_hash: None,
            output_hash: None,
            nd_builtin_cache: None,
            decision: None,
            causes: Vec::new(),
            decided_by: None,
            enforced: None,
            requested_id: None,
            enforced_id: None,
            count: None,
            held_us: None,
            cost_us: None,
            detail: None,
        }
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the right number of lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0} lower-case hexadecimal digits")]
pub struct HexError(usize);

impl<const N: usize> FromStr for Hex<N> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; N];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 2 * N {
            return Err(HexError(2 * N));
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or(HexError(2 * N))?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
