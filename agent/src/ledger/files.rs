//! The ledger's files: names, order, permissions.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest line without its newline: what a 16-bit length can say, as tlog-tiles entries need.
pub const MAX_LINE: usize = 65_535;

/// The folder of inputs that were too long for a line.
pub(super) const PAYLOADS: &str = "payload";

/// Why the ledger cannot be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// A system call failed.
    #[error("{what} {}: {message}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Another process has the ledger open for writing.
    #[error("{}: in use by another authz; each daemon needs a --state folder of its own", .0.display())]
    Locked(PathBuf),
    /// A line is damaged, not at the end, where a crash could explain it.
    #[error("{}:{line}: {why}; the ledger was damaged or changed: keep a copy, then move the file away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// An entry is longer than a line may be, even without its input.
    #[error("entry of {0} bytes; a line holds {MAX_LINE}")]
    TooLong(usize),
    /// The entry cannot be written as JSON.
    #[error("entry cannot be written as JSON: {0}")]
    Json(String),
    /// An earlier write failed; nothing has been recorded since.
    #[error("ledger stopped after an error ({0}); free the disk and restart")]
    Failed(String),
    /// The store has been closed.
    #[error("ledger is closed")]
    Closed,
}

impl LedgerError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, message: error.to_string() }
    }
}

/// The folder of the entries below a state folder.
pub(super) fn folder(state: &Path) -> PathBuf {
    state.join("ledger")
}

pub(super) fn file_name(number: u64) -> String {
    format!("{number:04}.jsonl")
}

/// The ledger's files in order.
pub(super) fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, LedgerError> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder).map_err(LedgerError::io("read folder", folder))? {
        let item = item.map_err(LedgerError::io("read folder", folder))?;
        let number = item.file_name().to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        if let Some(number) = number.filter(|n| item.file_name().to_str() == Some(&file_name(*n))) {
            files.push((number, item.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Makes a folder that only its owner can enter, or makes an existing one so.
pub(super) fn make_private(folder: &Path) -> Result<(), LedgerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(LedgerError::io("create folder", folder))?;
    let mode = fs::metadata(folder).map_err(LedgerError::io("look at", folder))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(LedgerError::io("make private", folder))?;
    }
    Ok(())
}

/// Creates a file that only its owner can read, durably.
pub(super) fn create(path: &Path) -> Result<File, LedgerError> {
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(LedgerError::io("create", path))?;
    sync_folder_of(path)?;
    Ok(file)
}

/// Writes a whole file under its name or not at all, durably.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let temporary = path.with_extension(format!("tmp{:?}", std::thread::current().id()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = file.map_err(LedgerError::io("create", &temporary))?;
    io::Write::write_all(&mut file, bytes).map_err(LedgerError::io("write", &temporary))?;
    file.sync_all().map_err(LedgerError::io("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(LedgerError::io("rename to", path))?;
    sync_folder_of(path)
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), LedgerError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LedgerError::io("sync folder", folder))
}
