//! Remembered verdicts of the seccomp back end: [`Regions`] with what a verdict is.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::enforce::regions::{Regions, point};
use crate::enforce::wire;
use crate::event::{Action, Key};
use crate::pipeline::Recalled;
use crate::policy::recorder::Region;

/// A remembered verdict.
#[derive(Debug)]
struct Stored {
    allow: bool,
    until: Option<Instant>,
    evaluation: u64,
    /// Uses that nobody has counted yet,
    hits: AtomicU64,
    /// and those that were.
    taken: AtomicU64,
}

impl Stored {
    fn take(&self) -> u64 {
        let hits = self.hits.swap(0, Ordering::Relaxed);
        self.taken.fetch_add(hits, Ordering::Relaxed);
        hits
    }
}

/// A verdict to be remembered.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    /// What was decided.
    pub allow: bool,
    /// Until when it holds.
    pub until: Option<Instant>,
    /// By which evaluation.
    pub evaluation: u64,
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
    regions: RwLock<Regions<Stored>>,
    /// Uses of what had to make room, by evaluation.
    left: RwLock<Vec<(u64, u64)>>,
}

impl Table {
    /// Remembers a verdict of a session for a region around a key. The error says why not.
    pub fn insert(
        &self,
        session: u32,
        domain: u32,
        key: &Key,
        region: Region,
        Verdict { allow, until, evaluation }: Verdict,
    ) -> Result<(), String> {
        let bits = wire::significant_bits(key, region).ok_or("the name is too long")?;
        let (hits, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        let stored = Stored { allow, until, evaluation, hits, taken };
        let mut regions = self.regions.write().map_err(|_| "the table is broken")?;
        let gone = regions.insert(session, &point(domain, key), 64 + bits, stored);
        drop(regions);
        if let Ok(mut left) = self.left.write() {
            left.extend(gone.into_iter().map(|(_, _, stored)| (stored.evaluation, stored.hits.into_inner())));
        }
        Ok(())
    }

    /// The verdict for a key. `multilink`: the file has other names, which may be protected. `counted`: an allow
    /// leaves no record of its own.
    pub fn find(&self, domain: u32, key: &Key, multilink: bool, counted: bool) -> Option<Hit> {
        let regions = self.regions.read().ok()?;
        let stored = &regions.find(&point(domain, key))?.value;
        if stored.until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        let reads = matches!(key.action, Action::FileRead | Action::ProcessExec);
        if stored.allow && multilink && !reads {
            return None;
        }
        if stored.allow && counted {
            stored.hits.fetch_add(1, Ordering::Relaxed);
        }
        Some(Hit { allow: stored.allow, evaluation: stored.evaluation })
    }

    /// The verdict for a key, whether or not it binds; this is no use of it.
    pub fn recall(&self, domain: u32, key: &Key) -> Option<Recalled> {
        let regions = self.regions.read().ok()?;
        let stored = regions.peek(&point(domain, key))?;
        let (now, uses) = (Instant::now(), stored.hits.load(Ordering::Relaxed));
        Some(Recalled {
            allow: stored.allow,
            evaluation: stored.evaluation,
            hits: stored.taken.load(Ordering::Relaxed) + uses,
            left: stored.until.map(|until| until.saturating_duration_since(now)),
        })
    }

    /// How often each verdict was used since the last call, by evaluation.
    pub fn take_hits(&self) -> Vec<(u64, u64)> {
        let Ok(regions) = self.regions.read() else { return Vec::new() };
        let taken = regions.values().map(|stored| (stored.evaluation, stored.take()));
        let left = self.left.write().map(|mut left| std::mem::take(&mut *left)).unwrap_or_default();
        taken.chain(left).filter(|(_, hits)| *hits > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(action: Action, name: &str) -> Key {
        Key { action, object: 1, role: 0, names: 0, name: name.into() }
    }

    const EXACT: Region = Region { id_bits: 0, ip_bits: 0, exact: true };

    fn verdict(allow: bool, until: Option<Instant>, evaluation: u64) -> Verdict {
        Verdict { allow, until, evaluation }
    }

    #[test]
    fn a_verdict_holds_for_its_key_domain_and_time() {
        let table = Table::default();
        table.insert(1, 1, &key(Action::FileWrite, "/a"), EXACT, verdict(true, None, 7)).unwrap();
        let hit = Some(Hit { allow: true, evaluation: 7 });
        assert_eq!(table.find(1, &key(Action::FileWrite, "/a"), false, true), hit);
        assert_eq!(
            table.find(1, &key(Action::FileWrite, "/a"), true, true),
            None,
            "another name of it may be protected"
        );
        assert_eq!(table.find(2, &key(Action::FileWrite, "/a"), false, true), None);
        assert_eq!(table.find(1, &key(Action::FileWrite, "/ab"), false, true), None);
        assert_eq!(table.find(1, &key(Action::FileRead, "/a"), false, true), None);
        assert_eq!(table.take_hits(), [(7, 1)]);
        assert_eq!(table.take_hits(), []);
        let recalled = Recalled { allow: true, evaluation: 7, hits: 1, left: None };
        assert_eq!(table.recall(1, &key(Action::FileWrite, "/a")), Some(recalled));
        assert_eq!(table.recall(1, &key(Action::FileWrite, "/ab")), None);
        assert_eq!(table.take_hits(), [], "to look is no use");
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        table.insert(1, 1, &key(Action::FileRead, "/b"), EXACT, verdict(true, past, 8)).unwrap();
        assert_eq!(table.find(1, &key(Action::FileRead, "/b"), false, true), None);
    }

    #[test]
    fn a_verdict_holds_for_its_region_and_the_names_in_the_path() {
        let table = Table::default();
        let usr = Region { id_bits: 40, ..Region::default() };
        table.insert(1, 1, &key(Action::FileRead, "/usr/x"), usr, verdict(true, None, 7)).unwrap();
        assert!(table.find(1, &key(Action::FileRead, "/usr/lib/y"), false, true).is_some());
        assert_eq!(table.find(1, &key(Action::FileRead, "/usr"), false, true), None);
        let named = Key { names: 1, ..key(Action::FileRead, "/usr/.ssh") };
        assert_eq!(table.find(1, &named, false, true), None);
        table.insert(1, 1, &key(Action::FileRead, "/x"), Region::default(), verdict(true, None, 8)).unwrap();
        assert_eq!(table.take_hits(), [(7, 1)], "what was replaced is not lost");
    }
}
