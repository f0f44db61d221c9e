//! The sealer's thread: makes durable entries into bundles and tiles, and signs checkpoints over them.
//!
//! It reads the write-ahead log behind the writer, so nothing waits for it and no entry is held in memory twice; the
//! same code takes up after a crash. Tiles are durable before the checkpoint that needs them, and the log is cut only
//! after that.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::files::{self, LedgerError};
use super::note::{Checkpoint, Signer};
use super::store::{Options, Shared};
use super::tile::{self, Row};
use super::tree::{self, Edge, WIDTH};
use super::wal::{self, Frame, Frames};

/// So much in memory is written out, whether a checkpoint is due or not.
const PENDING: usize = 16 << 20;

pub(super) struct Sealer {
    shared: Arc<Shared>,
    options: Options,
    folder: PathBuf,
    signer: Signer,
    origin: String,
    edge: Edge,
    /// The entries after the last full bundle.
    bundle: Vec<u8>,
    /// Full tiles and bundles that are not on the disk yet.
    pending: Vec<(PathBuf, Vec<u8>)>,
    pending_bytes: usize,
    log: Option<Frames>,
    /// How many entries the last checkpoint signs.
    sealed: u64,
}

/// What a sealer begins with.
pub(super) struct Start {
    pub(super) folder: PathBuf,
    pub(super) signer: Signer,
    pub(super) origin: String,
    pub(super) edge: Edge,
    pub(super) bundle: Vec<u8>,
}

impl Sealer {
    pub(super) fn new(shared: Arc<Shared>, options: Options, start: Start) -> Self {
        let Start { folder, signer, origin, edge, bundle } = start;
        let sealed = edge.size();
        Self {
            shared,
            options,
            folder,
            signer,
            origin,
            edge,
            bundle,
            pending: Vec::new(),
            pending_bytes: 0,
            log: None,
            sealed,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let (durable, over) = self.next_turn();
            if over && self.shared.lock().leave {
                return;
            }
            if let Err(error) = self.seal(durable, over) {
                tracing::error!(%error, "the ledger stops, for it cannot be signed; nothing is recorded from here on");
                self.shared.lock().failed = Some(LedgerError::Failed(error.to_string()));
                self.shared.work.notify_all();
                self.shared.done.notify_all();
                return;
            }
            if over {
                return;
            }
        }
    }

