//! `authz replay`: what was decided, decided again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::show::{Painter, Tone, escape, unless_closed};
use crate::ledger::{Decision, Readers, Time};
use crate::policy::{Effect, PolicySource};
use crate::replay::report::{Count, Named, Ruling};
use crate::replay::{self, ByOther, Options, Report};

/// Decide again what was decided
#[derive(Debug, Args)]
#[command(
    long_about = "Decide again what was decided, each recorded input under the policy it was decided by. Every output hash \
                  must come out again: else the entries are named and the status is 1. With --policy, print besides what \
                  that policy would change; this alone is no failure.",
    after_help = "Examples:
  authz replay --since 7d
  authz replay --session 0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11 --json
  authz replay --since 7d --policy preset:coding-agent --policy ./stricter.rego"
)]
pub struct Replay {
    /// Only this session
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// Only since a time (2026-11-21T10:00:00Z, 2026-11-21) or for so long (90s, 30m, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = super::ledger::since)]
    since: Option<Time>,
    /// Another policy to decide by: a folder, a file or preset:NAME; may be repeated
    #[arg(long, value_name = "POLICY")]
    policy: Vec<PolicySource>,
    #[arg(long, value_name = "DIR", help = super::STATE_HELP)]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let state = super::state_or_default(self.state)?;
        let mut reader = Readers::open(&state)
            .with_context(|| format!("no ledger in {}; name the folder with --state", state.display()))?;
        let options = Options {
            session: self.session,
            since: self.since,
            policy: self.policy,
            bundles: bundles(&state),
            threads: 0,
        };
        let bar = bar(reader.signed());
        let report = replay::run(&mut reader, &options, |read, time| show(&bar, read, time));
        bar.finish_and_clear();
        let report = report?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        let printed =
            if self.json { json(&mut out, &report) } else { print(&mut out, &report, Painter::stdout()) };
        unless_closed(printed.and_then(|()| out.flush()))?;
        if let Some(notice) = reader.notice() {
            eprintln!("authz: {}", escape(notice));
        }
        Ok(ExitCode::from(u8::from(!report.is_fine())))
    }
}

/// Beside the ledgers of a state folder, or, for a folder of one ledger, beside that.
pub(super) fn bundles(state: &Path) -> Vec<PathBuf> {
    let above = state.parent().filter(|_| state.join("ledger").is_dir());
    [Some(state), above].into_iter().flatten().map(|folder| folder.join("bundles")).collect()
}

/// A bar on a terminal, on standard error, that says how far the reading is; elsewhere nothing.
pub(super) fn bar(entries: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {human_pos} of {human_len} entries, {per_sec}, {eta} left; at {msg}",
    );
    ProgressBar::new(entries).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

pub(super) fn show(bar: &ProgressBar, read: u64, time: Time) {
    if !bar.is_hidden() {
        bar.set_message(time.to_string().chars().take(19).chain(['Z']).collect::<String>());
    }
    bar.set_position(read);
}

fn json(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut value = serde_json::to_value(report)?;
    value["entries"] = report.entries().into();
    value["fine"] = report.is_fine().into();
    writeln!(out, "{value:#}")
}

fn print(out: &mut impl Write, report: &Report, painter: Painter) -> io::Result<()> {
    let not_compared: u64 = report.not_compared.values().map(|count| count.entries).sum();
    writeln!(
        out,
        "{} entries: {} the same, {} different, {not_compared} not compared; {} evaluations",
        report.entries(),
        report.same.entries,
        report.different.entries,
        report.evaluations,
    )?;
    for why in &report.missing {
        writeln!(out, "{}", painter.paint(Tone::Bad, &escape(why)))?;
    }
    if !report.not_compared.is_empty() {
        writeln!(out, "\n{:<50} {:>10} {:>10}", "NOT COMPARED", "ENTRIES", "OPERATIONS")?;
        for (class, count) in &report.not_compared {
            writeln!(out, "{:<50} {}", class.describe(), numbers(count))?;
        }
    }
    if !report.differences.is_empty() {
        writeln!(out, "\nDIFFERENT")?;
    }
    for difference in &report.differences {
        writeln!(out, "{}", named(&difference.entry))?;
        let recorded = difference.recorded.as_ref().map_or_else(|| "nothing".to_owned(), decision);
        let what = difference.what.describe();
        let line = format!("{what}; recorded {recorded}, replayed {}", decision(&difference.replayed));
        writeln!(out, "    {}", painter.paint(Tone::Bad, &line))?;
    }
    let more = report.different.entries - report.differences.len() as u64;
    if more > 0 {
        writeln!(out, "and {more} more")?;
    }
    report.other.as_ref().map_or(Ok(()), |other| changes(out, other, painter))
}

