//! `authz policy learn`: a policy made from recorded sessions, for a person to edit and keep.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::show::{escape, unless_closed};
use super::{STATE_HELP, replay, state_or_default};
use crate::learn::{self, Beyond, Learned, Options};
use crate::ledger::{Readers, Time};
use crate::policy::PolicySource;

/// Propose the narrowest readable policy that would have allowed what recorded sessions did.
#[derive(Debug, Args)]
#[command(
    after_help = "Every recorded input is evaluated again. What the base allows is left out: the policy that the session ran under, or
what --beyond names (`nothing`: what is learned stands alone). What a rule of the base denies or holds is named, not
proposed; what could undo the enforcement, and what preset:coding-agent denies, is proposed behind a #. In the end
everything is evaluated by both together, and what is still denied is told. Record with `authz exec --mode observe`, and
with --audit-each if reads count that the base of the recording allows.

Examples:
  authz exec --mode observe --policy ./base.rego -- npm test && authz policy learn --since 10m -o npm.rego
  authz policy learn --session 0193b1f2 --beyond preset:coding-agent
  authz policy learn --since 2h --beyond preset:coding-agent --beyond ./mine.rego --json | jq -r .policy
  authz exec --policy ./base.rego --policy npm.rego -- npm test"
)]
pub struct Learn {
    /// Only this session, by its id or the beginning of it; may be repeated
    #[arg(long, value_name = "ID")]
    session: Vec<String>,
    /// Only since a time (2026-11-21T10:00:00Z, 2026-11-21) or for so long (90s, 30m, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = super::ledger::since)]
    since: Option<Time>,
    /// What is allowed already: a folder, a file or preset:NAME, may be repeated; or `nothing`
    #[arg(long, value_name = "POLICY")]
    beyond: Vec<String>,
    /// Write the policy there, where nothing is yet, instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    state: Option<PathBuf>,
    /// Print JSON: the policy, and what came of it
    #[arg(long)]
    json: bool,
}

impl Learn {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let state = state_or_default(self.state)?;
        let mut reader = Readers::open(&state)
            .with_context(|| format!("no ledger in {}; name the folder with --state", state.display()))?;
        let beyond = match &self.beyond[..] {
            [] => Beyond::Own,
            [one] if one == "nothing" => Beyond::Nothing,
            named => Beyond::Named(
                named.iter().map(|text| text.parse::<PolicySource>()).collect::<Result<_, _>>()?,
            ),
        };
        let sessions = self.session.iter().map(|id| id.to_ascii_lowercase()).collect();
        let bundles = replay::bundles(&state);
        let options = Options { sessions, since: self.since, beyond, bundles };
        let bar = replay::bar(reader.signed());
        let learned = learn::run(&mut reader, &options, |read, time| replay::show(&bar, read, time));
        bar.finish_and_clear();
        let learned = learned?;
        if let Some(file) = &self.output {
            let written = OpenOptions::new().write(true).create_new(true).open(file);
            written.and_then(|mut file| file.write_all(learned.policy.as_bytes())).with_context(|| {
                format!("{}: cannot be written; name a file that is not there yet", file.display())
            })?;
        }
        let mut out = io::stdout().lock();
        let printed = match (self.json, &self.output) {
            (true, _) => {
                let json = serde_json::to_string(&learned)?;
                writeln!(out, "{}", crate::text::escape_json(&json))
            }
            (false, None) => out.write_all(learned.policy.as_bytes()),
            (false, Some(_)) => Ok(()),
        };
        unless_closed(printed.and_then(|()| out.flush()))?;
        if !self.json {
            eprint!("{}", report(&learned));
        }
        if let Some(notice) = reader.notice() {
            eprintln!("authz: {}", escape(notice));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What came of it, in lines.
fn report(learned: &Learned) -> String {
    let Learned { operations, covered, allowed, rules, .. } = learned;
    let still: u64 = learned.denied.iter().map(|denied| denied.operations).sum();
    let mut text = format!(
        "authz: {operations} operations of {} sessions: {covered} were allowed already, {allowed} are by the {rules} rules learned, {still} are still not\n",
        learned.sessions.len()
    );
    for denied in &learned.denied {
        text += &format!(
            "  {} not, by {}: {} (e.g. {})\n",
            denied.operations,
            escape(&denied.rules.join(", ")),
            escape(&denied.why),
            escape(&denied.example)
        );
    }
    if learned.counted > 0 {
        text += &format!(
            "  {} reads were only counted; --audit-each of authz exec records each\n",
            learned.counted
        );
    }
    if learned.unclear > 0 {
        text +=
            &format!("  {} were decided without the policy, and cannot be learned from\n", learned.unclear);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::Denied;

    #[test]
    fn a_report_says_what_is_still_denied() {
        let denied = Denied {
            rules: vec!["prod\n".into()],
            why: "a rule of the base denies it: prod".into(),
            operations: 3,
            example: "/prod/x".into(),
        };
        let learned = Learned {
            policy: String::new(),
            sessions: Default::default(),
            operations: 10,
            covered: 5,
            allowed: 2,
            denied: vec![denied],
            counted: 7,
            unclear: 0,
            rules: 1,
        };
        let text = report(&learned);
        assert!(text.starts_with("authz: 10 operations of 0 sessions: 5 were allowed already, 2 are by the 1 rules learned, 3 are still not\n"), "{text}");
        assert!(
            text.contains("  3 not, by prod\\n: a rule of the base denies it: prod (e.g. /prod/x)\n"),
            "{text}"
        );
        assert!(text.contains("7 reads were only counted") && !text.contains("without the policy"), "{text}");
    }
}
