//! Verdicts by region, in user space: what the seccomp back end decides from, and what the LSM back end knows of
//! the kernel's table. Regions are prefixes in bits; those of one table never overlap, so that the one that may
//! hold for a name is the last that begins before it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Key;

/// Regions one session may have; its least recently used ones make room.
pub const SESSION_MAX: usize = 4096;

/// Regions of all sessions, unless told otherwise.
pub const ALL_MAX: usize = 1 << 18;

/// How many go at a time, so that room is not looked for at each new one.
const EVICTED: usize = SESSION_MAX / 16;

/// Where a region begins: domain, action, object, role, names and the name's leading bits, the rest zero.
pub type Start = Vec<u8>;

/// A region with what is known of it.
#[derive(Debug)]
pub struct Known<T> {
    bits: usize,
    session: u32,
    used: AtomicU64,
    /// What is known.
    pub value: T,
}

/// Regions that do not overlap.
#[derive(Debug)]
pub struct Regions<T> {
    known: BTreeMap<Start, Known<T>>,
    sessions: HashMap<u32, usize>,
    clock: AtomicU64,
    max: usize,
}

impl<T> Default for Regions<T> {
    fn default() -> Self {
        Self::new(ALL_MAX)
    }
}

/// The bytes that an operation is looked up by: a NUL behind the name tells it from longer ones.
pub fn point(domain: u32, key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.name.len());
    bytes.extend(domain.to_be_bytes());
    bytes.extend([key.action as u8, key.object, key.role, key.names]);
    bytes.extend(&key.name);
    bytes.push(0);
    bytes
}

/// The first `bits` bits.
pub fn start(point: &[u8], bits: usize) -> Start {
    let mut start = point[..bits.div_ceil(8).min(point.len())].to_vec();
    if let Some(last) = start.last_mut().filter(|_| !bits.is_multiple_of(8)) {
        *last &= 0xff << (8 - bits % 8);
    }
    start
}

fn covers(begin: &[u8], bits: usize, point: &[u8]) -> bool {
    point.len() * 8 >= bits && start(point, bits) == begin
}

impl<T> Regions<T> {
    /// None yet, and never more than so many.
    pub fn new(max: usize) -> Self {
        Self { known: BTreeMap::new(), sessions: HashMap::new(), clock: AtomicU64::new(0), max }
    }

    /// What holds for a point.
    pub fn find(&self, point: &[u8]) -> Option<&Known<T>> {
        let (begin, known) = self.known.range::<[u8], _>((Unbounded, Included(point))).next_back()?;
        covers(begin, known.bits, point).then(|| {
            known.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            known
        })
    }

    /// The same, which does not count as a use.
    pub fn peek(&self, point: &[u8]) -> Option<&T> {
        let (begin, known) = self.known.range::<[u8], _>((Unbounded, Included(point))).next_back()?;
        covers(begin, known.bits, point).then_some(&known.value)
    }

    /// Adds the region of the first bits of a point, the domain's included. Returns the regions that it replaces
    /// and those that make room, each with its bits.
    pub fn insert(&mut self, session: u32, point: &[u8], bits: usize, value: T) -> Vec<(Start, usize, T)> {
        let mut gone = Vec::new();
        let begin = start(point, bits);
        let around = self.known.range::<[u8], _>((Unbounded, Included(&begin[..]))).next_back();
        let around =
            around.filter(|(begin, known)| covers(begin, known.bits, point)).map(|(begin, _)| begin.clone());
        let within = self.known.range(begin.clone()..).take_while(|(other, _)| covers(&begin, bits, other));
        let within: Vec<Start> = within.map(|(other, _)| other.clone()).chain(around).collect();
        for other in within {
            gone.extend(self.remove(&other));
        }
        if self.sessions.get(&session).is_some_and(|count| *count >= SESSION_MAX) {
            gone.extend(self.make_room(|known| known.session == session));
        } else if self.known.len() >= self.max {
            gone.extend(self.make_room(|_| true));
        }
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        *self.sessions.entry(session).or_default() += 1;
        self.known.insert(begin, Known { bits, session, used, value });
        gone
    }

