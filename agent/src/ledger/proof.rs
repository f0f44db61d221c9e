//! One entry with all that shows it to be in a ledger: the entry, the hashes beside its way to the root, and the
//! signed checkpoint. Checked with a public key and nothing else. Written as C2SP tlog-proof, with the entry as its
//! extra data.

use std::path::Path;

use data_encoding::BASE64;

use super::entry::Entry;
use super::files::LedgerError;
use super::note::{Checkpoint, NoteError, Verifier};
use super::tile::{self, Files};
use super::tree::{self, Hash, WIDTH};
use super::{reader, verify};

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// An entry's place in a signed tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The entry as it is stored.
    pub entry: Vec<u8>,
    /// Its place.
    pub index: u64,
    /// The hashes beside its way, the lowest first.
    pub path: Vec<Hash>,
    /// The checkpoint's signed note.
    pub note: String,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProofError {
    /// Not of the form.
    #[error("not a tlog-proof with the entry in it: {0}")]
    Form(&'static str),
    /// The checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The hashes do not lead to the signed root.
    #[error("entry {0} is not in the tree that was signed")]
    NotIn(u64),
    /// It is, but says of itself that it stands elsewhere, or is none.
    #[error("{0}")]
    Entry(String),
}

/// Proves entry `index` of a ledger's folder.
pub fn prove(ledger: &Path, key: &Verifier, index: u64) -> Result<Proof, LedgerError> {
    let damaged = |why: String| LedgerError::damaged(ledger, why);
    let Some((checkpoint, note)) = reader::checkpoint(ledger)? else {
        return Err(damaged("has no checkpoint yet".into()));
    };
    if index >= checkpoint.size {
        return Err(LedgerError::Unsigned { index, size: checkpoint.size });
    }
    let bundle = tile::read_bundle(ledger, index / WIDTH, index % WIDTH + 1)?;
    let Some((path, bytes)) = bundle else {
        return Err(damaged(format!("entry {index} was pruned, or its bundle is missing")));
    };
    let entries = tile::entries(&bytes).unwrap_or_default();
    let entry = entries[(index % WIDTH) as usize].to_vec();
    let proof =
        Proof { path: tree::prove_inclusion(&Files(ledger), index, checkpoint.size)?, entry, index, note };
    match proof.check(key) {
        Ok(_) => Ok(proof),
        Err(ProofError::NotIn(_)) => {
            // The tiles, or the entry?
            verify::verify(ledger, key)?;
            Err(LedgerError::damaged(&path, format!("entry {index} is not the one that was signed")))
        }
        Err(error) => Err(LedgerError::damaged(&path, error.to_string())),
    }
}

impl Proof {
    /// The entry and the checkpoint that it is proven by.
    pub fn check(&self, key: &Verifier) -> Result<(Entry, Checkpoint), ProofError> {
        let checkpoint = key.checkpoint(&self.note)?;
        let leaf = tree::leaf(&self.entry);
        if !tree::check_inclusion(&self.path, self.index, checkpoint.size, leaf, &checkpoint.root) {
            return Err(ProofError::NotIn(self.index));
        }
        Ok((reader::parse(&self.entry, self.index).map_err(ProofError::Entry)?, checkpoint))
    }

    /// The form of C2SP tlog-proof.
    pub fn to_text(&self) -> String {
        let path: String = self.path.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        let entry = BASE64.encode(&self.entry);
        format!("{HEAD}\nextra {entry}\nindex {}\n{path}\n{}", self.index, self.note)
    }

    /// As JSON: the entry as an object would not keep its bytes, so it is a string.
    pub fn to_json(&self) -> serde_json::Value {
        let path: Vec<String> = self.path.iter().map(|hash| BASE64.encode(hash)).collect();
        serde_json::json!({
            "entry": String::from_utf8_lossy(&self.entry), "index": self.index, "proof": path, "checkpoint": self.note,
        })
    }

    /// Reads either form.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.starts_with('{') { Self::of_json(text) } else { Self::of_text(text) }
    }

    fn of_json(text: &str) -> Result<Self, ProofError> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(|_| ProofError::Form("not JSON"))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let path = json["proof"].as_array().ok_or(ProofError::Form("no proof"))?;
        Ok(Self {
            entry: text("entry").ok_or(ProofError::Form("no entry"))?.into_bytes(),
            index: json["index"].as_u64().ok_or(ProofError::Form("no index"))?,
            path: path
                .iter()
                .map(|item| hash(item.as_str().unwrap_or_default()))
                .collect::<Result<_, _>>()?,
            note: text("checkpoint").ok_or(ProofError::Form("no checkpoint"))?,
        })
    }

    fn of_text(text: &str) -> Result<Self, ProofError> {
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Form("no checkpoint"))?;
        let mut lines = head.lines();
        if lines.next() != Some(HEAD) {
            return Err(ProofError::Form("another first line"));
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let entry = field("extra").and_then(|entry| BASE64.decode(entry.as_bytes()).ok());
        let index =
            field("index").and_then(|text| text.parse::<u64>().ok().filter(|n| n.to_string() == text));
        Ok(Self {
            entry: entry.ok_or(ProofError::Form("no entry"))?,
            index: index.ok_or(ProofError::Form("no index"))?,
            path: lines.map(hash).collect::<Result<_, _>>()?,
            note: note.to_owned(),
        })
    }
}

fn hash(text: &str) -> Result<Hash, ProofError> {
    let bytes = BASE64.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(ProofError::Form("a line that is no hash"))
}
