//! `authz ledger verify` and `authz ledger prove`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use data_encoding::BASE64;
use serde_json::json;

use super::{Output, escape, instances, matches, open};
use crate::ledger::consistency::{self, Consistency};
use crate::ledger::note::{self, Checkpoint, Verifier};
use crate::ledger::proof::{self, Proof};
use crate::ledger::{LedgerError, key, ledger_of, likely_first, verify as check};

/// What to verify, against what.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VerifyArgs {
    /// State folders, folders of one instance, or copies of either [default: --state]
    pub folders: Vec<PathBuf>,
    /// Only this entry, by its inclusion proof: a decision id or the beginning of one, or its number in a ledger
    #[arg(long, value_name = "ID|NUMBER", conflicts_with = "proof")]
    pub entry: Option<String>,
    /// Also that the ledgers continue the checkpoints in this file, as `export --checkpoint` wrote them
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// The public key, a file or NAME+HASH+BASE64 [default: key.pub of the folder, which proves less]
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A proof that `prove` wrote; no ledger is needed. One of `prove --from` is held against --against
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "folders")]
    pub proof: Option<PathBuf>,
    /// One JSON object a ledger
    #[arg(long)]
    pub json: bool,
}

/// Which entry to prove.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  authz ledger prove 0193b1f2 > entry.tlog-proof
  authz ledger verify --proof entry.tlog-proof --key ./key.pub
  authz ledger prove --from ./checkpoint > grown.proof           # one ledger's, as `export --checkpoint` wrote it
  authz ledger verify --proof grown.proof --against ./checkpoint --key ./key.pub")]
pub struct ProveArgs {
    /// The decision id, or the beginning of it; of several entries under it, the first
    #[arg(required_unless_present = "from")]
    pub id: Option<String>,
    /// Instead, that a ledger only grew since its checkpoint in this file, as `export --checkpoint` wrote it; of several
    /// of one ledger, the last
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "json"])]
    pub from: Option<PathBuf>,
    /// As JSON instead of C2SP tlog-proof
    #[arg(long)]
    pub json: bool,
}

