//! Opening a ledger that may have been left in the middle of a write.
//!
//! The last checkpoint is where it goes on: tiles must give the root that was signed, and the write-ahead log must
//! begin before its end and agree with it. After what was reported durable there may be the beginning of a write that
//! nobody was told of; it is moved into a `.torn` file and becomes a `gap` entry. Anything else is not what a crash
//! leaves, and an error that names the place.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::files::{self, LedgerError};
use super::note::{Checkpoint, Signer};
use super::tile;
use super::tree::{self, Edge, WIDTH};
use super::wal::{self, Frame, Frames};

/// Where writing goes on.
pub(super) struct Recovered {
    /// The tree that the last checkpoint signs.
    pub(super) edge: Edge,
    /// The entries of its last bundle, if that is not full.
    pub(super) bundle: Vec<u8>,
    pub(super) tail: Tail,
    /// Torn ends whose gap entry is not known to be written: rename them when it is.
    pub(super) torn: Vec<PathBuf>,
}

/// The file of the log to append to.
pub(super) struct Tail {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) length: u64,
    /// The number of the next entry.
    pub(super) next_seq: u64,
}

/// Finds the end of the ledger in `folder`, cutting off what is torn.
pub(super) fn open(folder: &Path, signer: &Signer, origin: &str) -> Result<Recovered, LedgerError> {
    let size = signed(folder, signer, origin)?;
    let edge = tile::edge(folder, size.as_ref().map_or(0, |checkpoint| checkpoint.size))?;
    if let Some(checkpoint) = &size
        && edge.root() != checkpoint.root
    {
        let why = format!("does not have the tree of {} entries that its checkpoint signs", checkpoint.size);
        return Err(LedgerError::damaged(&folder.join("tile"), why));
    }
    let bundle = bundle(folder, &edge)?;
    let tail = log(folder, &edge)?;
    Ok(Recovered { edge, bundle, tail, torn: unrecorded(folder)? })
}

fn signed(folder: &Path, signer: &Signer, origin: &str) -> Result<Option<Checkpoint>, LedgerError> {
    let path = folder.join(tile::CHECKPOINT);
    let damaged = |why: String| LedgerError::damaged(&path, why);
    let Some(note) = files::read_text(&path)? else {
        let first = wal::segments(folder)?.first().map(|(first, _)| *first);
        return match first {
            Some(0) => Ok(None),
            None if !folder.join("tile").exists() => Ok(None),
            _ => Err(damaged("is missing, though there are entries before those of the log".into())),
        };
    };
    let checkpoint = signer.verifier().checkpoint(&note).map_err(|error| damaged(error.to_string()))?;
    if checkpoint.origin != origin {
        return Err(damaged(format!("is of another ledger, {}", checkpoint.origin)));
    }
    Ok(Some(checkpoint))
}

/// The entries after the last full bundle, which must be those that were hashed.
fn bundle(folder: &Path, edge: &Edge) -> Result<Vec<u8>, LedgerError> {
    let (index, width) = (edge.size() / WIDTH, edge.size() % WIDTH);
    if width == 0 {
        return Ok(Vec::new());
    }
    let Some((path, bytes)) = tile::read_bundle(folder, index, width)? else {
        let path = folder.join(tile::name(tile::Row::Entries, index, width));
        return Err(LedgerError::damaged(&path, "the bundle is missing"));
    };
    let mut bundle = Vec::new();
    let leaves = edge.levels().first().map(Vec::as_slice).unwrap_or_default();
    for ((entry, leaf), at) in
        tile::entries(&bytes).unwrap_or_default().iter().zip(leaves).zip(index * WIDTH..)
    {
        if tree::leaf(entry) != *leaf {
            return Err(LedgerError::damaged(&path, format!("entry {at} is not the one that was signed")));
        }
        tile::add_entry(&mut bundle, entry);
    }
    Ok(bundle)
}

