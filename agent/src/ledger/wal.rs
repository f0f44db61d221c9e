//! The write-ahead log: where an entry becomes durable, before it is part of a tile.
//!
//! `wal/<first entry>.wal` holds frames, all numbers big-endian:
//!
//! ```text
//! length u32 | crc32c u32 of the rest and the length | durable u64 | entry
//! ```
//!
//! `durable` is how many entries were on the disk when the frame was written. With it a reader tells a write that
//! was cut short, which nobody was told of, from damage to entries that had been reported durable.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::{LedgerError, MAX_LINE};

/// Bytes before the entry of a frame.
pub(super) const HEADER: usize = 16;

/// How every entry begins, before its number.
pub(super) const SEQ: &[u8] = b"{\"seq\":";

/// The folder below the ledger's.
pub(super) fn folder(ledger: &Path) -> PathBuf {
    ledger.join("wal")
}

/// The file that begins with entry `first`.
pub(super) fn segment(ledger: &Path, first: u64) -> PathBuf {
    folder(ledger).join(segment_name(first))
}

pub(super) fn segment_name(first: u64) -> String {
    format!("{first:020}.wal")
}

/// The files in order, each with its first entry's number. None, if there is no folder.
pub(super) fn segments(ledger: &Path) -> Result<Vec<(u64, PathBuf)>, LedgerError> {
    let folder = folder(ledger);
    let items = match fs::read_dir(&folder) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LedgerError::io("read folder", &folder)(error)),
    };
    let mut found = Vec::new();
    for item in items {
        let path = item.map_err(LedgerError::io("read folder", &folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".wal"));
        if let Some(first) = name.and_then(|name| name.parse().ok())
            && segment(ledger, first) == path
        {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Begins a frame for an entry of `length` bytes; what only the writer knows comes by [`finish`].
pub(super) fn begin(frames: &mut Vec<u8>, length: usize) {
    frames.extend((length as u32).to_be_bytes());
    frames.extend([0; HEADER - 4]);
}

/// Completes the frames of a batch.
pub(super) fn finish(mut frames: &mut [u8], durable: u64) {
    while let Some((length, _)) = frames.split_first_chunk::<4>() {
        let end = HEADER + u32::from_be_bytes(*length) as usize;
        let Some((frame, rest)) = frames.split_at_mut_checked(end) else { return };
        frame[8..HEADER].copy_from_slice(&durable.to_be_bytes());
        let sum = checksum(frame);
        frame[4..8].copy_from_slice(&sum.to_be_bytes());
        frames = rest;
    }
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

/// The entry's number, as it says itself.
pub(super) fn seq(entry: &[u8]) -> Option<u64> {
    let rest = entry.strip_prefix(SEQ)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// What comes next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// An entry; see [`Frames::entry`].
    Whole,
    /// Nothing whole from here on.
    Broken,
    /// The end of the file.
    End,
}

/// The frames of one file.
#[derive(Debug)]
pub(super) struct Frames {
    input: BufReader<File>,
    path: PathBuf,
    first: u64,
    /// Of the frame that was read last, or of what is broken.
    offset: u64,
    buffer: Vec<u8>,
    /// The number of the next entry.
    next: u64,
}

impl Frames {
    /// None: there is no such file (any more).
    pub(super) fn open(path: &Path, first: u64) -> Result<Option<Self>, LedgerError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io("open", path)(error)),
        };
        let input = BufReader::with_capacity(1 << 18, file);
        Ok(Some(Self { input, path: path.into(), first, offset: 0, buffer: Vec::new(), next: first }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Where the last frame began, or what is broken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the entry that comes next.
    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    /// The last entry read.
    pub(super) fn entry(&self) -> &[u8] {
        self.buffer.get(HEADER..).unwrap_or_default()
    }

    pub(super) fn next_frame(&mut self) -> Result<Frame, LedgerError> {
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        let filled = self.fill();
        match filled.map_err(LedgerError::io("read", &self.path))? {
            Frame::Whole => {}
            other => {
                self.buffer.clear();
                // What is not there yet can be read later.
                let back = SeekFrom::Start(self.offset);
                self.input.seek(back).map_err(LedgerError::io("seek in", &self.path))?;
                return Ok(other);
            }
        }
        match seq(self.entry()) {
            Some(found) if found == self.next => self.next += 1,
            found => {
                let found = found.map_or_else(|| "something else".into(), |seq| format!("entry {seq}"));
                let why =
                    format!("at byte {}: {found} stands where entry {} belongs", self.offset, self.next);
                return Err(LedgerError::damaged(&self.path, why));
            }
        }
        Ok(Frame::Whole)
    }

    fn fill(&mut self) -> io::Result<Frame> {
        let got = self.input.by_ref().take(HEADER as u64).read_to_end(&mut self.buffer)?;
        let Some((length, _)) = self.buffer.split_first_chunk::<4>().filter(|_| got == HEADER) else {
            return Ok(if got == 0 { Frame::End } else { Frame::Broken });
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_LINE {
            return Ok(Frame::Broken);
        }
        let got = self.input.by_ref().take(length as u64).read_to_end(&mut self.buffer)?;
        let whole = got == length && checksum(&self.buffer).to_be_bytes() == self.buffer[4..8];
        Ok(if whole { Frame::Whole } else { Frame::Broken })
    }

    /// Whether the broken frame where reading ended had been durable: a later frame, if there is a whole one, says
    /// how far that was.
    pub(super) fn broken_was_durable(&self) -> Result<bool, LedgerError> {
        let rest = read_from(&self.path, self.offset)?;
        let candidates =
            (0..rest.len().saturating_sub(HEADER)).filter(|at| rest[at + HEADER..].starts_with(SEQ));
        for at in candidates {
            let number = |range: std::ops::Range<usize>| {
                rest[at..][range].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
            };
            let end = at + HEADER + number(0..4) as usize;
            let frame = rest.get(at..end).filter(|frame| frame.len() <= HEADER + MAX_LINE);
            if frame.is_some_and(|frame| checksum(frame).to_be_bytes() == frame[4..8])
                && number(8..16) > self.next
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What a file has from `offset` on.
pub(super) fn read_from(path: &Path, offset: u64) -> Result<Vec<u8>, LedgerError> {
    let mut file = File::open(path).map_err(LedgerError::io("open", path))?;
    file.seek(SeekFrom::Start(offset)).map_err(LedgerError::io("seek in", path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(LedgerError::io("read", path))?;
    Ok(bytes)
}
