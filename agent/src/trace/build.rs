//! From entries to trees.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use uuid::Uuid;

use super::{CallTree, Node, SessionTree, Target, TraceError};
use crate::event::{Action, ActionName};
use crate::ledger::{Attribution, Decision, Entry, Hex, Kind, LedgerError};
use crate::session::declared::{Declared, Seen};

/// The trees of all sessions that the target names, the earliest first.
pub fn build(
    entries: impl Iterator<Item = Result<Entry, LedgerError>>,
    target: Target,
) -> Result<Vec<SessionTree>, TraceError> {
    let mut sessions = Builders::default();
    for entry in entries {
        let entry = entry?;
        let Some(session) = entry.session.filter(|session| match target {
            Target::Session(id) => *session == id,
            Target::Trace(_) | Target::Call(_) => true,
        }) else {
            continue;
        };
        let builder = sessions.0.entry(session).or_insert_with(|| Builder::new(session));
        builder.wanted |= names(target, &entry);
        builder.add(entry);
    }
    let mut trees: Vec<_> = sessions.0.into_values().filter(|one| one.wanted).map(Builder::finish).collect();
    trees.iter_mut().for_each(|tree| restrict(tree, target));
    trees.sort_by_key(|tree| (tree.start, tree.session));
    Ok(trees)
}

fn names(target: Target, entry: &Entry) -> bool {
    match target {
        Target::Session(id) => entry.session == Some(id),
        Target::Trace(id) => entry.trace_id == Some(id),
        Target::Call(span) => entry.span_id == Some(span),
    }
}

/// Leaves out what the target does not name.
fn restrict(tree: &mut SessionTree, target: Target) {
    match target {
        Target::Session(_) => {}
        Target::Trace(trace) => {
            tree.calls.retain(|call| call.trace_id == Some(trace));
            if tree.trace_id != Some(trace) {
                let spans: Vec<_> = tree.calls.iter().map(|call| call.span_id.to_string()).collect();
                tree.ambiguous.retain(|node| node.candidates.iter().any(|span| spans.contains(span)));
                tree.outside.clear();
            }
        }
        Target::Call(span) => {
            tree.calls.retain(|call| call.span_id == span);
            tree.ambiguous.retain(|node| node.candidates.contains(&span.to_string()));
            tree.outside.clear();
        }
    }
}

#[derive(Default)]
struct Builders(BTreeMap<Uuid, Builder>);

/// A session in the making.
struct Builder {
    tree: SessionTree,
    wanted: bool,
    /// Places of calls in the tree.
    by_span: HashMap<Hex<8>, usize>,
    by_id: HashMap<Uuid, usize>,
    /// By the decision: what was answered, and which finding it is in.
    answers: HashMap<Uuid, Entry>,
    findings: HashMap<Uuid, Uuid>,
    /// What later entries count again.
    seen: HashMap<Uuid, Seed>,
}

/// What an entry that only counts needs of the decision it counts.
#[derive(Clone)]
struct Seed {
    action: ActionName,
    resource: String,
}

