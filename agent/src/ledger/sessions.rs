//! Which sessions a ledger has entries of: the file `sessions`, one id a line, written before the first entry of
//! each. Who looks for one session opens only the ledgers that can hold it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::files::{self, LedgerError};

/// The index of a ledger that is being written.
pub(super) struct Index {
    path: PathBuf,
    written: Mutex<Option<(File, HashSet<Uuid>)>>,
}

impl Index {
    /// `new`: the ledger has no entries yet. Else an index that is missing stays so: it would not be whole.
    pub(super) fn open(ledger: &Path, new: bool) -> Result<Self, LedgerError> {
        let path = ledger.join("sessions");
        let text = files::read_text(&path)?;
        if text.is_none() && !new {
            return Ok(Self { path, written: Mutex::new(None) });
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let mut file = file.map_err(LedgerError::io("open", &path))?;
        if text.is_none() {
            files::sync_folder_of(&path)?;
        }
        let text = text.unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(LedgerError::io("write", &path))?;
        }
        let sessions = text.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(Self { path, written: Mutex::new(Some((file, sessions))) })
    }

    /// Makes sure that the session is in the index, durably.
    pub(super) fn add(&self, session: Uuid) -> Result<(), LedgerError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((file, sessions)) = &mut *written else { return Ok(()) };
        if sessions.contains(&session) {
            return Ok(());
        }
        let line = format!("{session}\n");
        let done = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        done.map_err(LedgerError::io("write", &self.path))?;
        sessions.insert(session);
        Ok(())
    }
}

/// Whether a ledger may have entries of a session: without an index, or with one that cannot be read, it may.
pub(super) fn may_hold(ledger: &Path, session: Uuid) -> bool {
    let Ok(Some(text)) = files::read_text(&ledger.join("sessions")) else { return true };
    text.lines().any(|line| line.parse() == Ok(session))
}