fn changes(out: &mut impl Write, other: &ByOther, painter: Painter) -> io::Result<()> {
    let changed: u64 = other.changes.iter().map(|change| change.count.entries).sum();
    writeln!(out, "\nBy the other policy: {} entries unchanged, {changed} changed", other.unchanged.entries)?;
    if other.undecided.entries > 0 {
        writeln!(out, "{} entries depend on chance, which was not recorded", other.undecided.entries)?;
    }
    if !other.changes.is_empty() {
        writeln!(out, "{:<24} {:<24} {:>10} {:>10}", "BEFORE", "AFTER", "ENTRIES", "OPERATIONS")?;
    }
    for change in &other.changes {
        let tone = match change.after.effect {
            Effect::Allow => Tone::Good,
            Effect::Compute | Effect::Escalate => Tone::Care,
            Effect::Deny => Tone::Bad,
        };
        let after = format!("{:<24}", ruling(&change.after));
        writeln!(
            out,
            "{:<24} {} {}",
            ruling(&change.before),
            painter.paint(tone, &after),
            numbers(&change.count)
        )?;
        for example in &change.examples {
            writeln!(out, "    {}", named(example))?;
        }
    }
    Ok(())
}

fn numbers(count: &Count) -> String {
    format!("{:>10} {:>10}", count.entries, count.operations)
}

fn named(entry: &Named) -> String {
    let time: String = entry.time.to_string().chars().take(23).collect();
    format!("{time}Z {} {} {}", entry.decision_id, escape(&entry.action), escape(&entry.resource))
}

fn ruling(ruling: &Ruling) -> String {
    format!("{} {}", ruling.effect.as_str(), escape(&ruling.rules.join(", ")))
}

fn decision(decision: &Decision) -> String {
    let rules: Vec<_> = decision.rules.iter().map(|rule| rule.id.as_str()).collect();
    format!("{} {}", decision.effect.as_str(), escape(&rules.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::report::Count;
    use crate::replay::{Change, Class, Difference, What};

    #[test]
    fn what_agents_wrote_is_shown_harmless() {
        let entry = Named {
            time: Time(0),
            seq: 5,
            decision_id: Uuid::from_u128(1),
            session: None,
            action: "file.read".into(),
            resource: "/x\u{1b}[2J\n".into(),
        };
        let count = Count { entries: 1, operations: 50 };
        let rules = vec!["\u{1b}rule".to_owned()];
        let change = Change {
            before: Ruling { effect: Effect::Allow, rules: rules.clone() },
            after: Ruling { effect: Effect::Deny, rules },
            count,
            examples: vec![entry.clone()],
        };
        let mut report = Report::default();
        report.same = Count { entries: 3, operations: 3 };
        report.different = Count { entries: 7, operations: 7 };
        let replayed = Decision::deny("\u{1b}", "");
        report.differences = vec![Difference { what: What::Output, entry, recorded: None, replayed }];
        report.not_compared = [(Class::Human, count)].into();
        report.missing = vec!["\u{1b}".into()];
        report.other = Some(ByOther { changes: vec![change], ..ByOther::default() });
        let mut out = Vec::new();
        print(&mut out, &report, Painter::plain()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            text.starts_with("11 entries: 3 the same, 7 different, 1 not compared; 0 evaluations\n"),
            "{text}"
        );
        for line in ["and 6 more", "answered by a human", "allow \\u{1b}rule", "file.read /x\\u{1b}[2J\\n"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let mut out = Vec::new();
        json(&mut out, &report).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["entries"], &value["fine"]), (&11.into(), &false.into()));
        assert_eq!(value["other"]["changes"][0]["examples"][0]["seq"], 5);
    }

    #[test]
    fn a_folder_of_one_ledger_has_its_policies_beside_or_above() {
        let folder = tempfile::tempdir().unwrap();
        let one = folder.path().join("one");
        std::fs::create_dir_all(one.join("ledger")).unwrap();
        assert_eq!(bundles(folder.path()), [folder.path().join("bundles")]);
        assert_eq!(bundles(&one), [one.join("bundles"), folder.path().join("bundles")]);
    }
}
