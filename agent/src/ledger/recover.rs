//! Opening a ledger that may have been left in the middle of a write.
//!
//! What was reported durable is whole. After it there may be the beginning of a write that nobody was
//! told of: a last line without its newline, or one that does not parse. It is moved into a `.torn` file
//! and becomes a `gap` entry. Anything broken before the last line is not what a crash leaves, and an
//! error.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::{self, LedgerError};
use super::reader::{Line, Lines};

/// A file to append to, and where the numbering goes on.
pub(super) struct Tail {
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) length: u64,
    pub(super) next_seq: u64,
    /// Torn ends whose gap entry is not known to be written: rename them when it is.
    pub(super) torn: Vec<PathBuf>,
}

/// Finds the end of the ledger in `folder`, cutting off a torn line.
pub(super) fn open(folder: &Path) -> Result<Tail, LedgerError> {
    let mut files = files::list(folder)?;
    let Some((number, path)) = files.pop() else {
        let path = folder.join(files::file_name(1));
        let file = files::create(&path)?;
        return Ok(Tail { file, number: 1, path, length: 0, next_seq: 0, torn: unrecorded(folder)? });
    };
    let end = scan(&path)?;
    let mut next_seq = end.next_seq;
    if let Some(torn) = end.torn {
        cut(&path, torn)?;
    }
    if next_seq.is_none() {
        // The last file is empty: the crash came right after the ledger was rotated into it.
        next_seq = match files.pop() {
            None => Some(0),
            Some((_, before)) => match scan(&before)? {
                End { torn: Some(_), .. } => {
                    return Err(LedgerError::Damaged {
                        path: before,
                        line: 0,
                        why: "torn, but not the last file".into(),
                    });
                }
                end => end.next_seq,
            },
        };
    }
    let length = fs::metadata(&path).map_err(LedgerError::io("look at", &path))?.len();
    let file = OpenOptions::new().append(true).open(&path).map_err(LedgerError::io("open", &path))?;
    Ok(Tail { file, number, path, length, next_seq: next_seq.unwrap_or(0), torn: unrecorded(folder)? })
}

struct End {
    /// One more than the last whole line's; none if there is no whole line.
    next_seq: Option<u64>,
    /// Where a torn line begins.
    torn: Option<u64>,
}

fn scan(path: &Path) -> Result<End, LedgerError> {
    let file = File::open(path).map_err(LedgerError::io("open", path))?;
    let mut lines = Lines::new(BufReader::new(file), path, None);
    let mut next_seq = None;
    loop {
        match lines.next_line()? {
            Line::Whole(entry) => next_seq = Some(entry.seq + 1),
            Line::Torn { offset } => return Ok(End { next_seq, torn: Some(offset) }),
            Line::End => return Ok(End { next_seq, torn: None }),
        }
    }
}

/// Copies what follows `offset` into a file beside, durably, before it is cut off.
fn cut(path: &Path, offset: u64) -> Result<(), LedgerError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.map_err(LedgerError::io("open", path))?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).map_err(LedgerError::io("seek in", path))?;
    file.read_to_end(&mut bytes).map_err(LedgerError::io("read", path))?;
    files::write_whole(&path.with_extension(format!("jsonl.{offset}.torn.new")), &bytes)?;
    file.set_len(offset).map_err(LedgerError::io("cut", path))?;
    file.sync_all().map_err(LedgerError::io("sync", path))
}

fn unrecorded(folder: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let mut torn = Vec::new();
    for item in fs::read_dir(folder).map_err(LedgerError::io("read folder", folder))? {
        let path = item.map_err(LedgerError::io("read folder", folder))?.path();
        if path.to_str().is_some_and(|name| name.ends_with(".torn.new")) {
            torn.push(path);
        }
    }
    torn.sort();
    Ok(torn)
}
