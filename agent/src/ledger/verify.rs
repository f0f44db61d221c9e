//! Checking a ledger against a public key: every entry, every tile, the log, the checkpoint.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use uuid::Uuid;

use super::files::{self, LedgerError};
use super::note::{Checkpoint, Verifier};
use super::tile::{self, Files, Row};
use super::tree::{self, Edge, FullTile, Tiles, WIDTH};
use super::wal::{self, Frame, Frames};
use super::{reader, sessions};

/// What was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the signature covers; none, if nothing was signed yet.
    pub checkpoint: Option<Checkpoint>,
    /// How many entries at the beginning were pruned: their hashes are there, they are not.
    pub pruned: u64,
    /// How many entries are durable and not signed yet.
    pub unsigned: u64,
}

/// The signed checkpoint of a ledger's folder. None: nothing is signed yet, and nothing could have been.
pub fn checkpoint(ledger: &Path, key: &Verifier) -> Result<Option<Checkpoint>, LedgerError> {
    let path = ledger.join(tile::CHECKPOINT);
    match files::read_text(&path)? {
        Some(note) => match key.checkpoint(&note) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(error) => Err(LedgerError::damaged(&path, error.to_string())),
        },
        None if ledger.join("tile").exists() || reader::pruned(ledger)? > 0 => {
            Err(LedgerError::damaged(&path, "is missing"))
        }
        None => Ok(None),
    }
}

/// Checks everything in a ledger's folder. The first thing that is wrong is the error, with its place.
///
/// A ledger that is being written may change under this; an error of a live one is worth a second try.
pub fn verify(ledger: &Path, key: &Verifier) -> Result<Verified, LedgerError> {
    let checkpoint = checkpoint(ledger, key)?;
    let size = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let pruned = reader::pruned(ledger)?;
    if pruned > size {
        return Err(LedgerError::damaged(&ledger.join("pruned"), "is more than is signed"));
    }
    let mut check =
        Check { ledger, size, edge: Edge::default(), sessions: BTreeSet::new(), lowest: Vec::new() };
    for index in 0..size.div_ceil(WIDTH) {
        check.bundle(index, pruned)?;
    }
    let edge = std::mem::take(&mut check.edge);
    for (level, hashes) in (0..).zip(edge.levels()) {
        let index = tree::level_size(size, level) / WIDTH;
        check.tile(&FullTile { level, index, hashes: hashes.clone() })?;
    }
    if let Some(checkpoint) = &checkpoint
        && edge.root() != checkpoint.root
    {
        let why = format!("the tree of {size} entries has another root than is signed");
        return Err(LedgerError::damaged(&ledger.join("tile"), why));
    }
    let end = check.log()?;
    check.surplus(end)?;
    if let Some(session) = check.sessions.iter().find(|session| !sessions::may_hold(ledger, **session)) {
        let why = format!("does not have session {session}, of which there are entries");
        return Err(LedgerError::damaged(&ledger.join("sessions"), why));
    }
    Ok(Verified { checkpoint, pruned, unsigned: end.saturating_sub(size) })
}

/// Checks that an older checkpoint of a ledger is of its beginning: nothing before it was changed, nothing cut off.
/// The ledger's own tiles are taken as they are, so it must have been verified, or it is checked against its root.
pub fn extends(ledger: &Path, key: &Verifier, old: &Checkpoint) -> Result<(), LedgerError> {
    let path = ledger.join(tile::CHECKPOINT);
    let damaged = |why: String| LedgerError::damaged(&path, why);
    let new = checkpoint(ledger, key)?.ok_or_else(|| damaged("is missing".into()))?;
    if new.origin != old.origin {
        return Err(damaged(format!("is of another ledger, {}, than {}", new.origin, old.origin)));
    }
    if new.size < old.size {
        return Err(damaged(format!(
            "signs {} entries; there were {}: the end was cut off",
            new.size, old.size
        )));
    }
    let proof = tree::prove_consistency(&Files(ledger), old.size, new.size)?;
    if tree::check_consistency(&proof, (old.size, &old.root), (new.size, &new.root)) {
        return Ok(());
    }
    Err(damaged(format!(
        "does not continue the {} entries that were signed before: they were changed",
        old.size
    )))
}

struct Check<'a> {
    ledger: &'a Path,
    size: u64,
    edge: Edge,
    sessions: BTreeSet<Uuid>,
    /// The level-0 tile of the bundle before, to compare the log with.
    lowest: Vec<tree::Hash>,
}

