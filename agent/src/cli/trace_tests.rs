use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::event::Action;
use crate::ledger::{Attribution, Hex, RuleRef};
use crate::session::declared::Contradiction;

fn node(action: Action, resource: &str, effect: Effect) -> Node {
    Node {
        id: Uuid::from_u128(1),
        time: Time(1_000_000_000),
        action: action.into(),
        resource: resource.into(),
        instead: None,
        effect,
        rules: vec![RuleRef { id: "rule\u{1b}".into(), reason: String::new(), advice: String::new() }],
        decided_by: None,
        enforced: true,
        answer: None,
        count: 1,
        attribution: Some(Attribution::Exact),
        candidates: Vec::new(),
        contradicts: None,
        finding: None,
    }
}

fn session() -> SessionTree {
    let span = Hex([0xa1; 8]);
    let hidden = Node {
        contradicts: Some(Contradiction::Undeclared),
        ..node(Action::FileWrite, "/prod/x\u{1b}[2J", Effect::Deny)
    };
    let both = Node {
        candidates: vec![span.to_string(), "?\n".into()],
        ..node(Action::FileWrite, "/both", Effect::Allow)
    };
    let detail = json!({"call_id": "toolu\u{1b}", "source": "gate"});
    let call = CallTree {
        call: Some(Uuid::from_u128(2)),
        tool: "fs/write\u{1b}".into(),
        span_id: span,
        trace_id: None,
        layer: None,
        detail: detail.as_object().cloned().unwrap(),
        start: None,
        end: Some(Time(2_000_000_000)),
        outcome: Some("ok".into()),
        effect: Some(Effect::Allow),
        declared: vec![
            node(Action::ToolCall, "fs/write", Effect::Allow),
            node(Action::FileWrite, "/work/a", Effect::Allow),
        ],
        operations: vec![
            node(Action::FileRead, "/etc/hosts", Effect::Allow),
            node(Action::FileWrite, "/work/a", Effect::Allow),
            node(Action::FileWrite, "/work/a", Effect::Allow),
            hidden,
        ],
    };
    SessionTree {
        session: Uuid::from_u128(3),
        agent: Some("claude\u{1b}".into()),
        start: Some(Time(0)),
        end: None,
        trace_id: None,
        span_id: None,
        mode: None,
        policy: None,
        calls: vec![call],
        ambiguous: vec![both],
        outside: Vec::new(),
        unrecorded: 7,
    }
}

fn printed(session: &SessionTree, all: bool) -> String {
    let mut out = Vec::new();
    Tree { out: &mut out, painter: Painter::plain(), all }.session(session).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_tree_names_verdicts_and_contradictions_and_is_harmless() {
    let text = printed(&session(), false);
    assert!(!text.contains('\u{1b}'), "{text}");
    for line in [
        "+- 00:00:01.000 fs/write\\u{1b}  allow [rule\\u{1b}]\n",
        "|     call toolu\\u{1b}, span a1a1a1a1a1a1a1a1, 00:00:02.000 ok, told by a gate\n",
        "|  declares file.write /work/a  allow [rule\\u{1b}]\n",
        "|  +- file.write /work/a  allow [rule\\u{1b}]  2 times\n",
        "|  +- file.write /prod/x\\u{1b}[2J  deny [rule\\u{1b}]  !! outside what the call declares\n",
        "|  +- and 1 reads and loads, allowed\n",
        "|  +- file.write /both  allow [rule\\u{1b}]  (fs/write\\u{1b} a1a1a1a1a1a1a1a1, ? ?\\n)\n",
        "7 operations left no record\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn reads_are_printed_if_asked_for() {
    assert!(printed(&session(), true).contains("file.read /etc/hosts  allow"));
}
