//! Reading a ledger from its first entry to its last: from bundles as far as a checkpoint goes, from the
//! write-ahead log after it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::entry::{Entry, Hex};
use super::files::{self, LedgerError};
use super::note::Checkpoint;
use super::tile::{self, Files};
use super::tree::{self, Tiles, WIDTH};
use super::wal::{self, Frame, Frames};

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Parsed.
    pub entry: Entry,
    /// The JSON as it was written: what is hashed.
    pub bytes: Vec<u8>,
}

/// Iterates over the entries of a state folder. Holds one bundle at a time, and takes no lock: a ledger that is
/// being written can be read, by whoever may open its files. What is not whole at the end ends the iteration, and
/// [`Reader::notice`] says so. Entries are held against their hashes, so damage is an error; the
/// hashes are held against the signature only by [`verify`](super::verify).
#[derive(Debug)]
pub struct Reader {
    ledger: PathBuf,
    next: u64,
    /// As the last checkpoint that was looked at says; bundles count as far as that.
    size: u64,
    source: Source,
    /// The log has been looked into for this entry, and does not have it.
    not_in_log: Option<u64>,
    notice: Option<String>,
    over: bool,
}

#[derive(Debug)]
enum Source {
    None,
    /// Entries of a bundle, the next one first.
    Bundle(std::vec::IntoIter<Vec<u8>>, PathBuf),
    Log(Frames),
}

impl Reader {
    /// Opens the ledger of an instance's folder, or a copy of the ledger alone, for reading.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let ledger = files::ledger_of(state);
        std::fs::read_dir(&ledger).map_err(LedgerError::io("read folder", &ledger))?;
        let pruned = pruned(&ledger)?;
        let mut reader = Self {
            ledger,
            next: pruned,
            size: 0,
            source: Source::None,
            not_in_log: None,
            notice: None,
            over: false,
        };
        if pruned > 0 {
            let path = reader.ledger.display();
            reader.notice = Some(format!("{path}: entries before {pruned} were pruned"));
        }
        reader.look_at_checkpoint()?;
        Ok(reader)
    }

    /// An input that was too long for its entry ([`Entry::input_at`]).
    pub fn payload(&self, hash: &Hex<32>) -> Result<Value, LedgerError> {
        let bytes = payload(&self.ledger, hash)?;
        let path = || self.ledger.join(files::PAYLOADS).join(hash.to_string());
        serde_json::from_slice(&bytes).map_err(|error| LedgerError::damaged(&path(), error.to_string()))
    }

    /// What the reader met that is no error but should be told.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    fn look_at_checkpoint(&mut self) -> Result<(), LedgerError> {
        self.size = checkpoint(&self.ledger)?.map_or(0, |(checkpoint, _)| checkpoint.size);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Record>, LedgerError> {
        loop {
            let (bytes, path) = match &mut self.source {
                Source::None => {
                    if !self.find()? {
                        return Ok(None);
                    }
                    continue;
                }
                Source::Bundle(entries, path) => match entries.next() {
                    Some(bytes) => (bytes, path.as_path()),
                    None => {
                        self.source = Source::None;
                        continue;
                    }
                },
                Source::Log(frames) => match frames.next_frame()? {
                    Frame::Whole if frames.next_seq() <= self.next => continue,
                    Frame::Whole => (frames.entry().to_vec(), frames.path()),
                    end => {
                        if !self.after_log(end)? {
                            return Ok(None);
                        }
                        continue;
                    }
                },
            };
            let entry = parse(&bytes, self.next).map_err(|why| LedgerError::damaged(path, why))?;
            self.next += 1;
            return Ok(Some(Record { entry, bytes }));
        }
    }

    /// Opens what has the next entry. False: there is none.
    fn find(&mut self) -> Result<bool, LedgerError> {
        if self.next < self.size
            && let Some(bundle) = self.bundle()?
        {
            self.source = bundle;
            return Ok(true);
        }
        if self.not_in_log != Some(self.next) {
            self.not_in_log = Some(self.next);
            let segment = wal::segments(&self.ledger)?.into_iter().rfind(|(first, _)| *first <= self.next);
            if let Some((first, path)) = segment
                && let Some(frames) = Frames::open(&path, first)?
            {
                self.source = Source::Log(frames);
                return Ok(true);
            }
        }
        // Meanwhile the log may have been made into bundles.
        let size = self.size;
        self.look_at_checkpoint()?;
        if self.size > size.max(self.next) {
            return Ok(true);
        }
        self.whole().map(|()| false)
    }

    /// The end: no entry that a checkpoint or the log has may be missing.
    fn whole(&self) -> Result<(), LedgerError> {
        let later = wal::segments(&self.ledger)?.into_iter().find(|(first, _)| *first > self.next);
        let why = match later {
            _ if self.next < self.size => format!("the checkpoint signs {} entries", self.size),
            Some((first, _)) => format!("the log goes on with entry {first}"),
            None => return Ok(()),
        };
        Err(LedgerError::damaged(&self.ledger, format!("entry {} is missing: {why}", self.next)))
    }

    fn bundle(&self) -> Result<Option<Source>, LedgerError> {
        let (index, offset) = (self.next / WIDTH, self.next % WIDTH);
        let Some((path, bytes)) = tile::read_bundle(&self.ledger, index, offset + 1)? else {
            return Ok(None);
        };
        let count = (self.size - index * WIDTH).min(WIDTH) - offset;
        let leaves = Files(&self.ledger).tile(0, index, offset + count)?;
        let mut entries = Vec::new();
        let all = tile::entries(&bytes).unwrap_or_default();
        for ((entry, leaf), at) in all.into_iter().zip(leaves).zip(index * WIDTH..).skip(offset as usize) {
            if tree::leaf(entry) != leaf {
                return Err(LedgerError::damaged(
                    &path,
                    format!("entry {at} is not the one that was hashed"),
                ));
            }
            entries.push(entry.to_vec());
        }
        Ok(Some(Source::Bundle(entries.into_iter(), path)))
    }

    /// Goes on after the log's last whole frame. False: nothing follows.
    fn after_log(&mut self, end: Frame) -> Result<bool, LedgerError> {
        let Source::Log(frames) = &self.source else { return Ok(true) };
        if let Some(next) = Frames::open(&wal::segment(&self.ledger, self.next), self.next)?
            && frames.first() != self.next
        {
            self.source = Source::Log(next);
            return Ok(true);
        }
        if end == Frame::Broken {
            let (path, offset) = (frames.path().display(), frames.offset());
            self.notice = Some(format!("{path}: what follows byte {offset} is not whole; left out"));
        }
        self.source = Source::None;
        self.look_at_checkpoint()?;
        if self.next < self.size { Ok(true) } else { self.whole().map(|()| false) }
    }
}

