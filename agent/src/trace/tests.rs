use serde_json::{Value, json};

use super::*;
use crate::event::Action;
use crate::ledger::{Entry, Kind, LedgerError, ResourceEntry};
use crate::policy::Decision;

const SESSION: Uuid = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001);
const TRACE: Hex<16> = Hex([7; 16]);
const ROOT: Hex<8> = Hex([1; 8]);
const ONE: Hex<8> = Hex([0xa1; 8]);
const TWO: Hex<8> = Hex([0xb2; 8]);

/// A ledger in memory.
#[derive(Default)]
struct Ledger(Vec<Entry>);

impl Ledger {
    fn add(&mut self, kind: Kind, span: Hex<8>, attribution: Attribution, detail: Value) -> &mut Entry {
        let mut entry = Entry::new(kind);
        entry.session = Some(SESSION);
        (entry.trace_id, entry.span_id, entry.attribution) = (Some(TRACE), Some(span), Some(attribution));
        entry.detail = (!detail.is_null()).then_some(detail);
        entry.time = Time(self.0.len() as u64);
        self.0.push(entry);
        self.0.last_mut().unwrap()
    }

    fn op(
        &mut self,
        span: Hex<8>,
        attribution: Attribution,
        action: Action,
        id: &str,
        detail: Value,
    ) -> Uuid {
        let entry = self.add(Kind::Decision, span, attribution, detail);
        let effect = if id.starts_with("/prod") { Effect::Deny } else { Effect::Allow };
        entry.action = Some(action.into());
        entry.resource = Some(ResourceEntry {
            kind: action.resource_type().into(),
            id: id.into(),
            properties: Default::default(),
            raw: None,
        });
        entry.decision = Some(Decision { effect, ..Decision::deny("rule", "why") });
        entry.id
    }

    fn exact(&mut self, span: Hex<8>, action: Action, id: &str) -> Uuid {
        self.op(span, Attribution::Exact, action, id, Value::Null)
    }

    fn call(&mut self, span: Hex<8>, tool: &str, call_id: &str, path: Option<&str>) -> Uuid {
        let detail = json!({"call_id": call_id, "source": "gate"});
        let call = self.op(span, Attribution::Exact, Action::ToolCall, tool, detail);
        if let Some(path) = path {
            let detail = json!({"implied_by": call});
            self.op(span, Attribution::Exact, Action::FileWrite, path, detail);
        }
        call
    }

    fn entries(&self) -> impl Iterator<Item = Result<Entry, LedgerError>> {
        self.0.clone().into_iter().map(Ok)
    }

    fn target(&self, text: &str) -> Result<Target, TraceError> {
        find(self.entries(), text)
    }

    fn tree(&self, text: &str) -> SessionTree {
        let mut trees = build(self.entries(), self.target(text).unwrap()).unwrap();
        assert_eq!(trees.len(), 1);
        trees.remove(0)
    }
}

/// Two calls, the second within the first, and what happened under and around them.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let start = ledger.add(Kind::SessionStart, ROOT, Attribution::None, json!({"agent": "claude"}));
    start.mode = Some(Mode::Enforce);
    ledger.op(ROOT, Attribution::None, Action::FileWrite, "/before", Value::Null);
    let one = ledger.call(ONE, "filesystem/write_file", "toolu_01", Some("/work/a"));
    ledger.exact(ONE, Action::FileCreate, "/work/a");
    let hidden = ledger.exact(ONE, Action::FileWrite, "/prod/x");
    ledger.add(Kind::Finding, ONE, Attribution::Exact, json!({"operation": hidden, "call": one}));
    ledger.exact(ONE, Action::FileRead, "/etc/hosts");
    ledger.call(TWO, "other/shell", "toolu_02", None);
    ledger.exact(TWO, Action::FileWrite, "/anywhere");
    let both = json!({"candidates": [ONE, TWO]});
    ledger.op(ROOT, Attribution::Ambiguous, Action::FileWrite, "/both", both);
    ledger.add(Kind::CallClosed, ONE, Attribution::Exact, json!({"call": one, "outcome": "ok"}));
    ledger.op(ONE, Attribution::Exact, Action::FileWrite, "/work/a", json!({"after_end": true}));
    ledger.op(ROOT, Attribution::None, Action::FileWrite, "/between", Value::Null);
    ledger.op(ROOT, Attribution::None, Action::FileRead, "/read", Value::Null);
    ledger.add(Kind::SessionEnd, ROOT, Attribution::None, Value::Null);
    ledger
}

fn names(nodes: &[Node]) -> Vec<(&str, Option<Contradiction>)> {
    nodes.iter().map(|node| (node.resource.as_str(), node.contradicts)).collect()
}