/// Reads the whole log, which has to have what follows the tree.
fn log(folder: &Path, edge: &Edge) -> Result<Tail, LedgerError> {
    let segments = wal::segments(folder)?;
    let Some((first, _)) = segments.first() else { return new_segment(folder, edge.size()) };
    let mut next = *first;
    if next > edge.size() {
        let why = format!("entries {} to {} are missing", edge.size(), next - 1);
        return Err(LedgerError::damaged(&wal::folder(folder), why));
    }
    let mut signed: Option<(u64, Vec<tree::Hash>)> = None;
    let mut last = None;
    for (number, (first, path)) in segments.iter().enumerate() {
        if *first != next {
            return Err(LedgerError::damaged(path, format!("begins where entry {next} belongs")));
        }
        let Some(mut frames) = Frames::open(path, *first)? else { continue };
        let end = loop {
            match frames.next_frame()? {
                Frame::Whole if next < edge.size() => {
                    compare(folder, &frames, next, edge.size(), &mut signed)?;
                    next += 1;
                }
                Frame::Whole => next += 1,
                end => break end,
            }
        };
        if end == Frame::Broken {
            if next < edge.size() || number + 1 < segments.len() || frames.broken_was_durable()? {
                let why =
                    format!("at byte {}: entry {next} is damaged, and it had been durable", frames.offset());
                return Err(LedgerError::damaged(path, why));
            }
            cut(path, frames.offset())?;
        }
        last = Some(path);
    }
    if next < edge.size() {
        let why = format!("ends with entry {}, of {} that are signed", next.wrapping_sub(1), edge.size());
        return Err(LedgerError::damaged(&wal::folder(folder), why));
    }
    let Some(path) = last else { return new_segment(folder, next) };
    let length = fs::metadata(path).map_err(LedgerError::io("look at", path))?.len();
    let file = OpenOptions::new().append(true).open(path).map_err(LedgerError::io("open", path))?;
    Ok(Tail { file, path: path.clone(), length, next_seq: next })
}

/// An entry of the log that is signed has to be the one of the tree.
fn compare(
    folder: &Path,
    frames: &Frames,
    at: u64,
    size: u64,
    signed: &mut Option<(u64, Vec<tree::Hash>)>,
) -> Result<(), LedgerError> {
    let index = at / WIDTH;
    let hashes = match signed {
        Some((have, hashes)) if *have == index => hashes,
        _ => {
            let width = tree::tile_width(size, 0, index).unwrap_or(0);
            let hashes = tree::Tiles::tile(&tile::Files(folder), 0, index, width)?;
            &mut signed.insert((index, hashes)).1
        }
    };
    if hashes.get((at % WIDTH) as usize) == Some(&tree::leaf(frames.entry())) {
        return Ok(());
    }
    let why = format!("at byte {}: entry {at} is not the one that was signed", frames.offset());
    Err(LedgerError::damaged(frames.path(), why))
}

fn new_segment(folder: &Path, next_seq: u64) -> Result<Tail, LedgerError> {
    let path = wal::segment(folder, next_seq);
    let file = files::create(&path)?;
    Ok(Tail { file, path, length: 0, next_seq })
}

/// Copies what follows `offset` into a file beside, durably, before it is cut off.
fn cut(path: &Path, offset: u64) -> Result<(), LedgerError> {
    let bytes = wal::read_from(path, offset)?;
    files::write_whole(&path.with_extension(format!("wal.{offset}.torn.new")), &bytes)?;
    let file = OpenOptions::new().write(true).open(path).map_err(LedgerError::io("open", path))?;
    file.set_len(offset).map_err(LedgerError::io("cut", path))?;
    file.sync_all().map_err(LedgerError::io("sync", path))
}

fn unrecorded(folder: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let folder = wal::folder(folder);
    let mut torn = Vec::new();
    for item in fs::read_dir(&folder).map_err(LedgerError::io("read folder", &folder))? {
        let path = item.map_err(LedgerError::io("read folder", &folder))?.path();
        if path.to_str().is_some_and(|name| name.ends_with(".torn.new")) {
            torn.push(path);
        }
    }
    torn.sort();
    Ok(torn)
}
