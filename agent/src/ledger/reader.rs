//! Reading a ledger from its first entry to its last, one line at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::entry::{Entry, Hex};
use super::files::{self, LedgerError, MAX_LINE};

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Parsed.
    pub entry: Entry,
    /// The line without its newline: what is hashed.
    pub bytes: Vec<u8>,
}

/// Iterates over the entries of a state folder. Holds one line at a time. A ledger that is being written
/// can be read; a last line that is not whole ends the iteration, and [`Reader::notice`] says so.
#[derive(Debug)]
pub struct Reader {
    files: std::vec::IntoIter<(u64, PathBuf)>,
    lines: Option<Lines<BufReader<File>>>,
    next_seq: Option<u64>,
    notice: Option<String>,
    payloads: PathBuf,
    over: bool,
}

impl Reader {
    /// Opens the ledger below `state` for reading.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let folder = files::folder(state);
        let files = files::list(&folder)?.into_iter();
        let payloads = folder.join(files::PAYLOADS);
        Ok(Self { files, lines: None, next_seq: Some(0), notice: None, payloads, over: false })
    }

    /// An input that was too long for its line ([`Entry::input_at`]).
    pub fn payload(&self, hash: &Hex<32>) -> Result<Value, LedgerError> {
        let path = self.payloads.join(hash.to_string());
        let bytes = std::fs::read(&path).map_err(LedgerError::io("read", &path))?;
        let damaged = |why: String| LedgerError::Damaged { path: path.clone(), line: 1, why };
        if Hex::<32>(Sha256::digest(&bytes).into()) != *hash {
            return Err(damaged("it does not have the hash it is named by".into()));
        }
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
    }

    /// What the reader met at the end that is no error but should be told.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    fn step(&mut self) -> Result<Option<Record>, LedgerError> {
        loop {
            let Some(lines) = &mut self.lines else {
                let Some((_, path)) = self.files.next() else { return Ok(None) };
                let file = File::open(&path).map_err(LedgerError::io("open", &path))?;
                self.lines = Some(Lines::new(BufReader::new(file), &path, self.next_seq));
                continue;
            };
            match lines.next_line()? {
                Line::Whole(entry) => {
                    self.next_seq = Some(entry.seq + 1);
                    return Ok(Some(Record { entry: *entry, bytes: lines.bytes().to_vec() }));
                }
                Line::Torn { .. } if self.files.len() > 0 => return Err(lines.damaged("line is not whole")),
                Line::Torn { offset } => {
                    let path = lines.path.display();
                    self.notice =
                        Some(format!("{path}: the last line, from byte {offset}, is not whole; left out"));
                    return Ok(None);
                }
                Line::End => self.lines = None,
            }
        }
    }
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

pub(super) enum Line {
    Whole(Box<Entry>),
    /// The last line of the file, and not whole.
    Torn {
        offset: u64,
    },
    End,
}

/// The lines of one file.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    path: PathBuf,
    buffer: Vec<u8>,
    offset: u64,
    number: u64,
    next_seq: Option<u64>,
}

impl<R: BufRead> Lines<R> {
    /// `next_seq`: what the first line has to have; any, if none.
    pub(super) fn new(input: R, path: &Path, next_seq: Option<u64>) -> Self {
        Self { input, path: path.to_owned(), buffer: Vec::new(), offset: 0, number: 0, next_seq }
    }

    /// The last line read, without its newline.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer)
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> LedgerError {
        LedgerError::Damaged { path: self.path.clone(), line: self.number, why: why.into() }
    }

    pub(super) fn next_line(&mut self) -> Result<Line, LedgerError> {
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        let mut limited = (&mut self.input).take(MAX_LINE as u64 + 1);
        limited.read_until(b'\n', &mut self.buffer).map_err(LedgerError::io("read", &self.path))?;
        if self.buffer.is_empty() {
            return Ok(Line::End);
        }
        self.number += 1;
        if self.buffer.last() != Some(&b'\n') {
            // Whole lines are never this long, but a hole that a crash left may be.
            return if self.last()? {
                Ok(Line::Torn { offset: self.offset })
            } else {
                Err(self.damaged("line is too long"))
            };
        }
        let entry = match serde_json::from_slice::<Entry>(self.bytes()) {
            Ok(entry) => Box::new(entry),
            Err(_) if self.last()? => return Ok(Line::Torn { offset: self.offset }),
            Err(error) => return Err(self.damaged(format!("not an entry: {error}"))),
        };
        if self.next_seq.is_some_and(|expected| expected != entry.seq) {
            let expected = self.next_seq.unwrap_or_default();
            return Err(self.damaged(format!("entry {} stands where {expected} belongs", entry.seq)));
        }
        self.next_seq = Some(entry.seq + 1);
        Ok(Line::Whole(entry))
    }

    /// Whether no newline and no other line follows.
    fn last(&mut self) -> Result<bool, LedgerError> {
        loop {
            let rest = self.input.fill_buf().map_err(LedgerError::io("read", &self.path))?;
            if rest.is_empty() {
                return Ok(true);
            }
            if rest.contains(&b'\n') {
                return Ok(false);
            }
            let length = rest.len();
            self.input.consume(length);
        }
    }
}
