//! The tool calls of a session: which are open, and to which of them an operation belongs.
//!
//! Every change of what is open makes a new set, with a number of its own. An enforcement point knows two numbers
//! of an operation at the moment it happens: that of the set under which the program that acts was started, and
//! that of what is open. Attribution follows from these two, never from a time.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::declared::Declared;
use crate::event::{Belongs, Layer};
use crate::ledger::entry::{Attribution, Hex};
use crate::policy::input::Tool;

/// Calls that are over and sets that are no more open are known until so many newer ones are.
const KEPT: usize = 10_000;

/// Calls that may be open at once: an agent may open any number and end none.
const OPEN_MAX: usize = 256;

/// A tool call that a gate asks about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its session; without one the only one that the gate may speak for.
    #[serde(default)]
    pub session: Option<Uuid>,
    /// Which gate: MCP, or an agent's hook.
    pub layer: Layer,
    /// Who offers the tool.
    #[serde(default)]
    pub server: Option<String>,
    /// The tool.
    pub name: String,
    /// What the caller names the call by.
    #[serde(default)]
    pub call_id: Option<String>,
    /// What it is called with.
    #[serde(default)]
    pub arguments: Value,
    /// What the server says of the tool: a hint.
    #[serde(default)]
    pub annotations: Value,
    /// What relative paths in the arguments are relative to.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// The home folder of who runs the tool: what `~/` in the arguments stands for.
    #[serde(default)]
    pub home: Option<PathBuf>,
    /// W3C trace context of the caller.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Identities that the caller claims.
    #[serde(default)]
    pub claimed: Map<String, Value>,
}

impl ToolCall {
    /// What policy sees of it.
    pub fn tool(&self) -> Tool {
        Tool {
            server: self.server.clone(),
            name: self.name.clone(),
            call_id: self.call_id.clone(),
            arguments: self.arguments.clone(),
        }
    }

    /// `server/name`.
    pub fn resource(&self) -> String {
        match &self.server {
            Some(server) => format!("{server}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Who says that a call begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A gate outside the session.
    Gate,
    /// A program inside it: what it says is its own word.
    Session,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The tool gave a result.
    Ok,
    /// It gave an error.
    Error,
    /// The caller took it back.
    Cancelled,
    /// The server ended before.
    Lost,
}

/// A tool call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its decision's id.
    pub id: Uuid,
    /// What policy sees of it.
    pub tool: Tool,
    /// Its span.
    pub span: Hex<8>,
    /// Its trace.
    pub trace: Hex<16>,
    /// The caller's span, if it named one.
    pub parent: Option<Hex<8>>,
    /// Who opened it.
    pub source: Source,
    /// Identities that the caller claims.
    pub claimed: Map<String, Value>,
    /// What it implies.
    pub declared: Vec<Declared>,
}

impl Call {
    /// A call with a span of its own; `trace` unless the caller is in another one.
    pub fn new(asked: &ToolCall, source: Source, trace: Hex<16>) -> Self {
        let id = Uuid::now_v7();
        let mut span = [0; 8];
        span.copy_from_slice(&Uuid::new_v4().into_bytes()[..8]);
        let parent = asked.traceparent.as_deref().and_then(traceparent);
        Self {
            id,
            tool: asked.tool(),
            span: Hex(span),
            trace: parent.map_or(trace, |(trace, _)| trace),
            parent: parent.map(|(_, span)| span),
            source,
            claimed: asked.claimed.clone(),
            declared: Vec::new(),
        }
    }

    /// As W3C trace context names it.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }

    /// `server/name`.
    pub fn resource(&self) -> String {
        match &self.tool.server {
            Some(server) => format!("{server}/{}", self.tool.name),
            None => self.tool.name.clone(),
        }
    }
}

/// Trace and span of a `traceparent` of version 00 or later; none if it is malformed or all zeros.
fn traceparent(text: &str) -> Option<(Hex<16>, Hex<8>)> {
    let mut parts = text.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = parts.next()?;
    let hex = |text: &str| text.len() == 2 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !hex(version) || version == "ff" || !hex(flags) || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span): (Hex<16>, Hex<8>) = (trace.parse().ok()?, span.parse().ok()?);
    (trace.0 != [0; 16] && span.0 != [0; 8]).then_some((trace, span))
}

/// A denial by policy, as it is told to whoever made the call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DenialView {
    /// The decision, in the ledger.
    pub id: Uuid,
    /// When it was first denied.
    pub time: String,
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The rule.
    pub rule: String,
    /// Its reason.
    pub reason: String,
    /// What to do instead.
    pub advice: String,
    /// The span it is attributed to.
    pub span_id: Option<String>,
    /// How surely.
    pub attribution: Attribution,
    /// How often.
    pub count: u64,
    /// The calls it may belong to.
    #[serde(default)]
    pub calls: Vec<Uuid>,
}