    fn make_room(&mut self, of: impl Fn(&Known<T>) -> bool) -> Vec<(Start, usize, T)> {
        let used = |known: &Known<T>| known.used.load(Ordering::Relaxed);
        let mut oldest: Vec<(u64, Start)> = self
            .known
            .iter()
            .filter(|(_, known)| of(known))
            .map(|(begin, known)| (used(known), begin.clone()))
            .collect();
        let count = EVICTED.min(oldest.len());
        if count < oldest.len() {
            oldest.select_nth_unstable(count);
        }
        oldest[..count].iter().filter_map(|(_, begin)| self.remove(begin)).collect()
    }

    /// Forgets a region.
    pub fn remove(&mut self, begin: &Start) -> Option<(Start, usize, T)> {
        let known = self.known.remove(begin)?;
        if let Some(count) = self.sessions.get_mut(&known.session) {
            *count -= 1;
        }
        Some((begin.clone(), known.bits, known.value))
    }

    /// A region was used.
    pub fn touch(&self, begin: &[u8]) {
        if let Some(known) = self.known.get(begin) {
            known.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Everything that is known.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.known.values().map(|known| &known.value)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_region_holds_for_what_begins_like_it() {
        let mut regions = Regions::default();
        assert!(regions.insert(1, b"abc", 12, "ab").is_empty());
        assert_eq!(regions.peek(b"abc"), Some(&"ab"));
        assert_eq!(regions.peek(b"ac"), Some(&"ab"), "b and c differ behind the twelfth bit");
        assert_eq!(regions.peek(b"aq"), None);
        assert_eq!(regions.peek(b"a"), None);
        let gone = regions.insert(1, b"abc", 24, "abc");
        assert_eq!(gone.len(), 1, "what it lies in is replaced");
        assert_eq!(regions.peek(b"abd"), None);
        assert_eq!(regions.insert(1, b"a", 8, "a").len(), 1, "what lies in it is replaced");
        assert_eq!(regions.peek(b"abd"), Some(&"a"));
        assert_eq!(regions.len(), 1);
    }

    #[test]
    fn a_session_makes_room_by_itself_for_itself() {
        let mut regions = Regions::default();
        regions.insert(2, b"other", 40, 0);
        for number in 0..SESSION_MAX as u32 {
            regions.insert(1, &number.to_be_bytes(), 32, number);
        }
        assert!(regions.find(&0_u32.to_be_bytes()).is_some(), "used again");
        let gone = regions.insert(1, &u32::MAX.to_be_bytes(), 32, 1);
        assert_eq!(gone.len(), EVICTED);
        assert!(regions.find(&0_u32.to_be_bytes()).is_some());
        assert!(regions.find(&1_u32.to_be_bytes()).is_none());
        assert!(regions.find(b"other").is_some());
        assert!(regions.len() <= SESSION_MAX + 1);
    }

    proptest! {
        /// Against a list that is looked through.
        #[test]
        fn the_same_as_a_list(regions in prop::collection::vec((prop::collection::vec(0_u8..4, 1..4), 1_usize..24), 0..40),
                              points in prop::collection::vec(prop::collection::vec(0_u8..4, 0..4), 20)) {
            let mut table = Regions::default();
            let mut list: Vec<(Vec<u8>, usize, usize)> = Vec::new();
            for (number, (point, bits)) in regions.iter().enumerate() {
                let bits = *bits.min(&(point.len() * 8));
                table.insert(1, point, bits, number);
                let begin = start(point, bits);
                list.retain(|(other, length, _)| !covers(&begin, bits, other) && !covers(other, *length, point)
                    || (*length > bits && !covers(&begin, bits, other)));
                list.push((begin, bits, number));
            }
            prop_assert_eq!(table.len(), list.len());
            for point in points {
                let found = list.iter().rev().find(|(begin, bits, _)| covers(begin, *bits, &point)).map(|(_, _, number)| number);
                prop_assert_eq!(table.peek(&point), found);
            }
        }
    }
}
