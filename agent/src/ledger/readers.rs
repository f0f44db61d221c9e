//! Reading the ledgers of all daemons that a state folder holds, one after the other.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde_json::Value;
use uuid::Uuid;

use super::entry::Hex;
use super::files::{self, LedgerError};
use super::reader::{Reader, Record};
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

impl Readers {
    /// Opens a state folder.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        Ok(Self { left: instances(state)?.into(), current: None, notice: None })
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