/// To which call an operation belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributed {
    /// How surely.
    pub attribution: Attribution,
    /// The trace it is in.
    pub trace: Hex<16>,
    /// The call's span, if it is one; else the session's.
    pub span: Hex<8>,
    /// The calls it may belong to.
    pub calls: Vec<Uuid>,
    /// Their spans.
    pub candidates: Vec<Hex<8>>,
    /// The call was over.
    pub after_end: bool,
}

/// The calls of a session.
#[derive(Default)]
pub struct Calls {
    known: HashMap<Uuid, Call>,
    order: VecDeque<Uuid>,
    open: Vec<Uuid>,
    /// Open at any time since the last [`Calls::take_recent`].
    recent: Vec<Uuid>,
    /// By number, from 1.
    sets: VecDeque<Vec<Uuid>>,
    /// How many sets are forgotten.
    forgotten: u32,
}

impl Calls {
    /// Makes a call known; it is not open yet.
    pub fn add(&mut self, call: Call) {
        self.order.push_back(call.id);
        self.known.insert(call.id, call);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.iter().position(|id| !self.open.contains(id))
            && let Some(id) = self.order.remove(oldest)
        {
            self.known.remove(&id);
        }
    }

    /// Opens a known call.
    pub fn open(&mut self, id: Uuid) {
        self.open.push(id);
        self.recent.push(id);
        self.changed();
    }

    /// Closes a call; whether it was open.
    pub fn close(&mut self, id: Uuid) -> bool {
        let before = self.open.len();
        self.open.retain(|open| *open != id);
        let was = self.open.len() < before;
        if was {
            self.changed();
        }
        was
    }

    /// Closes the oldest call if another one would be too many; who opened it has lost it.
    pub fn make_room(&mut self) -> Option<Uuid> {
        let oldest = self.open.first().copied().filter(|_| self.open.len() >= OPEN_MAX)?;
        self.close(oldest);
        Some(oldest)
    }

    fn changed(&mut self) {
        self.sets.push_back(self.open.clone());
        if self.sets.len() > KEPT {
            self.sets.pop_front();
            self.forgotten += 1;
        }
    }

    /// Number of the set of what is open; 0: nothing is.
    pub fn current(&self) -> u32 {
        if self.open.is_empty() { 0 } else { self.forgotten + self.sets.len() as u32 }
    }

    /// Whether there has been any call.
    pub fn any(&self) -> bool {
        !self.known.is_empty()
    }

    /// A call.
    pub fn get(&self, id: Uuid) -> Option<&Call> {
        self.known.get(&id)
    }

    /// The open call of that id, or that the caller names so; the newest first.
    pub fn find(&self, name: &str) -> Option<Uuid> {
        let id = name.parse::<Uuid>().ok();
        let named = |call: &Call| Some(call.id) == id || call.tool.call_id.as_deref() == Some(name);
        self.open.iter().rev().find(|id| self.known.get(id).is_some_and(named)).copied()
    }

    /// The caller names a call so from now on; whether there is one of that source.
    pub fn name(&mut self, id: Uuid, source: Source, name: String) -> bool {
        let call = self.known.get_mut(&id).filter(|call| call.source == source);
        call.map(|call| call.tool.call_id = Some(name)).is_some()
    }

