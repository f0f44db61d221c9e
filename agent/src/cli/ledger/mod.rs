//! `authz ledger`: what was decided, and whether the record of it is whole.

mod export;
mod prune;
mod verify;

use std::collections::VecDeque;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use uuid::Uuid;

use super::show::{Painter, Tone, escape, escape_json, fit, unless_closed};
use crate::event::{ACTIONS, ActionName};
use crate::ledger::{Effect, Entry, Kind, Readers, Record, Time};

/// What to do with the ledger.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum LedgerCommand {
    /// Print entries, the oldest first
    List(ListArgs),
    /// Print everything recorded under a decision id
    Show(ShowArgs),
    /// Check entries, tiles, signatures: nothing changed, removed, put in or put elsewhere
    Verify(verify::VerifyArgs),
    /// Print one entry with all that proves it, or that a ledger only grew, for somebody who has the public key only
    Prove(verify::ProveArgs),
    /// Print entries as decision log events of OPA, or the signed checkpoints
    Export(export::ExportArgs),
    /// Take away old entries; what was signed stays verifiable
    Prune(prune::PruneArgs),
}

/// Which entries to print.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListArgs {
    /// Only of this session
    #[arg(long, value_name = "ID")]
    pub session: Option<Uuid>,
    /// Only with this effect
    #[arg(long, value_parser = effect)]
    pub effect: Option<Effect>,
    /// Only of this action, such as file.write
    #[arg(long, value_parser = action)]
    pub action: Option<ActionName>,
    /// Only since a time (2026-11-21T10:00:00Z, 2026-11-21) or for so long (90s, 30m, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Time>,
    /// Only the last N that match; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// One JSON object a line, as stored
    #[arg(long)]
    pub json: bool,
}

/// Which entry to print.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// The decision id, or the beginning of it if no other has the same
    pub id: String,
    /// One JSON object a line, as stored
    #[arg(long)]
    pub json: bool,
}

fn action(text: &str) -> Result<ActionName, String> {
    let names = || ACTIONS.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    match ActionName::from(text.to_owned()) {
        ActionName::Other(name) if ActionName::is_reserved(&name) => {
            Err(format!("no such action; there are {}, and those of other gates", names()))
        }
        name => Ok(name),
    }
}

fn effect(text: &str) -> Result<Effect, String> {
    let names = || Effect::ALL.map(Effect::as_str).join(", ");
    Effect::from_name(text).ok_or_else(|| format!("no such effect; there are {}", names()))
}

pub(super) fn since(text: &str) -> Result<Time, String> {
    let seconds = text.char_indices().next_back().and_then(|(last, unit)| {
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        text[..last].parse::<u64>().ok()?.checked_mul(unit)
    });
    match seconds {
        Some(seconds) => {
            let nanos = u64::try_from(Duration::from_secs(seconds).as_nanos()).unwrap_or(u64::MAX);
            Ok(Time(Time::now().0.saturating_sub(nanos)))
        }
        None => text.parse().map_err(|error| format!("{error}, or a span such as 2h")),
    }
}

/// Runs `authz ledger` on the state folder.
pub fn run(command: &LedgerCommand, state: &Path) -> anyhow::Result<ExitCode> {
    let mut out = Output {
        to: BufWriter::new(io::stdout().lock()),
        painter: Painter::stdout(),
        terminal: io::stdout().is_terminal(),
    };
    match command {
        LedgerCommand::List(args) => out.list(open(state, args.session)?, args),
        LedgerCommand::Show(args) => {
            out.show(Readers::of_id(state, &args.id).with_context(|| no_ledger(state))?, args)
        }
        LedgerCommand::Verify(args) => verify::verify(args, state, &mut out),
        LedgerCommand::Prove(args) => verify::prove(args, state, &mut out),
        LedgerCommand::Export(args) => export::export(args, state, &mut out),
        LedgerCommand::Prune(args) => prune::prune(args, state, &mut out),
    }
}

/// The entries of a state folder, at least those of the session.
fn open(state: &Path, session: Option<Uuid>) -> anyhow::Result<Readers> {
    let readers = match session {
        Some(session) => Readers::of_session(state, session),
        None => Readers::open(state),
    };
    readers.with_context(|| no_ledger(state))
}

/// The folders of a state folder that have a ledger.
fn instances(state: &Path) -> anyhow::Result<Vec<PathBuf>> {
    crate::ledger::instances(state).with_context(|| no_ledger(state))
}

fn no_ledger(state: &Path) -> String {
    format!("no ledger in {}; name the folder with --state", state.display())
}

struct Output<W: Write> {
    to: W,
    painter: Painter,
    terminal: bool,
}

impl<W: Write> Output<W> {
    fn list(&mut self, mut reader: Readers, args: &ListArgs) -> anyhow::Result<ExitCode> {
        let mut last = VecDeque::new();
        if !args.json {
            let head = format!(
                "{:<24} {:<36} {:<9} {:<17} {:<8} RESOURCE\n",
                "TIME", "ID", "EFFECT", "ACTION", "BY"
            );
            self.write(&head)?;
        }
        for record in reader.by_ref() {
            let record = record?;
            if !args.matches(&record.entry) {
                continue;
            }
            let line = if args.json { self.json(&record) } else { self.row(&record.entry) };
            if args.limit == 0 {
                if !self.write(&line)? {
                    return Ok(ExitCode::SUCCESS);
                }
            } else {
                last.push_back(line);
                last.drain(..last.len().saturating_sub(args.limit));
            }
        }
        for line in last {
            self.write(&line)?;
        }
        self.finish(&reader)
    }

