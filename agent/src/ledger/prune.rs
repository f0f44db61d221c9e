//! Taking away old entries. Their hashes stay, so everything that was signed can still be checked, and every later
//! entry still be proven; what was proven before stays proven.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::Time;
use super::entry::Hex;
use super::files::{self, LedgerError};
use super::reader;
use super::tile::{self, Row};
use super::tree::WIDTH;

/// Up to where entries are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// An entry's number.
    Entry(u64),
    /// Entries that are older.
    Time(Time),
}

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The first entry that is left.
    pub first: u64,
    /// How many entries were there and no longer are.
    pub entries: u64,
    /// How many bytes of files.
    pub bytes: u64,
}

/// Removes the full bundles before a point, of signed entries only; `keep` says instead what would be removed.
/// Inputs beside them go too, unless the ledger is being written.
pub fn prune(ledger: &Path, before: Before, keep: bool) -> Result<Pruned, LedgerError> {
    let size = reader::checkpoint(ledger)?.map_or(0, |(checkpoint, _)| checkpoint.size);
    let from = reader::pruned(ledger)?;
    let mut pruned = Pruned { first: from, ..Pruned::default() };
    let mut gone = BTreeSet::new();
    while pruned.first + WIDTH <= size {
        let index = pruned.first / WIDTH;
        if matches!(before, Before::Entry(number) if pruned.first + WIDTH > number) {
            break;
        }
        let path = ledger.join(tile::name(Row::Entries, index, WIDTH));
        let bytes = fs::read(&path).map_err(LedgerError::io("read", &path))?;
        let entries = tile::entries(&bytes).filter(|entries| entries.len() as u64 == WIDTH);
        let entries = entries.ok_or_else(|| LedgerError::damaged(&path, "not a full bundle"))?;
        let mut young = false;
        for (entry, at) in entries.iter().zip(pruned.first..) {
            let entry = reader::parse(entry, at).map_err(|why| LedgerError::damaged(&path, why))?;
            young |= matches!(before, Before::Time(time) if entry.time >= time);
            gone.extend(entry.input_at);
        }
        if young {
            break;
        }
        pruned.first += WIDTH;
        pruned.bytes += bytes.len() as u64;
    }
    pruned.entries = pruned.first - from;
    if keep || pruned.entries == 0 {
        return Ok(pruned);
    }
    // First the word, then the deed: what is left over by a crash is needless, not missing.
    files::write_whole(&ledger.join("pruned"), format!("{}\n", pruned.first).as_bytes())?;
    for index in from / WIDTH..pruned.first / WIDTH {
        let path = ledger.join(tile::name(Row::Entries, index, WIDTH));
        fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
    }
    pruned.bytes += prune_payloads(ledger, gone)?;
    Ok(pruned)
}

/// Removes inputs that only pruned entries refer to.
fn prune_payloads(ledger: &Path, mut gone: BTreeSet<Hex<32>>) -> Result<u64, LedgerError> {
    if gone.is_empty() {
        return Ok(0);
    }
    let lock = fs::File::open(ledger).map_err(LedgerError::io("open folder", ledger))?;
    let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else { return Ok(0) };
    for record in reader::Reader::open(ledger)? {
        if let Some(used) = record?.entry.input_at {
            gone.remove(&used);
        }
    }
    let mut bytes = 0;
    for hash in gone {
        let path = ledger.join(files::PAYLOADS).join(hash.to_string());
        bytes += fs::metadata(&path).map_or(0, |found| found.len());
        fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
    }
    Ok(bytes)
}