    /// Open calls of that source that claim all of this, and no subagent, which may outlive a turn.
    pub fn of_turn(&self, source: Source, claimed: &Map<String, Value>) -> Vec<Uuid> {
        let of_turn = |call: &Call| {
            let claims = claimed.iter().all(|(name, value)| call.claimed.get(name) == Some(value));
            call.source == source && claims && !call.claimed.contains_key("agent_id")
        };
        self.open.iter().filter(|id| self.known.get(id).is_some_and(of_turn)).copied().collect()
    }

    /// Calls that are open.
    pub fn open_calls(&self) -> &[Uuid] {
        &self.open
    }

    /// Calls that were open at any time since this was last asked.
    pub fn take_recent(&mut self) -> Vec<Uuid> {
        std::mem::replace(&mut self.recent, self.open.clone())
    }

    /// The calls of a set; none: it is not known any more.
    fn set(&self, number: u32) -> Option<&[Uuid]> {
        if number == 0 {
            return Some(&[]);
        }
        let index = number.checked_sub(self.forgotten + 1)?;
        self.sets.get(index as usize).map(Vec::as_slice)
    }

    /// Which calls an operation may belong to, and whether it is certain that it is that one.
    fn candidates(&self, belongs: Belongs) -> (Vec<Uuid>, bool) {
        let (own, open) = match belongs {
            Belongs::Call(id) => return (vec![id], true),
            Belongs::To { own, open } => (self.set(own), self.set(open)),
        };
        let (Some(own), Some(open)) = (own, open) else {
            return (self.open.clone(), false);
        };
        match (own, open) {
            ([], open) => (open.to_vec(), open.len() == 1),
            // Its program was started under this call alone. Once that is over, and others are open, it may
            // act for them.
            ([call], open) if open.is_empty() || open.contains(call) => (vec![*call], true),
            (own, open) => {
                let mut all = own.to_vec();
                all.extend(open.iter().filter(|call| !own.contains(call)));
                (all, false)
            }
        }
    }

