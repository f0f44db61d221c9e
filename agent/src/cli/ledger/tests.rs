use super::*;
use crate::event::Action;
use crate::ledger::{DecidedBy, Decision, Options, ResourceEntry, RuleRef, Store};

fn entry(effect: Effect, id: &str) -> Entry {
    let mut entry = Entry::new(Kind::Decision);
    entry.action = Some(Action::FileWrite.into());
    entry.session = Some(Uuid::from_u128(7));
    entry.resource =
        Some(ResourceEntry { kind: "file".into(), id: id.into(), properties: Default::default(), raw: None });
    entry.decision = Some(Decision {
        effect,
        rules: vec![RuleRef { id: "r".into(), reason: "line\nbreak".into(), advice: String::new() }],
        constraints: Default::default(),
        rewrite: None,
    });
    entry.decided_by = Some(DecidedBy::Policy);
    entry.enforced = Some(true);
    entry
}

fn ledger(entries: Vec<Entry>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    entries.into_iter().for_each(|entry| assert!(store.append(entry).is_ok()));
    dir
}

fn print(dir: &tempfile::TempDir, command: LedgerCommand) -> anyhow::Result<String> {
    let mut out = Output { to: Vec::new(), painter: Painter::plain(), terminal: true };
    let reader = Readers::open(dir.path())?;
    match command {
        LedgerCommand::List(args) => out.list(reader, &args)?,
        LedgerCommand::Show(args) => out.show(reader, &args)?,
        _ => unreachable!(),
    };
    Ok(String::from_utf8(out.to)?)
}

#[test]
fn rows_are_aligned_and_harmless() {
    let mut would = entry(Effect::Deny, "/etc/\u{1b}[2J\n\u{202e}x");
    would.enforced = Some(false);
    let mut computed = entry(Effect::Compute, "/prod/x");
    (computed.requested_id, computed.enforced_id) = (Some("/prod/x".into()), Some("/staging/x".into()));
    let mut gap = Entry::new(Kind::Gap);
    gap.causes.push("ring full".into());
    gap.count = Some(3);
    let dir = ledger(vec![would, computed, gap, Entry::new(Kind::SessionEnd)]);
    let text = print(&dir, LedgerCommand::List(ListArgs::default())).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    let column = lines[0].find("RESOURCE").unwrap();
    assert_eq!(&lines[1][column..], "/etc/\\u{1b}[2J\\n\\u{202e}x");
    assert_eq!(&lines[2][column..], "/prod/x -> /staging/x");
    assert_eq!(&lines[3][column..], "ring full (3 times)");
    assert!(lines[1].contains(" (deny)    file.write        policy "), "{}", lines[1]);
}

#[test]
fn filters_and_limits() {
    let mut other = entry(Effect::Allow, "/b");
    (other.session, other.action, other.time) = (None, Some(Action::NetConnect.into()), Time(5));
    let dir = ledger(vec![other, entry(Effect::Deny, "/c"), entry(Effect::Allow, "/d")]);
    let count = |args: ListArgs| print(&dir, LedgerCommand::List(args)).unwrap().lines().count() - 1;
    assert_eq!(count(ListArgs::default()), 3);
    assert_eq!(count(ListArgs { effect: Some(Effect::Allow), ..Default::default() }), 2);
    assert_eq!(count(ListArgs { action: Some(Action::NetConnect.into()), ..Default::default() }), 1);
    assert_eq!(count(ListArgs { session: Some(Uuid::from_u128(7)), ..Default::default() }), 2);
    assert_eq!(count(ListArgs { since: Some(since("1h").unwrap()), ..Default::default() }), 2);
    let last = print(&dir, LedgerCommand::List(ListArgs { limit: 1, ..Default::default() })).unwrap();
    assert!(last.contains("/d") && !last.contains("/c"));
    let json = print(&dir, LedgerCommand::List(ListArgs { json: true, ..Default::default() })).unwrap();
    assert!(
        json.lines().all(|line| serde_json::from_str::<Entry>(line).is_ok()) && json.lines().count() == 3
    );
}

#[test]
fn one_decision_is_shown_whole() {
    let decided = entry(Effect::Escalate, "/x\u{9b}1m");
    let id = decided.id.to_string();
    let mut answer = Entry::new(Kind::Answer);
    answer.id = decided.id;
    let dir = ledger(vec![entry(Effect::Allow, "/other"), decided, answer]);
    let show = |id: &str, json| print(&dir, LedgerCommand::Show(ShowArgs { id: id.into(), json }));
    let text = show(&id, false).unwrap();
    assert!(text.contains("kind           decision\n") && text.contains("kind           answer\n"), "{text}");
    assert!(
        text.contains("id: /x\\u{9b}1m") && text.contains("line\\nbreak") && !text.contains("/other"),
        "{text}"
    );
    assert_eq!(show(&id.to_uppercase(), true).unwrap().lines().count(), 2);
    assert!(show("", false).is_err());
    assert!(show("zz", false).unwrap_err().to_string().contains("no entry"));
    assert!(show("0", false).unwrap_err().to_string().contains("more than one"));
}

#[test]
fn arguments_are_checked() {
    assert!(action("file.write").is_ok() && action("file.wriet").unwrap_err().contains("file.write"));
    assert_eq!(since("2026-11-21").unwrap().to_string(), "2026-11-21T00:00:00.000000000Z");
    assert!(since("999999999999d").is_ok(), "as far back as there is");
    for bad in ["", "h", "-1h", "2w", "yesterday", "1.5h", "ä"] {
        assert!(since(bad).is_err(), "{bad:?}");
    }
}
