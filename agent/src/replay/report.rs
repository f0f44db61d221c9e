//! What a replay found.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use crate::event::ActionName;
use crate::ledger::{Decision, Entry, Time};
use crate::policy::Effect;

/// How many entries are named: of differences, and of each change.
const NAMED: usize = 100;
const EXAMPLES: usize = 3;

/// Why an entry cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A human answered. The policy's own part, the question, is compared where it was evaluated.
    Human,
    /// `max_uses` or `rate` was used up: the policy's part came out the same.
    Limit,
    /// The fail direction: the policy was not evaluated, or what it said could not be done.
    Failsafe,
    /// The input was redacted in a field that a policy looks at.
    Redacted,
    /// A policy looks at time or chance, and what it saw was not recorded.
    Chance,
    /// The evaluation took too long when it was recorded.
    TimeLimit,
    /// A remembered verdict whose evaluation is not in the ledger.
    Origin,
    /// Operations that left no record of their own.
    Gap,
    /// The policy was not kept, or what is kept was changed.
    Policy,
    /// The input is not in the ledger.
    Input,
}

impl Class {
    /// For humans.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Human => "answered by a human",
            Self::Limit => "a limit was used up (max_uses, rate)",
            Self::Failsafe => "decided by the fail direction",
            Self::Redacted => "redacted in what a policy reads",
            Self::Chance => "time or chance that was not recorded",
            Self::TimeLimit => "the evaluation took too long then",
            Self::Origin => "remembered, its evaluation is not in the ledger",
            Self::Gap => "left no record (gap)",
            Self::Policy => "the policy was not kept or was changed",
            Self::Input => "the input is missing",
        }
    }

    /// Whether evidence is missing that every ledger has to have.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Policy | Self::Input)
    }
}

/// In what an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The policy decides otherwise.
    Output,
    /// The recorded decision is not the one whose hash was recorded.
    Decision,
    /// The recorded input is not the one whose hash was recorded.
    Input,
    /// Action or resource are not those of the input.
    Operation,
}

impl What {
    /// For humans.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Output => "the policy decides otherwise than its recorded hash",
            Self::Decision => "the recorded decision is not the policy's",
            Self::Input => "the input does not have its recorded hash",
            Self::Operation => "action or resource are not those of the input",
        }
    }
}

/// An entry that does not come out as recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// In what.
    pub what: What,
    /// The entry.
    #[serde(flatten)]
    pub entry: Named,
    /// What was recorded.
    pub recorded: Option<Decision>,
    /// What comes out now.
    pub replayed: Decision,
}

/// An entry, named.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    /// Its time.
    pub time: Time,
    /// Its place in its ledger.
    pub seq: u64,
    /// Its id.
    pub decision_id: Uuid,
    /// Its session.
    pub session: Option<Uuid>,
    /// What was to be done.
    pub action: String,
    /// To what.
    pub resource: String,
}

impl Named {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            time: entry.time,
            seq: entry.seq,
            decision_id: entry.id,
            session: entry.session,
            action: entry.action.as_ref().map_or("", ActionName::as_str).to_owned(),
            resource: entry.resource.as_ref().map(|resource| resource.id.clone()).unwrap_or_default(),
        }
    }
}

/// An effect and the rules that led to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ruling {
    /// The effect.
    pub effect: Effect,
    /// The ids of its rules, sorted.
    pub rules: Vec<String>,
}

impl Ruling {
    pub(super) fn of(decision: &Decision) -> Self {
        let mut rules: Vec<_> = decision.rules.iter().map(|rule| rule.id.clone()).collect();
        rules.sort();
        Self { effect: decision.effect, rules }
    }
}

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Entries.
    pub entries: u64,
    /// Operations they stand for.
    pub operations: u64,
}

impl Count {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        self.operations = self.operations.saturating_add(entry.count.unwrap_or(1));
    }

    fn merge(&mut self, other: Self) {
        self.entries += other.entries;
        self.operations = self.operations.saturating_add(other.operations);
    }
}

/// What the other policy changes, of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// As recorded.
    pub before: Ruling,
    /// By the other policy. The same as before: only wording, constraints or the rewrite differ.
    pub after: Ruling,
    /// How often.
    #[serde(flatten)]
    pub count: Count,
    /// The first.
    pub examples: Vec<Named>,
}