    /// To which call an operation belongs, in a session of that trace and root span.
    pub fn attribute(&self, belongs: Belongs, trace: Hex<16>, root: Hex<8>) -> Attributed {
        let (calls, certain) = self.candidates(belongs);
        let known: Vec<&Call> = calls.iter().filter_map(|id| self.known.get(id)).collect();
        let mut attributed = Attributed {
            attribution: if calls.is_empty() { Attribution::None } else { Attribution::Ambiguous },
            trace,
            span: root,
            candidates: known.iter().map(|call| call.span).collect(),
            after_end: false,
            calls,
        };
        if let ([call], true) = (&known[..], certain) {
            attributed.attribution = Attribution::Exact;
            attributed.trace = call.trace;
            attributed.span = call.span;
            attributed.after_end =
                matches!(belongs, Belongs::To { open, .. } if self.set(open).is_some_and(<[_]>::is_empty));
        }
        attributed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(calls: &mut Calls, name: &str) -> Uuid {
        let asked: ToolCall =
            serde_json::from_value(serde_json::json!({"layer": "mcp", "name": name, "call_id": name}))
                .unwrap();
        let call = Call::new(&asked, Source::Gate, Hex([1; 16]));
        let id = call.id;
        calls.add(call);
        id
    }

    fn of(calls: &Calls, own: u32, open: u32) -> (Attribution, Vec<Uuid>, bool) {
        let found = calls.attribute(Belongs::To { own, open }, Hex([1; 16]), Hex([2; 8]));
        (found.attribution, found.calls, found.after_end)
    }

    #[test]
    fn attribution_is_exact_only_where_it_is_certain() {
        use Attribution::{Ambiguous, Exact, None};
        let mut calls = Calls::default();
        let (a, b) = (call(&mut calls, "a"), call(&mut calls, "b"));
        assert_eq!(of(&calls, 0, calls.current()), (None, vec![], false), "nothing is open");
        calls.open(a);
        let only_a = calls.current();
        assert_eq!(of(&calls, 0, only_a), (Exact, vec![a], false), "one is open");
        calls.open(b);
        let both = calls.current();
        assert_eq!(of(&calls, 0, both), (Ambiguous, vec![a, b], false), "two are open");
        assert_eq!(of(&calls, only_a, both), (Exact, vec![a], false), "its program was started under one");
        assert_eq!(of(&calls, both, both), (Ambiguous, vec![a, b], false), "or under both");
        assert!(calls.close(a));
        let only_b = calls.current();
        assert_eq!(of(&calls, both, only_b), (Ambiguous, vec![a, b], false), "which does not become certain");
        assert_eq!(
            of(&calls, only_a, only_b),
            (Ambiguous, vec![a, b], false),
            "it may act for the other now"
        );
        assert!(calls.close(b));
        assert_eq!(calls.current(), 0);
        assert_eq!(of(&calls, only_a, 0), (Exact, vec![a], true), "after the end");
        assert_eq!(of(&calls, 77, 0).0, None, "an unknown set, and nothing is open");
        assert!(!calls.close(b), "it is over");
    }

    #[test]
    fn what_is_open_is_found_by_either_name() {
        let mut calls = Calls::default();
        let a = call(&mut calls, "a");
        assert_eq!(calls.find("a"), None);
        calls.open(a);
        assert_eq!((calls.find("a"), calls.find(&a.to_string())), (Some(a), Some(a)));
        assert_eq!(calls.take_recent(), [a]);
        calls.close(a);
        assert_eq!(calls.take_recent(), [a]);
        assert!(calls.take_recent().is_empty());
    }

    #[test]
    fn no_more_are_open_than_there_is_room_for() {
        let mut calls = Calls::default();
        let first = call(&mut calls, "first");
        calls.open(first);
        for _ in 1..OPEN_MAX {
            assert_eq!(calls.make_room(), None);
            let next = call(&mut calls, "next");
            calls.open(next);
        }
        assert_eq!(calls.make_room(), Some(first));
        assert_eq!((calls.make_room(), calls.open_calls().len()), (None, OPEN_MAX - 1));
    }

    #[test]
    fn what_a_turn_left_open_is_found_by_its_claims() {
        let mut calls = Calls::default();
        let mut open = |source, claimed: serde_json::Value| {
            let asked = serde_json::json!({"layer": "hook", "name": "x", "claimed": claimed});
            let call = Call::new(&serde_json::from_value(asked).unwrap(), source, Hex([1; 16]));
            let id = call.id;
            calls.add(call);
            calls.open(id);
            id
        };
        let one = open(Source::Session, serde_json::json!({"agent": "a", "session_id": "1", "turn_id": "t"}));
        open(Source::Session, serde_json::json!({"agent": "a", "session_id": "1", "agent_id": "sub"}));
        open(Source::Session, serde_json::json!({"agent": "a", "session_id": "2"}));
        open(Source::Gate, serde_json::json!({"agent": "a", "session_id": "1"}));
        open(Source::Session, serde_json::json!({}));
        let claimed = serde_json::json!({"agent": "a", "session_id": "1"});
        assert_eq!(calls.of_turn(Source::Session, claimed.as_object().unwrap()), [one]);
        assert!(
            !calls.name(one, Source::Gate, "new".into()) && calls.name(one, Source::Session, "new".into())
        );
        assert_eq!(calls.find("new"), Some(one));
    }

    #[test]
    fn old_sets_are_forgotten_and_stay_uncertain() {
        let mut calls = Calls::default();
        let a = call(&mut calls, "a");
        calls.open(a);
        let first = calls.current();
        for _ in 0..KEPT {
            let b = call(&mut calls, "b");
            calls.open(b);
            calls.close(b);
        }
        assert_eq!(of(&calls, first, calls.current()), (Attribution::Ambiguous, vec![a], false));
        assert!(calls.known.len() <= KEPT + 1 && calls.sets.len() <= KEPT);
        assert_eq!(of(&calls, 0, calls.current()), (Attribution::Exact, vec![a], false));
    }

    #[test]
    fn only_a_sound_traceparent_is_taken() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(traceparent(good).is_some());
        assert!(traceparent(&good.replacen("00", "cc", 1)).is_some());
        assert!(traceparent(&format!("cc{}-more", &good[2..])).is_some());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-zz",
        ] {
            assert!(traceparent(bad).is_none(), "{bad}");
        }
    }
}