impl Builder {
    fn new(session: Uuid) -> Self {
        let tree = SessionTree {
            session,
            agent: None,
            start: None,
            end: None,
            trace_id: None,
            span_id: None,
            mode: None,
            policy: None,
            calls: Vec::new(),
            ambiguous: Vec::new(),
            outside: Vec::new(),
            unrecorded: 0,
        };
        Self {
            tree,
            wanted: false,
            by_span: HashMap::new(),
            by_id: HashMap::new(),
            answers: HashMap::new(),
            findings: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    fn add(&mut self, entry: Entry) {
        let detail = |name: &str| entry.detail.as_ref().and_then(|detail| detail.get(name));
        let uuid =
            |name: &str| detail(name).and_then(Value::as_str).and_then(|text| text.parse::<Uuid>().ok());
        match entry.kind {
            Kind::SessionStart => {
                let text = detail("agent").and_then(Value::as_str).map(str::to_owned);
                let tree = &mut self.tree;
                (tree.agent, tree.start, tree.mode) = (text, Some(entry.time), entry.mode);
                (tree.trace_id, tree.span_id) = (entry.trace_id, entry.span_id);
                tree.policy = entry.policy;
            }
            Kind::SessionEnd => self.tree.end = Some(entry.time),
            // What a client says a human said: the authoritative answer is an entry of its own.
            Kind::Elicited | Kind::PolicyChanged | Kind::ModeChanged => {}
            Kind::CallClosed => {
                let outcome = detail("outcome").and_then(Value::as_str).map(str::to_owned);
                if let Some(place) = uuid("call").and_then(|id| self.by_id.get(&id)) {
                    let call = &mut self.tree.calls[*place];
                    (call.end, call.outcome) = (Some(entry.time), outcome);
                }
            }
            Kind::Answer => drop(self.answers.insert(entry.id, entry)),
            Kind::Finding => {
                if let Some(operation) = uuid("operation") {
                    self.findings.insert(operation, entry.id);
                }
            }
            Kind::Gap => self.tree.unrecorded += entry.count.unwrap_or(1),
            Kind::Decision if entry.action == Some(Action::ToolCall.into()) => self.call(&entry),
            Kind::Decision => match uuid("implied_by").and_then(|id| self.by_id.get(&id).copied()) {
                Some(place) => {
                    let Some(node) = node(&entry) else { return };
                    let call = &mut self.tree.calls[place];
                    call.effect = call.effect.max(Some(node.effect));
                    call.declared.push(node);
                }
                None => self.operation(&entry),
            },
            Kind::Remembered => self.operation(&entry),
        }
    }

    fn call(&mut self, entry: &Entry) {
        let (Some(node), Some(span)) = (node(entry), entry.span_id) else { return };
        let detail = entry.detail.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let place = self.place(span);
        self.by_id.insert(entry.id, place);
        let call = &mut self.tree.calls[place];
        (call.call, call.start, call.trace_id) = (Some(entry.id), Some(entry.time), entry.trace_id);
        (call.layer, call.detail, call.tool) = (entry.layer, detail, node.resource.clone());
        call.effect = call.effect.max(Some(node.effect));
        call.declared.push(node);
    }

    /// Where the call of a span is in the tree; one that was not decided in this ledger is known by its span only.
    fn place(&mut self, span: Hex<8>) -> usize {
        *self.by_span.entry(span).or_insert_with(|| {
            self.tree.calls.push(CallTree {
                call: None,
                tool: String::new(),
                span_id: span,
                trace_id: None,
                layer: None,
                detail: serde_json::Map::new(),
                start: None,
                end: None,
                outcome: None,
                effect: None,
                declared: Vec::new(),
                operations: Vec::new(),
            });
            self.tree.calls.len() - 1
        })
    }

    fn operation(&mut self, entry: &Entry) {
        let mut node = match node(entry) {
            Some(node) => {
                let seed = Seed { action: node.action.clone(), resource: node.resource.clone() };
                self.seen.insert(entry.id, seed);
                node
            }
            // Counted only: it is the operation of the decision that it repeats.
            None => {
                let Some(Seed { action, resource }) = self.seen.get(&entry.id).cloned() else { return };
                let Some(decision) = &entry.decision else { return };
                of(entry, decision, action, resource)
            }
        };
        let gated = !self.tree.calls.is_empty();
        let place = match (entry.attribution, entry.span_id) {
            (Some(Attribution::Exact), Some(span)) => Some(self.place(span)),
            _ => None,
        };
        let declared: Vec<_> = place.map_or_else(Vec::new, |place| declared(&self.tree.calls[place]));
        let properties = entry.resource.as_ref().map(|resource| &resource.properties);
        let seen = own(&node.action).map(|action| Seen {
            action,
            id: &node.resource,
            role: properties.and_then(|properties| properties.get("role")?.as_str()),
            attribution: entry.attribution.unwrap_or(Attribution::None),
            after_end: entry
                .detail
                .as_ref()
                .is_some_and(|detail| detail.get("after_end") == Some(&true.into())),
        });
        // What is only counted was judged when it was first seen.
        let seen = seen.filter(|_| entry.kind == Kind::Decision);
        node.contradicts = seen.and_then(|seen| seen.contradicts(&declared, gated));
        match (place, node.attribution) {
            (Some(place), _) => self.tree.calls[place].operations.push(node),
            (None, Some(Attribution::Ambiguous)) => self.tree.ambiguous.push(node),
            (None, _) => self.tree.outside.push(node),
        }
    }

    fn finish(mut self) -> SessionTree {
        let tree = &mut self.tree;
        let of_calls =
            tree.calls.iter_mut().flat_map(|call| call.declared.iter_mut().chain(&mut call.operations));
        for node in of_calls.chain(&mut tree.ambiguous).chain(&mut tree.outside) {
            let answer = self.answers.get(&node.id).and_then(|answer| answer.decision.as_ref());
            node.answer = answer.map(|answer| answer.effect);
            node.finding = self.findings.get(&node.id).copied();
        }
        self.tree
    }
}

/// An operation that authz knows; what other gates ask about has no effect of its own.
fn own(name: &ActionName) -> Option<Action> {
    if let ActionName::Own(action) = name { Some(*action) } else { None }
}

/// What a call declares; its own decision is the first.
fn declared(call: &CallTree) -> Vec<Declared> {
    let implied = call.declared.iter().skip(usize::from(call.call.is_some()));
    let declared = implied.filter_map(|node| own(&node.action).map(|action| (action, &node.resource)));
    declared.map(|(action, id)| Declared { action, id: id.clone() }).collect()
}

fn node(entry: &Entry) -> Option<Node> {
    let (action, decision) = (entry.action.clone()?, entry.decision.as_ref()?);
    Some(of(entry, decision, action, entry.resource.as_ref()?.id.clone()))
}

fn of(entry: &Entry, decision: &Decision, action: ActionName, resource: String) -> Node {
    let candidates = entry.detail.as_ref().and_then(|detail| detail.get("candidates")?.as_array());
    let candidates = candidates.into_iter().flatten().filter_map(|span| span.as_str().map(str::to_owned));
    Node {
        id: entry.id,
        time: entry.time,
        action,
        instead: entry.enforced_id.clone().filter(|instead| *instead != resource),
        resource,
        effect: decision.effect,
        rules: decision.rules.clone(),
        decided_by: entry.decided_by,
        enforced: entry.enforced != Some(false),
        answer: None,
        count: entry.count.unwrap_or(1),
        attribution: entry.attribution,
        candidates: candidates.collect(),
        contradicts: None,
        finding: None,
    }
}
