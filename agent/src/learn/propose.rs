//! Which rules would allow what was denied, and what is left to a person.

use std::collections::BTreeMap;

use super::LearnError;
use super::base::{Bases, Judged};
use super::evidence::Evidence;
use super::group::{self, Test};
use super::seen::Operation;
use crate::policy::{Effect, RuleRef};

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Proposal {
    pub rules: Vec<Rule>,
    /// Rules that a person has to want.
    pub aside: Vec<Aside>,
    /// What is denied or held by a rule of the base, by that rule.
    pub refused: Vec<(Effect, RuleRef, Evidence)>,
    /// What the base allows.
    pub covered: Evidence,
    /// What it does not.
    pub needed: Vec<Needed>,
}

/// An operation that the base does not allow.
#[derive(Debug)]
pub(super) struct Needed {
    /// Its index.
    pub operation: usize,
    /// Why no rule is proposed for it.
    pub refused: Option<String>,
}

/// A rule that allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub id: String,
    /// What it demands besides its lines.
    pub conditions: Vec<String>,
    pub test: Predicate,
    /// What is tested for, in order, each with what speaks for it.
    pub lines: Vec<(String, Evidence)>,
}

/// How a rule tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Predicate {
    Under,
    Glob,
    Is,
    /// A name of the host.
    Host,
    /// Nothing but the conditions.
    Any,
}

/// A rule with the reason why it is not simply proposed.
#[derive(Debug)]
pub(super) struct Aside {
    pub why: String,
    pub rule: Rule,
}

/// What is grouped together, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Read,
    Write,
    Program,
    Library,
    /// By host name and port.
    Host(u64),
    Connect,
    Bind,
    Tool,
    Other(String),
}

impl Kind {
    fn of(operation: &Operation) -> Self {
        match operation.action.as_str() {
            "file.read" => Self::Read,
            action if action.starts_with("file.") => Self::Write,
            "process.exec" if operation.fact("role") == Some("library") => Self::Library,
            "process.exec" => Self::Program,
            "net.connect" => match operation.port().filter(|_| !operation.hosts().is_empty()) {
                Some(port) => Self::Host(port),
                None => Self::Connect,
            },
            "net.bind" => Self::Bind,
            "tool.call" => Self::Tool,
            action => Self::Other(action.to_owned()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Read => "read".into(),
            Self::Write => "write".into(),
            Self::Program => "program".into(),
            Self::Library => "library".into(),
            Self::Host(port) => format!("port-{port}"),
            Self::Connect => "connect".into(),
            Self::Bind => "bind".into(),
            Self::Tool => "tool".into(),
            Self::Other(action) => action.replace('.', "-"),
        }
    }

    fn conditions(&self) -> Vec<String> {
        let action = |name: &str| format!("input.action.name == {}", super::write::literal(name));
        match self {
            Self::Read => vec!["reads".into()],
            Self::Write => vec!["writes".into()],
            Self::Program | Self::Library => vec!["executes".into()],
            Self::Host(port) => vec!["connects".into(), format!("port_is({port})")],
            Self::Connect => vec!["connects".into()],
            Self::Bind => vec![action("net.bind")],
            Self::Tool => vec![action("tool.call")],
            Self::Other(name) => vec![action(name)],
        }
    }

    /// What was seen of a folder may stand for it. Of programs only those may be run that were.
    fn has_folders(&self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Library)
    }
}

