//! The verdicts that the eBPF programs decide from, in two maps: regions, each with the place of its verdict, and the
//! verdicts, which the programs also go to by a place that they have kept (ebpf/lib/within.h). So each
//! verdict has a serial number by which what was kept of another one is told, and which goes before the place is used
//! again.

use std::collections::VecDeque;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, Map, MapData, MapError};

use super::bpf_lsm::{Error, map_error};
use super::regions::Start;
use super::wire;
use crate::abi::VerdictKey;
use crate::abi::raw::*;

/// What to remember of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// `AUTHZ_EFFECT_*`.
    pub effect: u32,
    /// The number of the evaluation.
    pub evaluation: u64,
    /// By the monotonic clock, in nanoseconds; 0: never.
    pub expires_ns: u64,
}

/// A verdict that the programs may use.
#[derive(Debug)]
struct Used {
    serial: u32,
    start: Start,
    /// Hits without an event of their own that were counted, wrapping;
    seen: u32,
    /// and all hits.
    hits: u64,
}

/// Both maps.
pub struct Verdicts {
    regions: LpmTrie<MapData, VerdictKey, authz_region>,
    places: Array<MapData, authz_verdict>,
    used: Vec<Option<Used>>,
    /// Places that were used before, the longest free first.
    free: VecDeque<u32>,
    last_serial: u32,
    /// Uses that nobody has asked for yet, by evaluation.
    new_hits: Vec<(u64, u64)>,
}

impl Verdicts {
    /// Of two empty maps.
    pub fn new(regions: Map, verdicts: Map) -> Result<Self, Error> {
        Ok(Self {
            regions: LpmTrie::try_from(regions).map_err(map_error("regions"))?,
            places: Array::try_from(verdicts).map_err(map_error("verdicts"))?,
            used: Vec::new(),
            free: VecDeque::new(),
            last_serial: 0,
            new_hits: Vec::new(),
        })
    }

    /// A place that nothing is at, for one verdict.
    pub fn place(&mut self) -> Option<u32> {
        if self.used.len() < AUTHZ_VERDICTS_MAX as usize {
            self.used.push(None);
            return u32::try_from(self.used.len() - 1).ok();
        }
        self.free.pop_front()
    }

    /// Lets the programs decide what has the first bits of a key from now on. After an error the place is free.
    pub fn insert(&mut self, place: u32, bits: u32, key: VerdictKey, entry: Entry) -> Result<(), Error> {
        let Entry { effect, evaluation, expires_ns } = entry;
        // 0 is nobody's.
        self.last_serial = self.last_serial.checked_add(1).unwrap_or(1);
        let serial = self.last_serial;
        let verdict = authz_verdict { effect, serial, evaluation, expires_ns, ..authz_verdict::default() };
        let region = authz_region { verdict: place, serial, bits, pad: 0 };
        let written = self.places.set(place, verdict, 0).map_err(map_error("verdicts"));
        let written = written.and_then(|()| {
            self.regions.insert(&Key::new(bits, key), region, 0).map_err(map_error("regions"))
        });
        if let Err(error) = written {
            self.clear(place);
            return Err(error);
        }
        let start = wire::start_of(bits, &key);
        self.used[place as usize] = Some(Used { serial, start, seen: 0, hits: 0 });
        Ok(())
    }

    /// Takes the verdict at a place back, and its region.
    pub fn remove(&mut self, bits: u32, key: VerdictKey, place: u32) {
        if let Err(error) = self.regions.remove(&Key::new(bits, key)) {
            tracing::warn!(%error, "a region could not be taken back; its verdict is");
        }
        self.count(place);
        self.clear(place);
    }

    /// What the programs would find for a key, all of whose bits count.
    pub fn find(&self, bits: u32, key: VerdictKey) -> Result<Option<authz_verdict>, Error> {
        let region = match self.regions.get(&Key::new(bits, key), 0) {
            Ok(region) => region,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(map_error("regions")(error)),
        };
        let verdict = self.places.get(&region.verdict, 0).map_err(map_error("verdicts"))?;
        Ok((verdict.serial == region.serial).then_some(verdict))
    }

    /// How often each verdict was used since the last call, by evaluation, and where the regions begin that were.
    pub fn take_hits(&mut self) -> (Vec<(u64, u64)>, Vec<Start>) {
        let mut used = Vec::new();
        for place in 0..self.used.len() as u32 {
            if self.count(place) {
                used.extend(self.used[place as usize].as_ref().map(|used| used.start.clone()));
            }
        }
        (std::mem::take(&mut self.new_hits), used)
    }

    /// Uses of a verdict that were not counted yet; whether there are any.
    fn count(&mut self, place: u32) -> bool {
        let Some(used) = &mut self.used[place as usize] else { return false };
        let verdict = match self.places.get(&place, 0) {
            Ok(verdict) if verdict.serial == used.serial => verdict,
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, "the uses of a verdict cannot be counted");
                return false;
            }
        };
        let was_used = verdict.hits > used.hits;
        used.hits = verdict.hits.max(used.hits);
        // Both numbers grow while they are read, so the difference may be behind what was seen.
        let counted = (verdict.hits as u32).wrapping_sub(verdict.sent);
        let new = counted.wrapping_sub(used.seen) as i32;
        if new > 0 {
            used.seen = counted;
            self.new_hits.push((verdict.evaluation, new as u64));
        }
        was_used
    }

    /// Takes a verdict's serial, so that nobody finds it, and frees its place. The rest stays as it is until another one
    /// comes: who is reading it sees no mixture. A place that could not be cleared is not used again.
    fn clear(&mut self, place: u32) {
        self.used[place as usize] = None;
        let cleared = self
            .places
            .get(&place, 0)
            .and_then(|verdict| self.places.set(place, authz_verdict { serial: 0, ..verdict }, 0));
        match cleared {
            Ok(()) => self.free.push_back(place),
            Err(error) => {
                tracing::warn!(%error, "a verdict could not be taken back; it is right until it expires")
            }
        }
    }
}