impl Check<'_> {
    /// Adds a bundle's entries to the tree; of a pruned one, the hashes that stand for them.
    fn bundle(&mut self, index: u64, pruned: u64) -> Result<(), LedgerError> {
        let width = (self.size - index * WIDTH).min(WIDTH);
        let leaves = Files(self.ledger).tile(0, index, width)?;
        let bundle = tile::read_bundle(self.ledger, index, width)?;
        match bundle {
            Some((path, bytes)) => {
                let entries = tile::entries(&bytes).unwrap_or_default();
                if width == WIDTH && entries.len() as u64 != WIDTH {
                    return Err(LedgerError::damaged(&path, "not a full bundle"));
                }
                for ((entry, leaf), at) in entries.iter().zip(&leaves).zip(index * WIDTH..) {
                    if tree::leaf(entry) != *leaf {
                        let why = format!("entry {at} is not the one that was hashed");
                        return Err(LedgerError::damaged(&path, why));
                    }
                    self.entry(entry, at, &path)?;
                }
            }
            None if (index + 1) * WIDTH <= pruned => {}
            None => {
                let path = self.ledger.join(tile::name(Row::Entries, index, width));
                return Err(LedgerError::damaged(&path, "the bundle is missing"));
            }
        }
        self.lowest = leaves;
        for leaf in self.lowest.clone() {
            for full in self.edge.push(leaf) {
                self.tile(&full)?;
            }
        }
        Ok(())
    }

    /// What an entry says must be sound, and what it refers to must be there.
    fn entry(&mut self, bytes: &[u8], at: u64, path: &Path) -> Result<(), LedgerError> {
        let entry = reader::parse(bytes, at).map_err(|why| LedgerError::damaged(path, why))?;
        self.sessions.extend(entry.session);
        entry.input_at.iter().try_for_each(|hash| reader::payload(self.ledger, hash).map(drop))
    }

    /// Compares a tile's files, full and partial, with the hashes that it must have.
    fn tile(&self, tile: &FullTile) -> Result<(), LedgerError> {
        let FullTile { level, index, hashes } = tile;
        let (row, whole) = (Row::Hashes(*level), hashes.len() as u64);
        let mut found = whole == 0;
        for width in tile::widths(self.ledger, row, *index)?.into_iter().chain([WIDTH]) {
            let path = self.ledger.join(tile::name(row, *index, width));
            let Ok(bytes) = fs::read(&path) else { continue };
            let have = tile::hashes(&bytes).unwrap_or_default();
            // A wider one may be there for the next checkpoint.
            let common = width.min(whole) as usize;
            if have.len() as u64 != width || have[..common] != hashes[..common] {
                return Err(LedgerError::damaged(&path, "the hashes are not those of the entries"));
            }
            found |= width >= whole;
        }
        if found {
            return Ok(());
        }
        let path = self.ledger.join(tile::name(row, *index, whole));
        Err(LedgerError::damaged(&path, "the tile is missing"))
    }

    /// Compares the log with the tree as far as that goes; gives the number after its last entry.
    fn log(&mut self) -> Result<u64, LedgerError> {
        let mut end = self.size;
        let mut expected = None;
        for (first, path) in wal::segments(self.ledger)? {
            if expected.is_some_and(|expected| expected != first) || first > end {
                return Err(LedgerError::damaged(&path, format!("begins where entry {end} belongs")));
            }
            let Some(mut frames) = Frames::open(&path, first)? else { continue };
            let mut at = first;
            while frames.next_frame()? == Frame::Whole {
                if at >= self.size {
                    self.entry(frames.entry(), at, &path)?;
                } else if tree::leaf(frames.entry()) != tile::leaf(self.ledger, at)? {
                    let why =
                        format!("at byte {}: entry {at} is not the one that was signed", frames.offset());
                    return Err(LedgerError::damaged(&path, why));
                }
                at += 1;
            }
            let rest = fs::metadata(&path).map_or(0, |found| found.len()) > frames.offset();
            if rest && (at < self.size || frames.broken_was_durable()?) {
                let why =
                    format!("at byte {}: entry {at} is damaged, and it had been durable", frames.offset());
                return Err(LedgerError::damaged(&path, why));
            }
            end = end.max(at);
            expected = Some(at);
        }
        if expected.is_some_and(|expected| expected < self.size) {
            let why = format!("the log ends before entry {}, which is signed", self.size - 1);
            return Err(LedgerError::damaged(&wal::folder(self.ledger), why));
        }
        Ok(end)
    }

    /// No tile may be there for entries that neither the checkpoint nor the log has.
    fn surplus(&self, end: u64) -> Result<(), LedgerError> {
        for row in [Row::Entries, Row::Hashes(0), Row::Hashes(1), Row::Hashes(2)] {
            let level = if let Row::Hashes(level) = row { level } else { 0 };
            let next = tree::level_size(end, level);
            let index = next / WIDTH;
            for index in [index, index + 1] {
                let widest = tile::widths(self.ledger, row, index)?.pop();
                let full = self.ledger.join(tile::name(row, index, WIDTH)).exists();
                let width = if full { Some(WIDTH) } else { widest };
                if let Some(width) = width
                    && index * WIDTH + width > next
                {
                    let path = self.ledger.join(tile::name(row, index, width));
                    return Err(LedgerError::damaged(
                        &path,
                        format!("is more than the {end} entries there are"),
                    ));
                }
            }
        }
        Ok(())
    }
}