/// What a replay found. Each entry is counted once: as same, as different, or in a class of `not_compared`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What came out as recorded.
    pub same: Count,
    /// What did not.
    pub different: Count,
    /// The first of these.
    pub differences: Vec<Difference>,
    /// What cannot be compared.
    pub not_compared: BTreeMap<Class, Count>,
    /// What is missing, a line each.
    pub missing: Vec<String>,
    /// How often a policy was evaluated for that.
    pub evaluations: u64,
    /// What the other policy would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<ByOther>,
    #[serde(skip)]
    by_ruling: BTreeMap<(Ruling, Ruling), (Count, Vec<Named>)>,
    #[serde(skip)]
    unchanged: Count,
    #[serde(skip)]
    undecided: Count,
}

/// What another policy would change of what the recorded ones said: before limits, humans and the fail direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ByOther {
    /// What it decides alike.
    pub unchanged: Count,
    /// What it looks at chance for: it may decide either way.
    pub undecided: Count,
    /// What changes: other effects first, and of these the most frequent.
    pub changes: Vec<Change>,
}

impl Report {
    /// Whether all that can be compared came out as recorded and nothing that has to be there is missing.
    pub fn is_fine(&self) -> bool {
        self.different.entries == 0 && self.not_compared.keys().all(|class| !class.is_loss())
    }

    /// Entries looked at.
    pub fn entries(&self) -> u64 {
        let counted = self.not_compared.values().map(|count| count.entries).sum::<u64>();
        self.same.entries + self.different.entries + counted
    }

    pub(super) fn class(&mut self, class: Class, entry: &Entry) {
        self.not_compared.entry(class).or_default().add(entry);
    }

    pub(super) fn missing(&mut self, why: String) {
        if self.missing.len() < NAMED {
            self.missing.push(why);
        }
    }

    pub(super) fn differs(&mut self, what: What, entry: &Entry, replayed: &Decision) {
        self.different.add(entry);
        if self.differences.len() < NAMED {
            let (recorded, replayed) = (entry.decision.clone(), replayed.clone());
            self.differences.push(Difference { what, entry: Named::of(entry), recorded, replayed });
        }
    }

    pub(super) fn unchanged(&mut self, entry: &Entry) {
        self.unchanged.add(entry);
    }

    pub(super) fn undecided(&mut self, entry: &Entry) {
        self.undecided.add(entry);
    }

    pub(super) fn changes(&mut self, before: &Decision, after: &Decision, entry: &Entry) {
        let key = (Ruling::of(before), Ruling::of(after));
        let (count, examples) = self.by_ruling.entry(key).or_default();
        count.add(entry);
        if examples.len() < EXAMPLES {
            examples.push(Named::of(entry));
        }
    }

    /// Adds what another thread found.
    pub(super) fn add(&mut self, other: Self) {
        self.same.merge(other.same);
        self.different.merge(other.different);
        self.differences.extend(other.differences);
        self.missing.extend(other.missing);
        self.evaluations += other.evaluations;
        self.unchanged.merge(other.unchanged);
        self.undecided.merge(other.undecided);
        for (class, count) in other.not_compared {
            self.not_compared.entry(class).or_default().merge(count);
        }
        for (key, (count, examples)) in other.by_ruling {
            let known = self.by_ruling.entry(key).or_default();
            known.0.merge(count);
            known.1.extend(examples);
        }
    }

    /// In order, whichever thread found what.
    pub(super) fn finish(mut self, other: bool) -> Self {
        self.differences.sort_by_key(|difference| (difference.entry.time, difference.entry.seq));
        self.differences.truncate(NAMED);
        if other {
            let changes = std::mem::take(&mut self.by_ruling).into_iter();
            let mut changes: Vec<_> = changes
                .map(|((before, after), (count, mut examples))| {
                    examples.sort_by_key(|example| (example.time, example.seq));
                    examples.truncate(EXAMPLES);
                    Change { before, after, count, examples }
                })
                .collect();
            changes.sort_by_key(|change| {
                (change.before.effect == change.after.effect, u64::MAX - change.count.operations)
            });
            let (unchanged, undecided) = (self.unchanged, self.undecided);
            self.other = Some(ByOther { unchanged, undecided, changes });
        }
        self
    }
}