/// Judges every operation, and groups those that need a rule.
pub(super) fn propose(operations: &[Operation], bases: &mut Bases<'_>) -> Result<Proposal, LearnError> {
    let mut proposal = Proposal::default();
    let mut open: BTreeMap<Kind, Vec<&Operation>> = BTreeMap::new();
    let mut aside: BTreeMap<(String, Kind), Vec<&Operation>> = BTreeMap::new();
    let mut refused: BTreeMap<(Effect, String), (RuleRef, Evidence)> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let why = match bases.judge(operation)? {
            Judged::Covered => {
                proposal.covered.add(&operation.evidence);
                continue;
            }
            Judged::Refused { effect, rules } => {
                let rule = rules.into_iter().next().unwrap_or_else(|| RuleRef {
                    id: "unnamed".into(),
                    reason: String::new(),
                    advice: String::new(),
                });
                let why = match effect {
                    Effect::Escalate => format!("a rule of the base asks a human: {}", rule.id),
                    _ => format!("a rule of the base denies it: {}", rule.id),
                };
                let (_, evidence) =
                    refused.entry((effect, rule.id.clone())).or_insert_with(|| (rule, Evidence::default()));
                evidence.add(&operation.evidence);
                Some(why)
            }
            Judged::Open if super::write::literal(&operation.id).len() > super::write::LINE => {
                Some("its name is too long for a rule".into())
            }
            Judged::Open => {
                let kind = Kind::of(operation);
                let why = match delicate(operation) {
                    Some(why) => Some(why.to_owned()),
                    None => bases.caution(operation)?.map(caution),
                };
                match &why {
                    Some(why) => aside.entry((why.clone(), kind)).or_default().push(operation),
                    None => open.entry(kind).or_default().push(operation),
                }
                why.map(|why| format!("left to you: {why}"))
            }
        };
        proposal.needed.push(Needed { operation: index, refused: why });
    }
    for (kind, operations) in &open {
        proposal.rules.extend(rules(kind, operations, kind.has_folders()));
    }
    for ((why, kind), operations) in &aside {
        let rules = rules(kind, operations, false).into_iter();
        proposal.aside.extend(rules.map(|rule| Aside { why: why.clone(), rule }));
    }
    proposal.refused =
        refused.into_iter().map(|((effect, _), (rule, evidence))| (effect, rule, evidence)).collect();
    Ok(proposal)
}

/// Why an operation is not proposed whatever any policy says.
fn delicate(operation: &Operation) -> Option<&'static str> {
    match operation.action.as_str() {
        action if action.starts_with("system.") => Some("it could undo what else is enforced"),
        "process.ptrace" => Some("it controls a process outside of the session"),
        "process.signal" => {
            Some("it signals a process outside of the session, which a number does not name for long")
        }
        _ if operation.id.starts_with("unknown:") => Some("it could not be told what it was done to"),
        _ if operation.id.starts_with("foreign:") => Some("it lies in another mount namespace"),
        _ => None,
    }
}

fn caution(rule: RuleRef) -> String {
    let reason = if rule.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", rule.reason.trim_end_matches('.'))
    };
    format!("preset:coding-agent has the rule {}{reason}", rule.id)
}

/// The rules for operations of one kind.
fn rules(kind: &Kind, operations: &[&Operation], folders: bool) -> Vec<Rule> {
    let mut lines: BTreeMap<Predicate, BTreeMap<String, Evidence>> = BTreeMap::new();
    let mut add = |test, line: &str, evidence: &Evidence| {
        let line: &mut Evidence = lines.entry(test).or_default().entry(line.to_owned()).or_default();
        line.add(evidence);
    };
    // One resource may have been seen in several ways.
    let mut by_id: BTreeMap<&str, Evidence> = BTreeMap::new();
    for operation in operations {
        match by_id.get_mut(operation.id.as_str()) {
            Some(known) => known.again(&operation.evidence),
            None => drop(by_id.insert(&operation.id, operation.evidence.clone())),
        }
    }
    match kind {
        Kind::Host(_) => {
            for operation in operations {
                // Any of them would do; the first is what was asked for.
                let host = operation.hosts().first().copied().unwrap_or_default();
                add(Predicate::Host, host, &operation.evidence);
            }
        }
        Kind::Other(action) if action == "process.signal" => {
            by_id.values().for_each(|evidence| add(Predicate::Any, "", evidence));
        }
        _ => {
            let ids: Vec<&str> = by_id.keys().copied().collect();
            for place in group::places(&ids, folders) {
                let (test, line) = match &place.test {
                    Test::Under(line) => (Predicate::Under, line),
                    Test::Glob(line) => (Predicate::Glob, line),
                    Test::Is(line) => (Predicate::Is, line),
                };
                place.members.iter().filter_map(|index| by_id.get(ids[*index])).for_each(|evidence| {
                    add(test, line, evidence);
                });
            }
        }
    }
    let rule = |(test, lines): (Predicate, BTreeMap<String, Evidence>)| {
        let what = match (test, folders) {
            (Predicate::Under, _) => "-folders",
            (Predicate::Glob, _) => "-patterns",
            (Predicate::Is, true) => "-files",
            _ => "",
        };
        let id = format!("learned-{}{what}", kind.name());
        Rule { id, conditions: kind.conditions(), test, lines: lines.into_iter().collect() }
    };
    lines.into_iter().map(rule).collect()
}