    fn show(&mut self, mut reader: Readers, args: &ShowArgs) -> anyhow::Result<ExitCode> {
        let wanted = args.id.to_lowercase();
        let mut found: Option<Uuid> = None;
        while let Some(record) = reader.next() {
            let record = record?;
            if wanted.is_empty() || !matches(&record.entry.id.to_string(), &wanted) {
                continue;
            }
            if found.is_some_and(|id| id != record.entry.id) {
                bail!("{:?} begins more than one id; write more of it", args.id);
            }
            if record.entry.id.to_string() == wanted {
                // All that is under an id is in one ledger, and this is all of the id.
                reader.end_with_this();
            }
            let text = if args.json { self.json(&record) } else { self.fields(&record)? };
            if found.replace(record.entry.id).is_some() && !args.json {
                self.write("\n")?;
            }
            self.write(&text)?;
        }
        if found.is_none() {
            bail!("no entry {:?}; `authz ledger list` prints the ids", args.id);
        }
        self.finish(&reader)
    }

    /// False: nobody reads any more.
    fn write(&mut self, text: &str) -> io::Result<bool> {
        match self.to.write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn finish(&mut self, reader: &Readers) -> anyhow::Result<ExitCode> {
        unless_closed(self.to.flush())?;
        if let Some(notice) = reader.notice() {
            eprintln!("authz: {}", escape(notice));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn json(&self, record: &Record) -> String {
        let line = String::from_utf8_lossy(&record.bytes);
        // For a program, the bytes as they are; for eyes, the same JSON without what acts on a terminal.
        if self.terminal { format!("{}\n", escape_json(&line)) } else { format!("{line}\n") }
    }

    fn row(&self, entry: &Entry) -> String {
        let (word, tone) = outcome(entry);
        let time: String = entry.time.to_string().chars().take(23).collect();
        let by = entry.decided_by.and_then(|by| serde_json::to_value(by).ok());
        let what = match &entry.action {
            Some(action) => escape(action.as_str()),
            None => entry.kind.as_str().into(),
        };
        let mut row = format!(
            "{time}Z {:<36} {} {what:<17} {:<8} {}",
            entry.id,
            self.painter.paint(tone, &fit(&word, 9)),
            by.as_ref().and_then(Value::as_str).unwrap_or("-"),
            subject_of(entry),
        );
        if let Some(count) = entry.count {
            row += &format!(" ({count} times)");
        }
        row + "\n"
    }

    fn fields(&self, record: &Record) -> anyhow::Result<String> {
        let Value::Object(fields) = serde_json::to_value(&record.entry)? else { return Ok(String::new()) };
        let mut text = String::new();
        for (name, value) in fields {
            let (name, value) = (escape(&name).into_owned(), value);
            match value {
                Value::String(value) => text += &format!("{name:<14} {}\n", escape(&value)),
                Value::Object(members) if !members.is_empty() && name != "input" => {
                    for (index, (member, value)) in members.iter().enumerate() {
                        let head = if index == 0 { name.as_str() } else { "" };
                        text += &format!("{head:<14} {}: {}\n", escape(member), escape_json(&plain(value)));
                    }
                }
                value => text += &format!("{name:<14} {}\n", escape_json(&value.to_string())),
            }
        }
        Ok(text)
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| escape(text).into_owned())
}

impl ListArgs {
    fn matches(&self, entry: &Entry) -> bool {
        self.session.is_none_or(|session| entry.session == Some(session))
            && self.effect.is_none_or(|effect| entry.decision.as_ref().is_some_and(|d| d.effect == effect))
            && self.action.as_ref().is_none_or(|action| entry.action.as_ref() == Some(action))
            && self.since.is_none_or(|since| entry.time >= since)
    }
}

/// `deny`, or `(deny)` if it was not enforced.
fn outcome(entry: &Entry) -> (String, Tone) {
    let Some(decision) = &entry.decision else {
        let tone = if matches!(entry.kind, Kind::Gap | Kind::Finding) { Tone::Bad } else { Tone::Plain };
        return ("-".into(), tone);
    };
    let tone = match decision.effect {
        Effect::Allow => Tone::Good,
        Effect::Compute | Effect::Escalate => Tone::Care,
        Effect::Deny => Tone::Bad,
    };
    let name = decision.effect.as_str();
    (if entry.enforced == Some(false) { format!("({name})") } else { name.into() }, tone)
}

fn subject_of(entry: &Entry) -> String {
    let mut text = match (&entry.resource, entry.causes.first()) {
        (Some(resource), _) => escape(&resource.id).into_owned(),
        (None, Some(cause)) => escape(cause).into_owned(),
        (None, None) => entry.session.map_or_else(String::new, |session| session.to_string()),
    };
    if let Some(other) = entry.enforced_id.as_ref().filter(|id| entry.requested_id.as_ref() != Some(*id)) {
        text += &format!(" -> {}", escape(other));
    }
    text
}

/// By its beginning, or by the last eight digits that `authz pending` shows.
fn matches(id: &str, wanted: &str) -> bool {
    id.starts_with(wanted) || (wanted.len() >= 8 && id.replace('-', "").ends_with(wanted))
}

#[cfg(test)]
mod tests;
