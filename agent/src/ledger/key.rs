//! The key that signs checkpoints: `key` in the state folder, made at first use, for its owner's eyes only; and
//! `key.pub` beside it, which is to be kept elsewhere as well.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::{self, LedgerError};
use super::note::{NoteError, Signer, Verifier};

/// The name of the public key's file, in the state folder and, as a copy, in each ledger's.
pub const PUBLIC: &str = "key.pub";
const SECRET: &str = "key";

/// Reads the key of a state folder, or makes one.
pub(super) fn load_or_make(folder: &Path) -> Result<Signer, LedgerError> {
    let path = folder.join(SECRET);
    let signer = match load(&path)? {
        Some(signer) => signer,
        None => make(&path)?,
    };
    publish(&signer, folder)?;
    Ok(signer)
}

/// Puts the public key into a folder, unless it is there.
pub(super) fn publish(signer: &Signer, folder: &Path) -> Result<(), LedgerError> {
    let (path, text) = (folder.join(PUBLIC), format!("{}\n", signer.verifier()));
    if files::read_text(&path)?.as_ref() == Some(&text) {
        return Ok(());
    }
    files::write_whole(&path, text.as_bytes())
}

/// Reads a public key.
pub fn public(path: &Path) -> Result<Verifier, LedgerError> {
    let text = files::read_text(path)?;
    let text = text.ok_or_else(|| LedgerError::io("open", path)(io::ErrorKind::NotFound.into()))?;
    text.parse().map_err(|source| LedgerError::Key { path: path.to_owned(), source })
}

fn load(path: &Path) -> Result<Option<Signer>, LedgerError> {
    let Some(text) = files::read_text(path)? else { return Ok(None) };
    let found = fs::metadata(path).map_err(LedgerError::io("look at", path))?;
    if found.mode() & 0o077 != 0 || found.uid() != nix::unistd::geteuid().as_raw() {
        let why = io::Error::other(
            "others can read it or it is another user's; take it away, and trust its signatures no more",
        );
        return Err(LedgerError::io("use", path)(why));
    }
    let signer = Signer::from_secret_text(&text);
    signer.map(Some).map_err(|source| LedgerError::Key { path: path.to_owned(), source })
}

fn make(path: &Path) -> Result<Signer, LedgerError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| LedgerError::io("make a key for", path)(error.into()))?;
    let text = Signer::new(&seed).to_secret_text();
    let temporary = temporary(path);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = file.map_err(LedgerError::io("create", &temporary))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(LedgerError::io("write", &temporary))?;
    // A link, unlike a rename, does not replace the key that another daemon made meanwhile.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(LedgerError::io("remove", &temporary))?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(LedgerError::io("create", path)(error));
        }
        _ => files::sync_folder_of(path)?,
    }
    load(path)?.ok_or_else(|| LedgerError::Key { path: path.to_owned(), source: NoteError::Key })
}

fn temporary(path: &Path) -> PathBuf {
    path.with_file_name(format!("{SECRET}.tmp{}.{:?}", std::process::id(), std::thread::current().id()))
}
