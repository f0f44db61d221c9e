//! What a tool call declares by the operations it implies, and what contradicts that.
//!
//! The measure is generous: a program that writes a file may go through a temporary one beside it and make the folders
//! above it. What is left is not what the arguments say.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Action, Operation};
use crate::ledger::entry::Attribution;

/// An operation that a call implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The action.
    pub action: Action,
    /// Its resource.
    pub id: String,
}

/// How an effect contradicts what was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contradiction {
    /// The call's arguments do not name it.
    Undeclared,
    /// Its call was over.
    AfterEnd,
    /// No call was open.
    NoCall,
}

impl Contradiction {
    /// For humans.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Undeclared => "outside what the call declares",
            Self::AfterEnd => "after the call's end",
            Self::NoCall => "no call was open",
        }
    }
}

/// An operation as far as it counts here.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The action.
    pub action: Action,
    /// Its resource.
    pub id: &'a str,
    /// The part that the resource has in it, such as `library`.
    pub role: Option<&'a str>,
    /// Whether it is known to which call it belongs.
    pub attribution: Attribution,
    /// That call was over.
    pub after_end: bool,
}

impl<'a> Seen<'a> {
    /// Of an operation.
    pub fn of(operation: &'a Operation, attribution: Attribution, after_end: bool) -> Self {
        let Operation { action, resource, .. } = operation;
        let role = resource.properties.get("role").and_then(|role| role.as_str());
        Self { action: *action, id: &resource.id, role, attribution, after_end }
    }

    /// What it contradicts. `declared`: of its call; empty if nothing is known of the tool. `gated`: the session has
    /// had a call before, so that somebody opens them.
    pub fn contradicts(self, declared: &[Declared], gated: bool) -> Option<Contradiction> {
        if !self.is_effect() {
            return None;
        }
        match self.attribution {
            Attribution::None => gated.then_some(Contradiction::NoCall),
            Attribution::Exact if self.after_end => Some(Contradiction::AfterEnd),
            Attribution::Exact => {
                let explained = declared.is_empty() || declared.iter().any(|one| one.explains(self));
                (!explained).then_some(Contradiction::Undeclared)
            }
            Attribution::Ambiguous => None,
        }
    }

    /// Whether it changes a file, starts a program or connects: what a call has to account for.
    fn is_effect(self) -> bool {
        match self.action {
            Action::NetConnect => true,
            Action::ProcessExec => matches!(self.role, None | Some("program")),
            action => changes(action) && self.id != "/dev/null",
        }
    }
}

/// How many findings a session has at most; an agent can make any number of them.
pub const FINDINGS_MAX: usize = 1000;

/// What was found in a session: of each call each action on each resource once.
#[derive(Default)]
pub struct Findings(HashSet<(Option<Uuid>, Action, String)>);

impl Findings {
    /// Whether it is a new one that may be recorded, and whether it is the last.
    pub fn add(&mut self, call: Option<Uuid>, action: Action, resource: &str) -> Option<bool> {
        let full = self.0.len() >= FINDINGS_MAX;
        let new = !full && self.0.insert((call, action, resource.to_owned()));
        new.then_some(self.0.len() == FINDINGS_MAX)
    }
}

fn changes(action: Action) -> bool {
    use Action::{FileCreate, FileDelete, FileLink, FileRename, FileSetattr, FileWrite};
    matches!(action, FileWrite | FileCreate | FileDelete | FileRename | FileLink | FileSetattr)
}

impl Declared {
    fn explains(&self, seen: Seen<'_>) -> bool {
        match seen.action {
            Action::NetConnect => {
                // Which numbers a name has, and whom to ask for them, the call does not say.
                let by_name =
                    || address(&self.id).is_some_and(|host| host.parse::<std::net::IpAddr>().is_err());
                self.action == Action::NetConnect && (self.id == seen.id || by_name())
            }
            Action::ProcessExec => self.action == Action::ProcessExec && self.id == seen.id,
            _ => changes(self.action) && self.explains_change(seen),
        }
    }

    fn explains_change(&self, seen: Seen<'_>) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
        };
        if seen.id == self.id {
            // A file that is to be written is not to be gone.
            let removes = matches!(self.action, Action::FileDelete | Action::FileRename);
            return seen.action != Action::FileDelete || removes;
        }
        let beside = seen
            .id
            .strip_prefix(&self.id)
            .is_some_and(|rest| rest.starts_with(['.', '~', '-', '#']) && !rest.contains('/'));
        beside
            || within(seen.id, &self.id)
            || (seen.action == Action::FileCreate && within(&self.id, seen.id))
    }
}

