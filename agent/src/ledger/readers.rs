//! Reading the ledgers of all daemons that a state folder holds, one after the other.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::Value;
use uuid::Uuid;

use super::entry::Hex;
use super::files::{self, LedgerError};
use super::reader::{self, Reader, Record};
use super::sessions;

/// Iterates over the entries of every `<state>/<instance>/ledger`, the oldest instance first: their
/// names are UUIDv7, whose order is that of time.
#[derive(Debug)]
pub struct Readers {
    left: VecDeque<PathBuf>,
    current: Option<(PathBuf, Reader)>,
    notice: Option<String>,
}

/// The folders below a state folder that have a ledger, the oldest first; or the folder itself, if it has one, such
/// as a copy of one.
pub fn instances(state: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let folder = std::fs::read_dir(state).map_err(LedgerError::io("read", state))?;
    let mut found: Vec<_> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| files::folder(path).is_dir())
        .collect();
    found.sort();
    if files::is_instance(state) {
        found.push(state.to_path_buf());
    }
    Ok(found)
}

/// Puts the instances first that can have begun, and ended, around the time that an id says (UUIDv7): almost surely
/// one of them has it. `id` may be the beginning of one.
pub fn likely_first(instances: Vec<PathBuf>, id: &str) -> Vec<PathBuf> {
    let Some((first, last)) = times_of(id) else { return instances };
    let likely = |instance: &PathBuf| {
        let name = instance.file_name().unwrap_or_default().to_string_lossy();
        let began = times_of(&name).map_or(0, |(first, _)| first);
        let ledger = files::ledger_of(instance);
        let written = [ledger.join("checkpoint"), ledger.join("wal")].into_iter().filter_map(|path| {
            let since = path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(since.as_millis() as u64)
        });
        began <= last && written.max().is_none_or(|written| written >= first)
    };
    let (mut likely, other): (Vec<_>, Vec<_>) = instances.into_iter().partition(likely);
    likely.extend(other);
    likely
}

/// The earliest and the latest time, in milliseconds, of the ids that begin so.
fn times_of(id: &str) -> Option<(u64, u64)> {
    let digits: String = id.chars().filter(|c| *c != '-').take(12).collect();
    let time = u64::from_str_radix(&digits, 16).ok()?;
    let rest = 4 * (12 - digits.len() as u32);
    Some((time << rest, (time << rest) | ((1 << rest) - 1)))
}

/// What is said of ledgers from before the tree, of lines in numbered files.
fn old_ones(state: &Path, instances: &[PathBuf]) -> Option<String> {
    let is_old = |instance: &&PathBuf| {
        let names = std::fs::read_dir(files::ledger_of(instance)).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with(".jsonl"))
    };
    let count = instances.iter().filter(is_old).count();
    (count > 0).then(|| {
        format!("{count} ledgers in {} are of the old format (NNNN.jsonl) and not read", state.display())
    })
}

impl Readers {
    /// Opens a state folder.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let instances = instances(state)?;
        Ok(Self { notice: old_ones(state, &instances), left: instances.into(), current: None })
    }

    /// Opens a state folder; the ledgers that are likely to have an id come first.
    pub fn of_id(state: &Path, id: &str) -> Result<Self, LedgerError> {
        let mut readers = Self::open(state)?;
        readers.left = likely_first(readers.left.into(), id).into();
        Ok(readers)
    }

    /// How many entries are signed in the ledgers that are left: about as many as will be read.
    pub fn signed(&self) -> u64 {
        let signed = |instance: &PathBuf| {
            let ledger = files::ledger_of(instance);
            let (checkpoint, _) = reader::checkpoint(&ledger).ok()??;
            Some(checkpoint.size - reader::pruned(&ledger).ok()?.min(checkpoint.size))
        };
        self.left.iter().filter_map(signed).sum()
    }

    /// Leaves the ledgers out that come after this one.
    pub fn end_with_this(&mut self) {
        self.left.clear();
    }

    /// Opens only the ledgers of a state folder that can have entries of a session.
    pub fn of_session(state: &Path, session: Uuid) -> Result<Self, LedgerError> {
        let mut readers = Self::open(state)?;
        readers.left.retain(|instance| sessions::may_hold(&files::ledger_of(instance), session));
        Ok(readers)
    }

    /// The input of the last entry read, if that was too long for its line.
    pub fn payload(&self, hash: &Hex<32>) -> Result<Value, LedgerError> {
        self.current.as_ref().map_or(Err(LedgerError::Closed), |(_, reader)| reader.payload(hash))
    }

    /// What was met that is no error but should be told.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The folder of the instance that the last entry is from.
    pub fn instance(&self) -> Option<&Path> {
        self.current.as_ref().map(|(instance, _)| instance.as_path())
    }
}

impl Iterator for Readers {
    type Item = Result<Record, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, reader)) = &mut self.current {
                if let Some(item) = reader.next() {
                    return Some(item);
                }
                if let Some(notice) = reader.notice() {
                    self.notice = Some(notice.to_owned());
                }
            }
            let instance = self.left.pop_front()?;
            match Reader::open(&instance) {
                Ok(reader) => self.current = Some((instance, reader)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledgers_of_an_ids_time_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let (early, late) = ("019a0000-0000-7000-8000-000000000000", "019fffff-0000-7000-8000-000000000000");
        for name in [early, late] {
            std::fs::create_dir_all(dir.path().join(name).join("ledger/wal")).unwrap();
        }
        let first = |id: &str| {
            let found = likely_first(instances(dir.path()).unwrap(), id);
            assert_eq!(found.len(), 2, "none is left out");
            found[0].file_name().unwrap().to_string_lossy().into_owned()
        };
        // The later one began after these ids; what says nothing of a time changes nothing.
        for id in ["019a00ff-1111-7000-8000-000000000000", "019a00ff", "nothing", "", "019fffff-0000-7"] {
            assert_eq!(first(id), early, "{id}");
        }
        assert_eq!(times_of("0000"), Some((0, 0xffff_ffff)));
        assert_eq!(times_of("019a00ff-1111-7000"), Some((0x019a_00ff_1111, 0x019a_00ff_1111)));
    }

    #[test]
    fn ledgers_of_the_old_format_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("old/ledger")).unwrap();
        assert_eq!(Readers::open(dir.path()).unwrap().notice(), None);
        std::fs::write(dir.path().join("old/ledger/0000.jsonl"), "{}\n").unwrap();
        let mut readers = Readers::open(dir.path()).unwrap();
        assert!(readers.by_ref().next().is_none());
        assert!(readers.notice().unwrap().starts_with("1 ledgers in "));
    }
}
