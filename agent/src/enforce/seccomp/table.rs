//! Remembered verdicts in user space: the same keys and domains as the kernel's table, under the same rules.

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::event::{Action, Key};

/// As many as the kernel's table holds.
const ENTRIES_MAX: usize = 1 << 16;

/// A remembered verdict.
#[derive(Debug)]
struct Stored {
    allow: bool,
    until: Option<Instant>,
    evaluation: u64,
    hits: AtomicU64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The verdict.
    pub allow: bool,
    /// Of which evaluation.
    pub evaluation: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    entries: RwLock<HashMap<(u32, Key), Stored>>,
}

impl Table {
    /// Remembers a verdict. The error says why not.
    pub fn insert(
        &self,
        domain: u32,
        key: Key,
        allow: bool,
        until: Option<Instant>,
        evaluation: u64,
    ) -> Result<(), String> {
        let mut entries = self.entries.write().map_err(|_| "the table is broken".to_owned())?;
        let key = (domain, key);
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&key) {
            return Err(format!("{ENTRIES_MAX} verdicts are remembered already"));
        }
        entries.insert(key, Stored { allow, until, evaluation, hits: AtomicU64::new(0) });
        Ok(())
    }

    /// The verdict for a key, counted. `multilink`: the file has other names, which may be protected.
    pub fn find(&self, domain: u32, key: &Key, multilink: bool) -> Option<Hit> {
        let entries = self.entries.read().ok()?;
        let stored = entries.get(&(domain, key.clone()))?;
        if stored.until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        let reads = matches!(key.action, Action::FileRead | Action::ProcessExec);
        if stored.allow && multilink && !reads {
            return None;
        }
        stored.hits.fetch_add(1, Ordering::Relaxed);
        Some(Hit { allow: stored.allow, evaluation: stored.evaluation })
    }

    /// How often each verdict was used since the last call, by evaluation.
    pub fn take_hits(&self) -> Vec<(u64, u64)> {
        let Ok(entries) = self.entries.read() else { return Vec::new() };
        let taken =
            entries.values().map(|stored| (stored.evaluation, stored.hits.swap(0, Ordering::Relaxed)));
        taken.filter(|(_, hits)| *hits > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(action: Action, name: &str) -> Key {
        Key { action, object: 1, role: 0, name: name.into() }
    }

    #[test]
    fn a_verdict_holds_for_its_key_domain_and_time() {
        let table = Table::default();
        table.insert(1, key(Action::FileWrite, "/a"), true, None, 7).unwrap();
        let hit = Some(Hit { allow: true, evaluation: 7 });
        assert_eq!(table.find(1, &key(Action::FileWrite, "/a"), false), hit);
        assert_eq!(
            table.find(1, &key(Action::FileWrite, "/a"), true),
            None,
            "another name of it may be protected"
        );
        assert_eq!(table.find(2, &key(Action::FileWrite, "/a"), false), None);
        assert_eq!(table.find(1, &key(Action::FileWrite, "/ab"), false), None);
        assert_eq!(table.find(1, &key(Action::FileRead, "/a"), false), None);
        assert_eq!(table.take_hits(), [(7, 1)]);
        assert_eq!(table.take_hits(), []);
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        table.insert(1, key(Action::FileRead, "/b"), true, past, 8).unwrap();
        assert_eq!(table.find(1, &key(Action::FileRead, "/b"), false), None);
    }
}