    /// Waits until a checkpoint is due; gives how many entries are durable, and whether no more will come.
    fn next_turn(&self) -> (u64, bool) {
        let mut queue = self.shared.lock();
        let mut deadline = None;
        loop {
            if queue.over {
                return (queue.durable, true);
            }
            let now = Instant::now();
            if queue.durable > self.sealed {
                let due = *deadline.get_or_insert(now + self.options.checkpoint);
                if now >= due || queue.unsealed >= PENDING as u64 {
                    queue.unsealed = 0;
                    return (queue.durable, false);
                }
            }
            queue = match deadline {
                None => self.shared.seal.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let rest = deadline.saturating_duration_since(now);
                    self.shared.seal.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn seal(&mut self, durable: u64, over: bool) -> Result<(), LedgerError> {
        while self.edge.size() < durable {
            self.take_entry()?;
            if self.pending_bytes >= PENDING {
                self.write_pending()?;
            }
        }
        let before = self.sealed;
        if before < durable {
            self.add_partials();
            self.write_pending()?;
            let checkpoint =
                Checkpoint { origin: self.origin.clone(), size: durable, root: self.edge.root() };
            let note = self.signer.sign(&checkpoint);
            files::write_whole(&self.folder.join(tile::CHECKPOINT), note.as_bytes())?;
            self.sealed = durable;
            if let Some(observer) = &self.options.observer {
                observer.signed(&note);
            }
            self.clean_partials(before)?;
        }
        // After an error the log stays as it is: it may have more than was reported.
        let whole = over && matches!(self.shared.lock().failed, Some(LedgerError::Closed));
        self.clean_log(whole)
    }

    /// Adds the next entry of the log to the tree.
    fn take_entry(&mut self) -> Result<(), LedgerError> {
        let at = self.edge.size();
        let frames = match self.log.take() {
            Some(frames) => self.log.insert(frames),
            None => self.log.insert(self.segment_of(at)?),
        };
        match frames.next_frame()? {
            Frame::Whole if frames.next_seq() <= at => return Ok(()),
            Frame::Whole => {}
            _ if frames.next_seq() == at
                && frames.first() < at
                && wal::segment(&self.folder, at).exists() =>
            {
                self.log = None;
                return Ok(());
            }
            _ => {
                let why = format!("at byte {}: entry {at} is gone, and it had been durable", frames.offset());
                return Err(LedgerError::damaged(frames.path(), why));
            }
        }
        let entry = frames.entry();
        tile::add_entry(&mut self.bundle, entry);
        let full = self.edge.push(tree::leaf(entry));
        if !full.is_empty() {
            let bundle = std::mem::take(&mut self.bundle);
            self.add(Row::Entries, at / WIDTH, WIDTH, bundle);
        }
        for tile in full {
            self.add(Row::Hashes(tile.level), tile.index, WIDTH, tile::bytes(&tile.hashes));
        }
        Ok(())
    }

    fn segment_of(&self, at: u64) -> Result<Frames, LedgerError> {
        let segment = wal::segments(&self.folder)?.into_iter().rfind(|(first, _)| *first <= at);
        let frames = segment.map(|(first, path)| Frames::open(&path, first)).transpose()?.flatten();
        frames.ok_or_else(|| LedgerError::damaged(&wal::folder(&self.folder), format!("entry {at} is gone")))
    }

    fn add(&mut self, row: Row, index: u64, width: u64, bytes: Vec<u8>) {
        self.pending_bytes += bytes.len();
        self.pending.push((self.folder.join(tile::name(row, index, width)), bytes));
    }

    /// What the tree has at its right edge, as the checkpoint of this size needs it.
    fn add_partials(&mut self) {
        let size = self.edge.size();
        if !size.is_multiple_of(WIDTH) {
            self.add(Row::Entries, size / WIDTH, size % WIDTH, self.bundle.clone());
        }
        let levels: Vec<_> = self.edge.levels().iter().map(|hashes| tile::bytes(hashes)).collect();
        for (level, bytes) in (0..).zip(levels) {
            let (count, before) = (tree::level_size(size, level), tree::level_size(self.sealed, level));
            if count % WIDTH > 0 && count != before {
                self.add(Row::Hashes(level), count / WIDTH, count % WIDTH, bytes);
            }
        }
    }

    fn write_pending(&mut self) -> Result<(), LedgerError> {
        files::write_all(&self.pending)?;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Removes the files of the log whose entries are all signed; at the end the last one too.
    fn clean_log(&self, whole: bool) -> Result<(), LedgerError> {
        let segments = wal::segments(&self.folder)?;
        let ends = segments.iter().skip(1).map(|(first, _)| *first).chain(whole.then_some(self.sealed));
        for ((_, path), _) in segments.iter().zip(ends).filter(|(_, end)| *end <= self.sealed) {
            fs::remove_file(path).map_err(LedgerError::io("remove", path))?;
        }
        Ok(())
    }

    /// Removes partial tiles that are full now, and partial bundles but the last: they are long, and who wants the
    /// entries of an older checkpoint finds them in a wider one.
    fn clean_partials(&self, before: u64) -> Result<(), LedgerError> {
        let rows = self.edge.levels().len() as u8;
        for level in 0..rows {
            let index = tree::level_size(before, level) / WIDTH;
            if index < tree::level_size(self.sealed, level) / WIDTH {
                // What stays by an error is needless, not wrong.
                fs::remove_dir_all(self.folder.join(tile::partials(Row::Hashes(level), index))).ok();
                if level == 0 {
                    fs::remove_dir_all(self.folder.join(tile::partials(Row::Entries, index))).ok();
                }
            }
        }
        let (index, width) = (self.sealed / WIDTH, self.sealed % WIDTH);
        for narrower in tile::widths(&self.folder, Row::Entries, index)?.into_iter().filter(|w| *w < width) {
            fs::remove_file(self.folder.join(tile::name(Row::Entries, index, narrower))).ok();
        }
        Ok(())
    }
}
