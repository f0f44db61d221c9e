//! Reading the ledgers of all daemons that a state folder holds, one after the other.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::entry::Hex;
use super::files::LedgerError;
use super::reader::{Reader, Record};

/// Iterates over the entries of every `<state>/<instance>/ledger`, the oldest instance first: their
/// names are UUIDv7, whose order is that of time.
#[derive(Debug)]
pub struct Readers {
    left: VecDeque<PathBuf>,
    current: Option<Reader>,
    notice: Option<String>,
}

impl Readers {
    /// Opens a state folder.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let folder = std::fs::read_dir(state).map_err(LedgerError::io("read", state))?;
        let mut left: Vec<_> = folder
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("ledger").is_dir())
            .collect();
        left.sort();
        // A state folder of one ledger, such as a copy, serves as well.
        if state.join("ledger").is_dir() {
            left.push(state.to_path_buf());
        }
        Ok(Self { left: left.into(), current: None, notice: None })
    }

    /// The input of the last entry read, if that was too long for its line.
    pub fn payload(&self, hash: &Hex<32>) -> Result<Value, LedgerError> {
        self.current.as_ref().map_or(Err(LedgerError::Closed), |reader| reader.payload(hash))
    }

    /// What was met that is no error but should be told.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }
}

impl Iterator for Readers {
    type Item = Result<Record, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(reader) = &mut self.current {
                if let Some(item) = reader.next() {
                    return Some(item);
                }
                if let Some(notice) = reader.notice() {
                    self.notice = Some(notice.to_owned());
                }
            }
            match Reader::open(&self.left.pop_front()?) {
                Ok(reader) => self.current = Some(reader),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