/// Verifies; the status is 1 if anything is wrong.
pub(super) fn verify<W: Write>(
    args: &VerifyArgs,
    state: &Path,
    out: &mut Output<W>,
) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.proof {
        return verify_proof(args, file, out);
    }
    let folders = if args.folders.is_empty() { vec![state.to_owned()] } else { args.folders.clone() };
    let against = args.against.as_deref().map(Against::read).transpose()?;
    let mut failed = false;
    let mut count = 0;
    for folder in folders {
        for instance in instances(&folder)? {
            // Another ledger's: nothing to say.
            let Some(found) = one(args, &folder, &instance, against.as_ref()).transpose() else { continue };
            count += 1;
            failed |= found.is_err();
            out.verified(args.json, &ledger_of(&instance), found)?;
        }
    }
    if count == 0 {
        bail!(
            "{}",
            match &args.entry {
                Some(entry) => format!("no entry {entry:?}; `authz ledger list` prints the ids"),
                None => "no ledger to verify; name a folder".into(),
            }
        );
    }
    if let Some(against) = against.filter(|_| args.entry.is_none()) {
        for missing in against.unseen() {
            failed = true;
            let error =
                anyhow::anyhow!("{}: the ledger is missing; it had {} entries", missing.origin, missing.size);
            out.verified(args.json, Path::new("-"), Err(error))?;
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// What a ledger was found to be, in words, and for programs.
struct Found {
    words: String,
    json: serde_json::Value,
}

/// None: the entry that is looked for is not in this ledger.
fn one(
    args: &VerifyArgs,
    folder: &Path,
    instance: &Path,
    against: Option<&Against>,
) -> anyhow::Result<Option<Found>> {
    let ledger = ledger_of(instance);
    let (key, given) = match &args.key {
        Some(text) => (read_key(text)?, true),
        None => (own_key(folder, instance)?, false),
    };
    if let Some(entry) = &args.entry {
        return one_entry(entry, instance, &key);
    }
    let verified = settled(&ledger, &key)?;
    let mut words = match &verified.checkpoint {
        Some(checkpoint) => format!("{} entries, signed by {}", checkpoint.size, key.name()),
        None => "nothing signed yet".into(),
    };
    if verified.pruned > 0 {
        words += &format!(", {} pruned", verified.pruned);
    }
    if verified.unsigned > 0 {
        words += &format!(", {} not signed yet", verified.unsigned);
    }
    let mut continues = None;
    if let Some(against) = against {
        let checkpoint = verified.checkpoint.as_ref();
        let old = checkpoint.map(|checkpoint| against.of(checkpoint, &key)).transpose()?.unwrap_or_default();
        for checkpoint in &old {
            check::extends(&ledger, &key, checkpoint)?;
        }
        let last = old.iter().map(|checkpoint| checkpoint.size).max();
        words += &last.map_or_else(
            || ", no checkpoint to hold it against".into(),
            |last| format!(", continues the {last} of before"),
        );
        continues = last;
    }
    if !given {
        words += "; the key came with it";
    }
    let checkpoint = verified.checkpoint.as_ref();
    let json = json!({
        "ledger": ledger, "ok": true, "origin": checkpoint.map(|c| &c.origin), "size": checkpoint.map(|c| c.size),
        "root": checkpoint.map(|c| BASE64.encode(&c.root)), "pruned": verified.pruned, "unsigned": verified.unsigned,
        "key": key.to_string(), "key_given": given, "continues": continues,
    });
    Ok(Some(Found { words, json }))
}

/// Verifies again if a daemon signed another checkpoint meanwhile: the files may not have been of one moment.
fn settled(ledger: &Path, key: &Verifier) -> Result<check::Verified, LedgerError> {
    let note = || std::fs::read(ledger.join("checkpoint")).ok();
    for _ in 0..5 {
        let before = note();
        match check::verify(ledger, key) {
            Err(_) if note() != before => {}
            result => return result,
        }
    }
    check::verify(ledger, key)
}

fn one_entry(wanted: &str, instance: &Path, key: &Verifier) -> anyhow::Result<Option<Found>> {
    let ledger = ledger_of(instance);
    let index = match wanted.parse::<u64>() {
        // The beginning of an id that says anything has eight digits.
        Ok(number) if wanted.len() < 8 => Some(number),
        _ => index_of(instance, wanted)?,
    };
    let Some(index) = index else { return Ok(None) };
    let proof = proof::prove(&ledger, key, index)?;
    let (entry, checkpoint) = proof.check(key)?;
    Ok(Some(Found {
        words: format!("entry {index}, {}, is among the {} signed ones", entry.id, checkpoint.size),
        json: json!({"ledger": ledger, "ok": true, "entry": index, "decision_id": entry.id, "size": checkpoint.size}),
    }))
}

/// The place of the first entry under an id.
fn index_of(instance: &Path, wanted: &str) -> anyhow::Result<Option<u64>> {
    let wanted = wanted.to_lowercase();
    for record in open(instance, None)? {
        let record = record?;
        if matches(&record.entry.id.to_string(), &wanted) {
            return Ok(Some(record.entry.seq));
        }
    }
    Ok(None)
}

fn verify_proof<W: Write>(args: &VerifyArgs, file: &Path, out: &mut Output<W>) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let key = read_key(args.key.as_deref().unwrap_or_default())?;
    if Consistency::is(&text) {
        return verify_growth(args, file, &text, &key, out);
    }
    if args.against.is_some() {
        bail!("{}: a proof of one entry; --against is for those of prove --from", file.display());
    }
    let checked = Proof::parse(&text).and_then(|proof| Ok((proof.check(&key)?, proof)));
    let ((entry, checkpoint), proof) = checked.with_context(|| file.display().to_string())?;
    if args.json {
        out.write(&format!("{}\n", String::from_utf8_lossy(&proof.entry)))?;
    } else {
        let head = format!(
            "entry {} of {} in {}, signed by {}\n\n",
            proof.index,
            checkpoint.size,
            escape(&checkpoint.origin),
            escape(key.name())
        );
        out.write(&head)?;
        let record = crate::ledger::Record { entry, bytes: proof.entry };
        let fields = out.fields(&record)?;
        out.write(&fields)?;
    }
    super::unless_closed(out.to.flush())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the proof of an entry.
pub(super) fn prove<W: Write>(
    args: &ProveArgs,
    state: &Path,
    out: &mut Output<W>,
) -> anyhow::Result<ExitCode> {
    if let Some(from) = &args.from {
        return prove_growth(from, state, out);
    }
    let id = args.id.as_deref().unwrap_or_default();
    for instance in likely_first(instances(state)?, id) {
        let Some(index) = index_of(&instance, id)? else { continue };
        let ledger = ledger_of(&instance);
        let proof = proof::prove(&ledger, &own_key(state, &instance)?, index)?;
        let text = if args.json { format!("{}\n", proof.to_json()) } else { proof.to_text() };
        out.write(&text)?;
        super::unless_closed(out.to.flush())?;
        return Ok(ExitCode::SUCCESS);
    }
    bail!("no entry {id:?}; `authz ledger list` prints the ids");
}

/// Prints the proof that a ledger continues an older checkpoint of it.
fn prove_growth<W: Write>(from: &Path, state: &Path, out: &mut Output<W>) -> anyhow::Result<ExitCode> {
    let old = Against::read(from)?.only(from)?;
    for instance in instances(state)? {
        let ledger = ledger_of(&instance);
        let key = own_key(state, &instance)?;
        if check::checkpoint(&ledger, &key)?.is_none_or(|now| now.origin != old.1.origin) {
            continue;
        }
        let old = key.checkpoint(&old.0).with_context(|| from.display().to_string())?;
        out.write(&consistency::prove(&ledger, &key, &old)?.to_text())?;
        super::unless_closed(out.to.flush())?;
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{}: no ledger in {}", escape(&old.1.origin), state.display());
}

fn verify_growth<W: Write>(
    args: &VerifyArgs,
    file: &Path,
    text: &str,
    key: &Verifier,
    out: &mut Output<W>,
) -> anyhow::Result<ExitCode> {
    let Some(against) = &args.against else {
        bail!("{}: give the older checkpoint, which you kept, by --against", file.display());
    };
    let (note, _) = Against::read(against)?.only(against)?;
    let old = key.checkpoint(&note).context("--against")?;
    let checked = Consistency::parse(text).and_then(|proof| proof.check(key, &old));
    let new = checked.with_context(|| file.display().to_string())?;
    let line = if args.json {
        json!({
            "ok": true, "origin": new.origin, "size": new.size, "root": BASE64.encode(&new.root), "continues": old.size,
        })
        .to_string()
    } else {
        format!(
            "{}: {} entries continue the {} of before, signed by {}",
            new.origin,
            new.size,
            old.size,
            key.name()
        )
    };
    out.write(&format!("{}\n", if args.json { line.into() } else { escape(&line) }))?;
    super::unless_closed(out.to.flush())?;
    Ok(ExitCode::SUCCESS)
}

/// A key in a file, or written out.
fn read_key(text: &str) -> anyhow::Result<Verifier> {
    match text.parse() {
        Ok(key) => Ok(key),
        Err(_) => Ok(key::public(Path::new(text)).context("--key")?),
    }
}

/// The public key beside a ledger: that of the state folder, else the ledger's copy.
pub(super) fn own_key(folder: &Path, instance: &Path) -> Result<Verifier, LedgerError> {
    let places = [Some(folder), instance.parent(), Some(instance)];
    let place = places.into_iter().flatten().map(|place| place.join(key::PUBLIC)).find(|path| path.exists());
    key::public(&place.unwrap_or_else(|| ledger_of(instance).join(key::PUBLIC)))
}

/// Checkpoints that were kept elsewhere.
struct Against {
    notes: Vec<(String, Checkpoint)>,
    seen: std::cell::RefCell<Vec<String>>,
}

impl Against {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let notes =
            note::split(&text).into_iter().map(|note| Ok((note.to_owned(), Checkpoint::unverified(note)?)));
        let notes: Vec<_> =
            notes.collect::<Result<_, note::NoteError>>().with_context(|| file.display().to_string())?;
        if notes.is_empty() {
            bail!("{}: no checkpoint in it", file.display());
        }
        Ok(Self { notes, seen: Default::default() })
    }

    /// The last checkpoint, if all are of one ledger.
    fn only(self, file: &Path) -> anyhow::Result<(String, Checkpoint)> {
        let mut notes = self.notes;
        notes.sort_by_key(|(_, checkpoint)| checkpoint.size);
        let last = notes.pop().context("no checkpoint")?;
        if notes.iter().any(|(_, checkpoint)| checkpoint.origin != last.1.origin) {
            bail!("{}: checkpoints of several ledgers; keep that of one in it", file.display());
        }
        Ok(last)
    }

    /// Those of a ledger, each with a good signature.
    fn of(&self, now: &Checkpoint, key: &Verifier) -> anyhow::Result<Vec<Checkpoint>> {
        self.seen.borrow_mut().push(now.origin.clone());
        let same = self.notes.iter().filter(|(_, checkpoint)| checkpoint.origin == now.origin);
        same.map(|(note, _)| key.checkpoint(note).context("--against")).collect()
    }

    /// The last checkpoint of each ledger that was not met.
    fn unseen(&self) -> Vec<&Checkpoint> {
        let seen = self.seen.borrow();
        let mut last: std::collections::BTreeMap<&str, &Checkpoint> = Default::default();
        for (_, checkpoint) in self.notes.iter().filter(|(_, checkpoint)| !seen.contains(&checkpoint.origin))
        {
            let known = last.entry(&checkpoint.origin).or_insert(checkpoint);
            if checkpoint.size > known.size {
                *known = checkpoint;
            }
        }
        last.into_values().collect()
    }
}

impl<W: Write> Output<W> {
    fn verified(&mut self, json: bool, ledger: &Path, found: anyhow::Result<Found>) -> anyhow::Result<()> {
        let line = match (json, found) {
            (true, Ok(found)) => found.json.to_string(),
            (true, Err(error)) => {
                json!({"ledger": ledger, "ok": false, "error": format!("{error:#}")}).to_string()
            }
            (false, Ok(found)) => format!("{}: {}", escape(&ledger.to_string_lossy()), escape(&found.words)),
            (false, Err(error)) => {
                let word = self.painter.paint(super::Tone::Bad, "NOT WHOLE");
                format!("{word} {}", escape(&format!("{error:#}")))
            }
        };
        self.write(&format!("{line}\n"))?;
        Ok(super::unless_closed(self.to.flush())?)
    }
}
