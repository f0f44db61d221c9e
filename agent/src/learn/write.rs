//! Rules as Rego that a person reads: one line each of what is allowed, above it what speaks for it.

use std::fmt::Write as _;

use super::evidence::{cut, seconds};
use super::propose::{Predicate, Proposal, Rule};
use super::seen::Seen;
use super::{Beyond, Options};
use crate::policy::{Effect, PolicySource};
use crate::text::{escape, escape_json};

/// What the agent is told of a rule that allows; nobody reads it but in the record.
const REASON: &str = "Seen in the sessions that this was learned from.";

/// The text of the policy.
pub(super) fn policy(proposal: &Proposal, seen: &Seen, options: &Options) -> String {
    let mut text = head(seen, options);
    text += "package authz\n";
    if proposal.rules.is_empty() {
        text += "\n# Nothing is proposed.\n";
    }
    for rule in &proposal.rules {
        text += "\n";
        text += &lines(rule);
    }
    if !proposal.aside.is_empty() {
        text += "\n# Not proposed. Take the # away only from what you know and want.\n";
    }
    for aside in &proposal.aside {
        comment(&mut text, &format!("\n{}:", escape(&aside.why)));
        lines(&aside.rule).lines().for_each(|line| comment(&mut text, line));
    }
    if !proposal.refused.is_empty() {
        text += "\n# Not to be allowed by a rule beside these, which are stricter:\n";
    }
    for (effect, rule, evidence) in &proposal.refused {
        let what = if *effect == Effect::Escalate { "asks a human" } else { "denies" };
        let reason =
            if rule.reason.is_empty() { String::new() } else { format!(" ({})", escape(&rule.reason)) };
        comment(&mut text, &format!("{} {what}{reason}", escape(&rule.id)));
        let example =
            if evidence.resources == 1 { format!(", {}", escape(&evidence.example)) } else { String::new() };
        comment(&mut text, &format!("    {evidence}{example}"));
    }
    text
}

/// From what it was learned, and how it is used.
fn head(seen: &Seen, options: &Options) -> String {
    let mut text = String::new();
    let operations: u64 = seen.operations.iter().map(|operation| operation.evidence.count).sum();
    let times = seen.operations.iter().filter_map(|operation| operation.evidence.times);
    let span = times.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)));
    let span =
        span.map(|(first, last)| format!(", {} to {}", seconds(first), seconds(last))).unwrap_or_default();
    comment(&mut text, &format!("Learned by authz from {operations} operations{span}."));
    comment(&mut text, "Read each line, take out what should not be, and keep the rest.");
    let mut sources: Vec<String> = match &options.beyond {
        Beyond::Own => seen.sources.values().flatten().cloned().collect(),
        Beyond::Nothing => Vec::new(),
        Beyond::Named(sources) => sources
            .iter()
            .map(|source| match source {
                PolicySource::Path(path) => path.display().to_string(),
                PolicySource::Preset(name) => format!("preset:{name}"),
            })
            .collect(),
    };
    let mut kept = std::collections::HashSet::new();
    sources.retain(|source| kept.insert(source.clone()));
    let base: String = sources.iter().map(|source| format!("--policy {} ", shell(source))).collect();
    comment(&mut text, &format!("It is used so: authz exec {}--policy THIS_FILE -- COMMAND", escape(&base)));
    for (id, session) in &seen.sessions {
        let agent = session.agent.as_deref().unwrap_or("an agent");
        let modes = session.modes.iter().copied().collect::<Vec<_>>().join(" and ");
        comment(
            &mut text,
            &format!("session {id}: {}, {modes}, {} operations", escape(agent), session.operations),
        );
    }
    if seen.counted > 0 {
        let counted = seen.counted;
        comment(
            &mut text,
            &format!("{counted} reads more were allowed from memory, and are on record as a number only:"),
        );
        comment(
            &mut text,
            "nothing is learned from them. With authz exec --audit-each the record has their names.",
        );
    }
    if seen.unclear > 0 {
        comment(&mut text, &format!("{} operations more were decided without the policy.", seen.unclear));
    }
    text
}

/// A word of a command line.
fn shell(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |word| word.into_owned())
}

/// Bytes that a line of Rego may have, with some to spare.
pub(super) const LINE: usize = 900;

/// Adds a comment; what has several lines has several.
fn comment(text: &mut String, line: &str) {
    for line in line.split('\n') {
        // Writing to a string cannot fail.
        writeln!(text, "{}", format!("# {}", cut(line, LINE)).trim_end()).ok();
    }
}

/// A rule.
fn lines(rule: &Rule) -> String {
    let mut text = format!(
        "allow contains {{\n\t\"id\": {},\n\t\"reason\": {},\n}} if {{\n",
        literal(&rule.id),
        literal(REASON)
    );
    for condition in &rule.conditions {
        writeln!(text, "\t{condition}").ok();
    }
    let (before, after) = match rule.test {
        Predicate::Under => ("under(input.resource.id, {", "})"),
        Predicate::Glob => ("glob(input.resource.id, {", "})"),
        Predicate::Is => ("is(input.resource.id, {", "})"),
        Predicate::Host => ("some host in input.resource.properties.names\n\thost in {", "}"),
        Predicate::Any => {
            rule.lines.iter().for_each(|(_, evidence)| {
                writeln!(text, "\t# {evidence}").ok();
            });
            text += "}\n";
            return text;
        }
    };
    writeln!(text, "\t{before}").ok();
    for (line, evidence) in &rule.lines {
        writeln!(text, "\t\t# {evidence}\n\t\t{},", literal(line)).ok();
    }
    writeln!(text, "\t{after}\n}}").ok();
    text
}

/// A text as Rego has it, which is as JSON has it, without characters that act on a terminal.
pub(super) fn literal(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    escape_json(&json).into_owned()
}
