//! That a ledger only grew between two checkpoints: the hashes that lead from the older root to the newer. Checked
//! with the public key and the older checkpoint, which whoever checks has kept. Written as C2SP tlog-witness has it
//! in the body of `add-checkpoint`, so that a witness takes it too:
//!
//! ```text
//! old 20852
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=      the hashes, in RFC 6962's order
//!
//! authz/5b0c3f9a2c1d7e44/0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11
//! ...                                               the newer checkpoint's signed note
//! ```

use std::path::Path;

use data_encoding::BASE64;

use super::files::LedgerError;
use super::note::{Checkpoint, NoteError, Verifier};
use super::reader;
use super::tile::Files;
use super::tree::{self, Hash};

/// Hashes of the longest proof: RFC 6962 needs no more of a tree of 2^63 entries.
const HASHES_MAX: usize = 63;

/// Leads from a checkpoint to a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// How many entries the older checkpoint signs.
    pub old: u64,
    /// The hashes.
    pub path: Vec<Hash>,
    /// The newer checkpoint's signed note.
    pub note: String,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// Not of the form.
    #[error("not a consistency proof: {0}")]
    Form(&'static str),
    /// The newer checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Of two ledgers.
    #[error("it is of {new}, and the older checkpoint of {old}")]
    Origin {
        /// Whose the older is.
        old: String,
        /// Whose the newer is.
        new: String,
    },
    /// From another size.
    #[error("it leads from {proof} entries, and the older checkpoint has {old}")]
    Size {
        /// Where the proof begins.
        proof: u64,
        /// What the older checkpoint signs.
        old: u64,
    },
    /// The hashes do not lead from one root to the other.
    #[error("the {new} entries do not continue the {old} that were signed before")]
    Inconsistent {
        /// What the older signs.
        old: u64,
        /// What the newer signs.
        new: u64,
    },
}

/// Proves that a ledger's folder continues an older checkpoint. Its own tiles are taken as they are: what they lead
/// to is checked against the signed root.
pub fn prove(ledger: &Path, key: &Verifier, old: &Checkpoint) -> Result<Consistency, LedgerError> {
    let damaged = |why: String| LedgerError::damaged(ledger, why);
    let Some((new, note)) = reader::checkpoint(ledger)? else {
        return Err(damaged("has no checkpoint yet".into()));
    };
    if new.size < old.size {
        let why = format!("signs {} entries; there were {}: the end was cut off", new.size, old.size);
        return Err(damaged(why));
    }
    let path = tree::prove_consistency(&Files(ledger), old.size, new.size)?;
    let proof = Consistency { old: old.size, path, note };
    proof.check(key, old).map_err(|error| damaged(error.to_string()))?;
    Ok(proof)
}

impl Consistency {
    /// The newer checkpoint, which continues the older.
    pub fn check(&self, key: &Verifier, old: &Checkpoint) -> Result<Checkpoint, ConsistencyError> {
        let new = key.checkpoint(&self.note)?;
        if new.origin != old.origin {
            return Err(ConsistencyError::Origin { old: old.origin.clone(), new: new.origin });
        }
        if self.old != old.size {
            return Err(ConsistencyError::Size { proof: self.old, old: old.size });
        }
        if !tree::check_consistency(&self.path, (old.size, &old.root), (new.size, &new.root)) {
            return Err(ConsistencyError::Inconsistent { old: old.size, new: new.size });
        }
        Ok(new)
    }

    /// Whether a text means to be one.
    pub fn is(text: &str) -> bool {
        text.starts_with("old ")
    }

    /// As C2SP tlog-witness has it.
    pub fn to_text(&self) -> String {
        let path: String = self.path.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        format!("old {}\n{path}\n{}", self.old, self.note)
    }

    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, ConsistencyError> {
        let form = ConsistencyError::Form;
        let (head, note) = text.split_once("\n\n").ok_or(form("no checkpoint"))?;
        let mut lines = head.lines();
        let old =
            lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(form("another first line"))?;
        let size = old.parse::<u64>().ok().filter(|size| size.to_string() == old);
        let path: Vec<Hash> = lines
            .map(|line| BASE64.decode(line.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()))
            .collect::<Option<_>>()
            .ok_or(form("a line that is no hash"))?;
        if path.len() > HASHES_MAX {
            return Err(form("too many hashes"));
        }
        Ok(Self { old: size.ok_or(form("no size"))?, path, note: note.to_owned() })
    }
}
