//! The ledger's files: errors, permissions, and how one becomes durable.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::note::NoteError;

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
    /// Something is not as it was written, and no crash explains it.
    #[error("{}: {why}; the ledger was damaged or changed: keep a copy, then move its folder away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        why: String,
    },
    /// The key that signs, or the public one.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// An entry that no checkpoint covers yet.
    #[error("entry {index} is not signed yet, only {size} are; a live ledger signs within seconds")]
    Unsigned {
        /// The entry.
        index: u64,
        /// What is signed.
        size: u64,
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

    pub(super) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }
}

/// The folder of the ledger below an instance's.
pub(super) fn folder(instance: &Path) -> PathBuf {
    instance.join("ledger")
}

/// The ledger's folder: below an instance's, or the folder itself, such as a copy.
pub fn ledger_of(folder: &Path) -> PathBuf {
    let below = self::folder(folder);
    if below.is_dir() { below } else { folder.to_owned() }
}

/// Whether a folder has a ledger.
pub(super) fn is_instance(folder: &Path) -> bool {
    self::folder(folder).is_dir() || ["checkpoint", "wal"].iter().any(|name| folder.join(name).exists())
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
    write_all(&[(path.to_owned(), bytes)])
}

/// The same for several: what the disk has to do for each is done for all at once.
pub(super) fn write_all<B: AsRef<[u8]>>(files: &[(PathBuf, B)]) -> Result<(), LedgerError> {
    let mut written = Vec::new();
    let mut folders = BTreeSet::new();
    for (path, bytes) in files {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let folder = path.parent().unwrap_or(Path::new("."));
        if folders.insert(folder) {
            make_folders(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = file.map_err(LedgerError::io("create", &temporary))?;
        io::Write::write_all(&mut file, bytes.as_ref()).map_err(LedgerError::io("write", &temporary))?;
        written.push((file, temporary, path));
    }
    for (file, temporary, _) in &written {
        file.sync_all().map_err(LedgerError::io("sync", temporary))?;
    }
    for (_, temporary, path) in &written {
        fs::rename(temporary, path).map_err(LedgerError::io("rename to", path))?;
    }
    folders.into_iter().try_for_each(sync_folder)
}

/// Makes a folder and those above it, durably.
fn make_folders(folder: &Path) -> Result<(), LedgerError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync_folder_of(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.parent().is_some() => {
            make_folders(folder.parent().unwrap_or(folder))?;
            make_folders(folder)
        }
        Err(error) => Err(LedgerError::io("create folder", folder)(error)),
    }
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), LedgerError> {
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LedgerError::io("sync folder", folder))
}

/// The text of a small file; none, if there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, LedgerError> {
    match fs::read(path) {
        Ok(bytes) => {
            String::from_utf8(bytes).map(Some).map_err(|_| LedgerError::damaged(path, "is not text"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io("read", path)(error)),
    }
}
