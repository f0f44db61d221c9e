//! Signed notes and the checkpoints they carry (C2SP signed-note, tlog-checkpoint), with Ed25519.
//!
//! ```text
//! authz/5b0c3f9a2c1d7e44/0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11     origin: whose ledger
//! 20852                                                           size: how many entries
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=                    root of their tree
//!
//! — authz/5b0c3f9a2c1d7e44 Az3grlgtzPICa5OS8npVmf1M...
//! ```

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::tree::Hash;

/// Signature type of the note format: Ed25519.
const ED25519: u8 = 1;

/// A checkpoint is a few hundred bytes; with many cosignatures some thousand.
const MAX_NOTE: usize = 1 << 20;

/// Why a note or a key was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not of the form of a key.
    #[error("not a key in signed-note form (NAME+HASH+BASE64)")]
    Key,
    /// Not of the form of a note, or no checkpoint in it.
    #[error("not a signed checkpoint: {0}")]
    Form(&'static str),
    /// No signature by the key.
    #[error("not signed by {0}")]
    Unsigned(String),
    /// A signature by the key that does not fit the text.
    #[error("the signature of {0} is wrong")]
    Forged(String),
}

/// A public key, as `NAME+HASH+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: VerifyingKey,
}

/// A private key.
pub struct Signer {
    public: Verifier,
    key: SigningKey,
}

/// How many entries a ledger had, and the root of their tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// Of their tree.
    pub root: Hash,
}

impl Verifier {
    /// What signatures and keys are named by.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The text of a note that this key signed. Signatures of others are left alone.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = parts(note)?;
        let mut signed = false;
        for line in signatures.lines() {
            let line =
                line.strip_prefix("\u{2014} ").ok_or(NoteError::Form("a line that is no signature"))?;
            let (name, encoded) =
                line.split_once(' ').ok_or(NoteError::Form("a signature without a name"))?;
            let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| NoteError::Form("a signature"))?;
            let Some((id, signature)) = bytes.split_at_checked(4) else {
                return Err(NoteError::Form("a signature that is too short"));
            };
            if name != self.name || id != self.id() {
                continue;
            }
            let forged = || NoteError::Forged(self.name.clone());
            let signature = Signature::from_slice(signature).map_err(|_| forged())?;
            self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| forged())?;
            signed = true;
        }
        if signed { Ok(text) } else { Err(NoteError::Unsigned(self.name.clone())) }
    }

    /// The checkpoint in a note that this key signed.
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::of_text(self.open(note)?)?;
        // One key signs all ledgers of a machine or user; it says nothing of those of others.
        let own = checkpoint.origin.strip_prefix(&self.name);
        if own.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            Ok(checkpoint)
        } else {
            Err(NoteError::Form("the origin is not one of this key"))
        }
    }
}

impl Signer {
    /// A key from 32 secret bytes; its name comes from the public key.
    pub fn new(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key();
        let hash = Sha256::digest(public.as_bytes());
        let name = format!("authz/{}", data_encoding::HEXLOWER.encode(&hash[..8]));
        Self { public: Verifier { name, key: public }, key }
    }

    /// The public key to it.
    pub fn verifier(&self) -> &Verifier {
        &self.public
    }

    /// The text of a signed checkpoint.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.to_string();
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let encoded = BASE64.encode(&[&self.public.id()[..], &signature[..]].concat());
        format!("{text}\n\u{2014} {} {encoded}\n", self.public.name)
    }

    /// The form in which it is kept: `PRIVATE+KEY+NAME+HASH+BASE64`.
    pub fn to_secret_text(&self) -> String {
        let encoded = BASE64.encode(&[&[ED25519], &self.key.to_bytes()[..]].concat());
        format!("PRIVATE+KEY+{}+{:08x}+{encoded}\n", self.public.name, u32::from_be_bytes(self.public.id()))
    }

    /// Reads that form.
    pub fn from_secret_text(text: &str) -> Result<Self, NoteError> {
        let text = text.trim_end().strip_prefix("PRIVATE+KEY+").ok_or(NoteError::Key)?;
        let (name, hash, seed) = key_parts(text)?;
        let key = SigningKey::from_bytes(&seed);
        let public = Verifier { name: name.to_owned(), key: key.verifying_key() };
        if public.id() != hash {
            return Err(NoteError::Key);
        }
        Ok(Self { public, key })
    }
}

