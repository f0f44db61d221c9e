//! What speaks for a line: how often, by which programs, which one for example, from when to when.

use std::collections::BTreeMap;
use std::fmt;

use crate::ledger::Time;
use crate::text::escape;

/// Bytes of an example that are shown.
const EXAMPLE: usize = 300;

/// Programs that are named.
const PROGRAMS: usize = 3;

/// What was seen of one operation, or of several that a line stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// How many operations.
    pub count: u64,
    /// On how many resources.
    pub resources: u64,
    /// By the names that programs gave themselves.
    pub programs: BTreeMap<String, u64>,
    /// By action.
    pub actions: BTreeMap<String, u64>,
    /// The first of the resources.
    pub example: String,
    /// The first and the last time.
    pub times: Option<(Time, Time)>,
}

impl Evidence {
    /// Of one operation, seen now.
    pub(super) fn one(action: &str, resource: &str, program: &str, time: Time) -> Self {
        Self {
            count: 1,
            resources: 1,
            programs: BTreeMap::from([(program.to_owned(), 1)]),
            actions: BTreeMap::from([(action.to_owned(), 1)]),
            example: resource.to_owned(),
            times: Some((time, time)),
        }
    }

    /// The same resource once more.
    pub(super) fn again(&mut self, other: &Self) {
        let resources = self.resources;
        self.add(other);
        self.resources = resources;
    }

    /// Other resources too.
    pub(super) fn add(&mut self, other: &Self) {
        if self.count == 0 {
            self.example.clone_from(&other.example);
        }
        self.count += other.count;
        self.resources += other.resources;
        for (own, others) in [(&mut self.programs, &other.programs), (&mut self.actions, &other.actions)] {
            others.iter().for_each(|(name, count)| *own.entry(name.clone()).or_default() += count);
        }
        self.times = match (self.times, other.times) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (one, other) => one.or(other),
        };
    }
}

impl fmt::Display for Evidence {
    /// One line without what could act on a terminal, or end a comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
        f.write_str(&times(self.count))?;
        if self.actions.len() > 1 {
            let actions: Vec<_> =
                self.actions.iter().map(|(name, count)| format!("{count} {}", escape(name))).collect();
            write!(f, " ({})", actions.join(", "))?;
        }
        if self.resources > 1 {
            write!(f, " on {} resources", self.resources)?;
        }
        // The busiest first; of equals by name.
        let mut programs: Vec<_> = self.programs.iter().filter(|(name, _)| !name.is_empty()).collect();
        programs.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
        if !programs.is_empty() {
            let named: Vec<_> = programs.iter().take(PROGRAMS).map(|(name, _)| escape(name)).collect();
            write!(f, ", by {}", named.join(", "))?;
            if programs.len() > PROGRAMS {
                write!(f, " and {} more", programs.len() - PROGRAMS)?;
            }
        }
        if self.resources > 1 {
            write!(f, ", e.g. {}", cut(&escape(&self.example), EXAMPLE))?;
        }
        if let Some((first, last)) = self.times {
            write!(f, "; {}", seconds(first))?;
            if seconds(first) != seconds(last) {
                write!(f, " to {}", seconds(last))?;
            }
        }
        Ok(())
    }
}

/// The beginning of a text that has no more bytes: Rego has no lines of any length.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A time without its fraction.
pub(super) fn seconds(time: Time) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}