#[test]
fn operations_stand_under_their_calls_and_contradictions_are_marked() {
    use Contradiction::{AfterEnd, NoCall, Undeclared};
    let tree = ledger().tree(&SESSION.to_string());
    assert_eq!((tree.agent.as_deref(), tree.mode), (Some("claude"), Some(Mode::Enforce)));
    assert!(tree.start.is_some() && tree.end.is_some());
    let [one, two] = &tree.calls[..] else { panic!("{tree:?}") };
    assert_eq!((one.tool.as_str(), one.outcome.as_deref()), ("filesystem/write_file", Some("ok")));
    assert_eq!(names(&one.declared), [("filesystem/write_file", None), ("/work/a", None)]);
    assert_eq!(
        names(&one.operations),
        [("/work/a", None), ("/prod/x", Some(Undeclared)), ("/etc/hosts", None), ("/work/a", Some(AfterEnd))]
    );
    assert_eq!(one.operations[1].effect, Effect::Deny);
    assert!(one.operations[1].finding.is_some() && one.operations[0].finding.is_none());
    assert_eq!(names(&two.operations), [("/anywhere", None)], "nothing is known of the tool");
    assert_eq!((two.end, two.effect), (None, Some(Effect::Allow)));
    assert_eq!(names(&tree.ambiguous), [("/both", None)]);
    assert_eq!(tree.ambiguous[0].candidates, [ONE.to_string(), TWO.to_string()]);
    let outside = [("/before", None), ("/between", Some(NoCall)), ("/read", None)];
    assert_eq!(names(&tree.outside), outside, "before the first call nobody is known to open any");
}

#[test]
fn every_id_leads_to_its_part() {
    let ledger = ledger();
    let whole = ledger.tree(&SESSION.to_string());
    let (call, operation) = (whole.calls[0].call.unwrap(), whole.calls[0].operations[1].id);
    for text in [SESSION.to_string(), SESSION.simple().to_string(), ROOT.to_string(), TRACE.to_string()] {
        let tree = ledger.tree(&text);
        assert_eq!((tree.calls.len(), tree.outside.len()), (2, 3), "{text}");
    }
    let texts = [call.to_string(), ONE.to_string(), "toolu_01".into(), operation.to_string(), "a1a1".into()];
    for text in texts {
        let tree = ledger.tree(&text);
        let [one] = &tree.calls[..] else { panic!("{text}: {tree:?}") };
        assert_eq!((one.span_id, one.operations.len()), (ONE, 4), "{text}");
        assert_eq!((tree.ambiguous.len(), tree.outside.len()), (1, 0), "{text}");
    }
    assert!(matches!(ledger.target("nothing"), Err(TraceError::Unknown(_))));
    assert!(matches!(ledger.target("toolu"), Err(TraceError::Several(..))));
    assert!(matches!(ledger.target(""), Err(TraceError::Unknown(_))));
}

#[test]
fn answers_and_uses_are_counted_with_their_decision() {
    let mut ledger = Ledger::default();
    ledger.call(ONE, "other/shell", "c", None);
    let id = ledger.exact(ONE, Action::FileRead, "/x");
    let used = ledger.add(Kind::Remembered, ROOT, Attribution::Ambiguous, json!({"candidates": [ONE]}));
    (used.id, used.count) = (id, Some(40));
    used.decision = Some(Decision { effect: Effect::Allow, ..Decision::deny("rule", "") });
    let answer = ledger.add(Kind::Answer, ONE, Attribution::Exact, Value::Null);
    (answer.id, answer.decision) = (id, Some(Decision::deny("rule", "")));
    let tree = ledger.tree("c");
    assert_eq!(tree.calls[0].operations[0].answer, Some(Effect::Deny));
    assert_eq!((tree.ambiguous[0].resource.as_str(), tree.ambiguous[0].count), ("/x", 40));
}

#[test]
fn what_names_a_call_that_is_not_there_is_shown_all_the_same() {
    let mut ledger = Ledger::default();
    ledger.exact(TWO, Action::FileRead, "/x");
    let tree = ledger.tree(&SESSION.to_string());
    assert_eq!((tree.calls[0].call, tree.calls[0].operations.len()), (None, 1));
    ledger.add(Kind::CallClosed, ONE, Attribution::Exact, json!({"call": "no id"}));
    ledger.add(Kind::Finding, ONE, Attribution::Exact, json!(["odd"]));
    ledger.add(Kind::Decision, ONE, Attribution::Exact, json!({"implied_by": 7, "candidates": 5}));
    assert_eq!(ledger.tree(&SESSION.to_string()).calls.len(), 1);
}