/// Name, hash and the 32 bytes of `NAME+HASH+BASE64`.
fn key_parts(text: &str) -> Result<(&str, [u8; 4], [u8; 32]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (name, hash, key) = (parts.next(), parts.next(), parts.next());
    let name =
        name.filter(|name| !name.is_empty() && !name.contains(char::is_whitespace)).ok_or(NoteError::Key)?;
    let hash = hash.and_then(|hash| data_encoding::HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok());
    let key = key.and_then(|key| BASE64.decode(key.as_bytes()).ok()).ok_or(NoteError::Key)?;
    let key = key.strip_prefix(&[ED25519]).and_then(|key| key.try_into().ok()).ok_or(NoteError::Key)?;
    Ok((name, hash.ok_or(NoteError::Key)?, key))
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = BASE64.encode(&[&[ED25519], &self.key.as_bytes()[..]].concat());
        write!(f, "{}+{:08x}+{encoded}", self.name, u32::from_be_bytes(self.id()))
    }
}

impl FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, hash, key) = key_parts(text.trim_end())?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key)?;
        let verifier = Self { name: name.to_owned(), key };
        if verifier.id() == hash { Ok(verifier) } else { Err(NoteError::Key) }
    }
}

/// The text with its newline, and the signatures.
fn parts(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE || note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Form("too long, or with control characters"));
    }
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form("no signatures"))?;
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err(NoteError::Form("the signatures are cut off"));
    }
    Ok((&note[..=text.len()], signatures))
}

impl Checkpoint {
    /// What a note says, whoever signed it.
    pub fn unverified(note: &str) -> Result<Self, NoteError> {
        Self::of_text(parts(note)?.0)
    }

    fn of_text(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(NoteError::Form("no origin"))?;
        let size = lines.next().unwrap_or_default();
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let root = lines.next().and_then(|line| BASE64.decode(line.as_bytes()).ok()?.try_into().ok());
        Ok(Self {
            origin: origin.to_owned(),
            size: number.ok_or(NoteError::Form("no size"))?,
            root: root.ok_or(NoteError::Form("no root"))?,
        })
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(&self.root))
    }
}

/// The notes of a file that holds one or several.
pub fn split(text: &str) -> Vec<&str> {
    let mut notes = Vec::new();
    let (mut start, mut at, mut signed) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        if signed && !line.starts_with('\u{2014}') {
            notes.push(&text[start..at]);
            start = at + if line == "\n" { 1 } else { 0 };
            signed = false;
        } else {
            signed |= line.starts_with('\u{2014}');
        }
        at += line.len();
    }
    if start < text.len() {
        notes.push(&text[start..]);
    }
    notes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_note_of_another_implementation_is_taken() {
        // The example of golang.org/x/mod/sumdb/note.
        let key: Verifier =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem \
                    is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert!(key.open(note).unwrap().ends_with("problem is.\n"));
        assert_eq!(
            key.open(&note.replace("answer", "amswer")),
            Err(NoteError::Forged("PeterNeumann".into()))
        );
        assert_eq!(key.to_string().parse::<Verifier>().unwrap(), key);
        let secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let signer = Signer::from_secret_text(secret).unwrap();
        assert_eq!((signer.verifier(), signer.to_secret_text().trim_end()), (&key, secret));
    }

    #[test]
    fn a_checkpoint_comes_back_and_every_changed_byte_is_seen() {
        let signer = Signer::new(&[7; 32]);
        let origin = format!("{}/x", signer.verifier().name());
        let checkpoint = Checkpoint { origin, size: 300, root: [9; 32] };
        let note = signer.sign(&checkpoint);
        assert_eq!(signer.verifier().checkpoint(&note), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::unverified(&note), Ok(checkpoint.clone()));
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                assert!(signer.verifier().checkpoint(&changed).is_err(), "{changed:?}");
            }
            if note.is_char_boundary(at) {
                assert!(signer.verifier().checkpoint(&note[..at]).is_err());
            }
        }
        let other = Signer::new(&[8; 32]);
        assert_eq!(
            other.verifier().checkpoint(&note),
            Err(NoteError::Unsigned(other.verifier().name().to_owned()))
        );
        let cosigned = note.clone() + other.sign(&checkpoint).rsplit_once("\n\n").unwrap().1;
        assert_eq!(signer.verifier().checkpoint(&cosigned), Ok(checkpoint.clone()));
        assert!(other.verifier().checkpoint(&cosigned).is_err(), "the origin is another's");
        assert_eq!(split(&format!("{note}{cosigned}\n{note}")), [&note, &cosigned, &note]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\u{2014} |[a-z+/=0-9]{0,9}|\n|\n\n|.){0,12}") {
            let _parsed = (text.parse::<Verifier>(), Checkpoint::unverified(&text), split(&text));
            let _key = Signer::from_secret_text(&text).is_ok();
            let _opened = Signer::new(&[1; 32]).verifier().open(&text).is_ok();
        }
    }
}
