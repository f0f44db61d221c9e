//! Tickets: operations that wait for a human, their deadlines and their answers.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Event, Operation};
use crate::policy::{Decision, Evaluation};

/// An operation that waits.
pub struct Pending {
    /// The decision's id in the ledger.
    pub id: Uuid,
    /// What waits.
    pub event: Event,
    /// Who waits for the answer.
    pub waiter: Waiter,
    /// What the policy said.
    pub evaluation: Evaluation,
    /// Its input, as decided.
    pub input: serde_json::Value,
    /// Since when.
    pub since: Instant,
    /// Until when; then it is denied.
    pub deadline: Instant,
}

/// Who waits for an answer.
#[derive(Debug, Clone)]
pub enum Waiter {
    /// A thread, under this ticket of the enforcement point.
    Thread(u64),
    /// A gate, with a tool call.
    Gate {
        /// The tool.
        tool: String,
        /// A yes lets the call go on with these arguments, if they are others than it came with.
        arguments: Option<serde_json::Value>,
        /// What else of the call was asked about, and is answered with it.
        also: Vec<(Operation, Decision)>,
    },
}

/// A waiting operation as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingView {
    /// The decision's id; its last eight digits suffice to answer.
    pub id: Uuid,
    /// The session.
    pub session: Uuid,
    /// The agent.
    pub agent: String,
    /// Process id.
    pub pid: i32,
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The tool call that waits, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The rules that ask, with their reasons.
    pub decision: Decision,
    /// How long it has waited.
    pub waited_ms: u64,
    /// How long it will.
    pub left_ms: u64,
}

/// Whether an id ends or begins with `text`, if that is long enough to mean one.
pub fn is_meant(id: Uuid, text: &str) -> bool {
    let (id, text) = (id.to_string(), text.to_ascii_lowercase());
    id == text || (text.len() >= 4 && (id.ends_with(&text) || id.starts_with(&text)))
}

/// All operations that wait.
#[derive(Default)]
pub struct Holds {
    pending: Vec<Pending>,
}

impl Holds {
    /// Adds one.
    pub fn insert(&mut self, pending: Pending) {
        self.pending.push(pending);
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter()
    }

    /// Those whose id ends or begins with `text`, if it is long enough to mean one.
    pub fn find(&self, text: &str) -> Vec<Uuid> {
        self.pending.iter().map(|pending| pending.id).filter(|id| is_meant(*id, text)).collect()
    }

    /// Takes one out.
    pub fn take(&mut self, id: Uuid) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.id == id)?;
        Some(self.pending.remove(at))
    }

    /// Takes out what a thread waits for: it has ended, or cannot be parked.
    pub fn take_thread(&mut self, tid: i32) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.event.task.tid == tid)?;
        Some(self.pending.remove(at))
    }

    /// Whether the thread waits.
    pub fn waits(&self, tid: i32) -> bool {
        self.pending.iter().any(|pending| pending.event.task.tid == tid)
    }

    /// The thread waits still, and has since then; whether it does.
    pub fn resume(&mut self, tid: i32, since: Instant, deadline: Instant) -> bool {
        let mut its = self.pending.iter_mut().filter(|pending| pending.event.task.tid == tid);
        let Some(pending) = its.next() else { return false };
        (pending.since, pending.deadline) = (since, deadline);
        true
    }

    /// Takes out one whose deadline has passed.
    pub fn take_expired(&mut self, now: Instant) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.deadline <= now)?;
        Some(self.pending.remove(at))
    }

    /// Takes out one of a session.
    pub fn take_of_session(&mut self, index: u32) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.event.session == index)?;
        Some(self.pending.remove(at))
    }

    /// How long until the next deadline.
    pub fn until_next(&self, now: Instant) -> Option<Duration> {
        self.pending.iter().map(|pending| pending.deadline.saturating_duration_since(now)).min()
    }
}