/// The host of `tcp://host:port`.
fn address(id: &str) -> Option<&str> {
    let host = id.split_once("://")?.1.rsplit_once(':')?.0;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contradicts(declared: &[(Action, &str)], action: Action, id: &str) -> Option<Contradiction> {
        let declared: Vec<_> =
            declared.iter().map(|(action, id)| Declared { action: *action, id: (*id).into() }).collect();
        let seen = Seen { action, id, role: None, attribution: Attribution::Exact, after_end: false };
        seen.contradicts(&declared, true)
    }

    #[test]
    fn what_the_arguments_name_is_explained_and_nothing_else() {
        use Action::*;
        let write = [(FileWrite, "/work/a")];
        for (action, id, expected) in [
            (FileWrite, "/work/a", true),
            (FileCreate, "/work/a", true),
            (FileSetattr, "/work/a", true),
            (FileRename, "/work/a", true),
            (FileDelete, "/work/a", false),
            (FileCreate, "/work/a.1f3a.tmp", true),
            (FileDelete, "/work/a.1f3a.tmp", true),
            (FileRename, "/work/a~", true),
            (FileWrite, "/work/ab", false),
            (FileWrite, "/work/a.d/x", false),
            (FileWrite, "/work/a/b", true),
            (FileCreate, "/work", true),
            (FileWrite, "/work", false),
            (FileCreate, "/wor", false),
            (FileWrite, "/etc/passwd", false),
            (FileRead, "/etc/passwd", true),
            (FileWrite, "/dev/null", true),
            (ProcessExec, "/bin/sh", false),
            (NetConnect, "tcp://192.0.2.1:443", false),
        ] {
            let found = contradicts(&write, action, id);
            assert_eq!(found, (!expected).then_some(Contradiction::Undeclared), "{action:?} {id}");
        }
        assert_eq!(contradicts(&[(FileRename, "/a"), (FileRename, "/b")], FileDelete, "/b"), None);
        assert_eq!(contradicts(&[(FileRead, "/a")], FileWrite, "/a"), Some(Contradiction::Undeclared));
        assert_eq!(contradicts(&[], FileWrite, "/a"), None, "nothing is known of the tool");
        assert_eq!(contradicts(&[(FileWrite, "/")], FileWrite, "/a"), None);
    }

    #[test]
    fn addresses_are_compared_as_far_as_they_are_known() {
        let number = [(Action::NetConnect, "tcp://192.0.2.1:443")];
        assert_eq!(contradicts(&number, Action::NetConnect, "tcp://192.0.2.1:443"), None);
        for other in ["tcp://192.0.2.1:80", "tcp://192.0.2.2:443", "udp://192.0.2.1:443", "unix:/run/x"] {
            assert!(contradicts(&number, Action::NetConnect, other).is_some(), "{other}");
        }
        let six = [(Action::NetConnect, "tcp://[::1]:80")];
        assert!(contradicts(&six, Action::NetConnect, "tcp://[::2]:80").is_some());
        let name = [(Action::NetConnect, "tcp://host.example:443")];
        assert_eq!(contradicts(&name, Action::NetConnect, "tcp://192.0.2.1:443"), None);
    }

    #[test]
    fn effects_without_a_call_or_after_it_are_contradictions() {
        let seen = |attribution, after_end| Seen {
            action: Action::FileWrite,
            id: "/x",
            role: None,
            attribution,
            after_end,
        };
        let declared = [Declared { action: Action::FileWrite, id: "/x".into() }];
        assert_eq!(seen(Attribution::None, false).contradicts(&[], true), Some(Contradiction::NoCall));
        assert_eq!(seen(Attribution::None, false).contradicts(&[], false), None, "nobody opens calls");
        assert_eq!(
            seen(Attribution::Exact, true).contradicts(&declared, true),
            Some(Contradiction::AfterEnd)
        );
        assert_eq!(seen(Attribution::Ambiguous, false).contradicts(&[], true), None);
        let library =
            Seen { action: Action::ProcessExec, role: Some("library"), ..seen(Attribution::None, false) };
        assert_eq!(library.contradicts(&[], true), None);
    }

    #[test]
    fn each_is_found_once_and_there_is_an_end() {
        let mut findings = Findings::default();
        assert_eq!(findings.add(None, Action::FileWrite, "/x"), Some(false));
        assert_eq!(findings.add(None, Action::FileWrite, "/x"), None);
        assert_eq!(findings.add(None, Action::FileDelete, "/x"), Some(false));
        assert_eq!(findings.add(Some(Uuid::from_u128(1)), Action::FileWrite, "/x"), Some(false));
        let found: Vec<_> = (0..2000)
            .filter_map(|number| findings.add(None, Action::FileWrite, &number.to_string()))
            .collect();
        assert_eq!((found.len(), found.iter().filter(|last| **last).count()), (FINDINGS_MAX - 3, 1));
    }
}