/// The entry of a line that has to have that number.
pub(super) fn parse(bytes: &[u8], seq: u64) -> Result<Entry, String> {
    match serde_json::from_slice::<Entry>(bytes) {
        Ok(entry) if entry.seq == seq => Ok(entry),
        Ok(entry) => Err(format!("entry {} stands where {seq} belongs", entry.seq)),
        Err(error) => Err(format!("entry {seq} is not one: {error}")),
    }
}

/// The bytes of an input beside a ledger, which must be those that were hashed.
pub(super) fn payload(ledger: &Path, hash: &Hex<32>) -> Result<Vec<u8>, LedgerError> {
    let path = ledger.join(files::PAYLOADS).join(hash.to_string());
    let bytes = std::fs::read(&path).map_err(LedgerError::io("read", &path))?;
    if Hex::<32>(Sha256::digest(&bytes).into()) != *hash {
        return Err(LedgerError::damaged(&path, "it does not have the hash it is named by"));
    }
    Ok(bytes)
}

/// What a ledger's checkpoint says, not verified, and its note.
pub(super) fn checkpoint(ledger: &Path) -> Result<Option<(Checkpoint, String)>, LedgerError> {
    let path = ledger.join(tile::CHECKPOINT);
    let Some(note) = files::read_text(&path)? else { return Ok(None) };
    let checkpoint = Checkpoint::unverified(&note);
    let checkpoint = checkpoint.map_err(|error| LedgerError::damaged(&path, error.to_string()))?;
    Ok(Some((checkpoint, note)))
}

/// The first entry that was not pruned.
pub(super) fn pruned(ledger: &Path) -> Result<u64, LedgerError> {
    let path = ledger.join("pruned");
    let Some(text) = files::read_text(&path)? else { return Ok(0) };
    let number = text.trim_end().parse::<u64>().ok().filter(|number| number.is_multiple_of(WIDTH));
    number.ok_or_else(|| LedgerError::damaged(&path, "holds no number of entries"))
}

impl Iterator for Reader {
    type Item = Result<Record, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.step().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}
