//! `authz trace`: a session as a tree.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::show::{Painter, Tone, escape, unless_closed};
use crate::ledger::{Readers, Time};
use crate::policy::Effect;
use crate::trace::{self, CallTree, Node, SessionTree};

/// Print a session as a tree: its tool calls, and what was seen under each
#[derive(Debug, Args)]
#[command(
    long_about = "Print a session as a tree: its tool calls with what was decided and what they declare, and under each \
                  the operations that were seen, with verdict and rule. Marked !! is what contradicts the declaration: an \
                  effect outside the arguments of a call whose tool is known (data.authz.tools), after the call's end, or \
                  with no call open. Reads that were allowed are counted only.",
    after_help = "Examples:
  authz trace 0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11
  authz trace toolu_01A09q90qw90lq917835lq9 --all
  authz trace 0af7651916cd43dd8448eb211c80319c --json"
)]
pub struct TraceCommand {
    /// A session, trace, span, tool call or decision, or the beginning of its id
    id: String,
    /// Print what was read and allowed too
    #[arg(long)]
    all: bool,
    #[arg(long, value_name = "DIR", help = super::STATE_HELP)]
    state: Option<PathBuf>,
    /// Print JSON, with every operation
    #[arg(long)]
    json: bool,
}

impl TraceCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let state = super::state_or_default(self.state)?;
        let entries = || {
            let readers = Readers::open(&state)
                .with_context(|| format!("no ledger in {}; name the folder with --state", state.display()))?;
            anyhow::Ok(readers.map(|record| Ok(record?.entry)))
        };
        let target =
            trace::find(entries()?, &self.id).map_err(|error| anyhow::anyhow!(escape_error(&error)))?;
        let trees = trace::build(entries()?, target)?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        let printed = if self.json {
            serde_json::to_writer_pretty(&mut out, &trees)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            let mut tree = Tree { out: &mut out, painter: Painter::stdout(), all: self.all };
            trees.iter().try_for_each(|session| tree.session(session))
        };
        unless_closed(printed.and_then(|()| out.flush()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn escape_error(error: &trace::TraceError) -> String {
    escape(&error.to_string()).into_owned()
}

struct Tree<'a, W: Write> {
    out: &'a mut W,
    painter: Painter,
    all: bool,
}

/// An operation, and how many like it there are.
struct Line<'a> {
    node: &'a Node,
    count: u64,
}

impl<W: Write> Tree<'_, W> {
    fn session(&mut self, session: &SessionTree) -> io::Result<()> {
        let agent = session.agent.as_deref().unwrap_or("?");
        let end = session.end.map_or_else(|| "not ended".to_owned(), clock);
        let start = session.start.map_or_else(|| "?".to_owned(), |time| time.to_string());
        writeln!(self.out, "session {}  {}", session.session, escape(agent))?;
        writeln!(
            self.out,
            "  from {start} to {end}, policy {}",
            session.policy.as_deref().map_or("?".into(), escape)
        )?;
        if let Some(trace) = session.trace_id {
            writeln!(self.out, "  trace {trace}")?;
        }
        for call in &session.calls {
            self.call(call)?;
        }
        self.part("of several calls", &session.ambiguous, session)?;
        self.part("under no call", &session.outside, session)?;
        if session.unrecorded > 0 {
            writeln!(self.out, "{} operations left no record", session.unrecorded)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &CallTree) -> io::Result<()> {
        let text = |name: &str| call.detail.get(name).and_then(|value| value.as_str());
        let Some((own, implied)) = call.declared.split_first().filter(|_| call.call.is_some()) else {
            writeln!(self.out, "+- span {}: its call is not in the ledger", call.span_id)?;
            return self.operations(&call.operations, None);
        };
        let end = match (call.end, &call.outcome) {
            (Some(end), Some(outcome)) => format!("{} {}", clock(end), escape(outcome)),
            _ if call.effect >= Some(Effect::Escalate) => "not begun".into(),
            _ => "not ended".into(),
        };
        let verdict = self.verdict(own);
        writeln!(self.out, "+- {} {}  {verdict}", clock(own.time), escape(&call.tool))?;
        let named = text("call_id").map_or_else(String::new, |id| format!("call {}, ", escape(id)));
        let source =
            text("source").map_or_else(String::new, |source| format!(", told by a {}", escape(source)));
        writeln!(self.out, "|     {named}span {}, {end}{source}", call.span_id)?;
        for node in implied {
            let line = self.line(&Line { node, count: node.count }, None);
            writeln!(self.out, "|  declares {line}")?;
        }
        self.operations(&call.operations, None)
    }

    fn part(&mut self, name: &str, nodes: &[Node], session: &SessionTree) -> io::Result<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        writeln!(self.out, "+- {name}")?;
        self.operations(nodes, Some(session))
    }

    fn operations(&mut self, nodes: &[Node], session: Option<&SessionTree>) -> io::Result<()> {
        let (lines, left_out) = lines(nodes, self.all);
        for line in &lines {
            let text = self.line(line, session);
            writeln!(self.out, "|  +- {text}")?;
        }
        if left_out > 0 {
            writeln!(self.out, "|  +- and {left_out} reads and loads, allowed")?;
        }
        Ok(())
    }

    fn line(&self, line: &Line<'_>, session: Option<&SessionTree>) -> String {
        let node = line.node;
        let mut text = format!("{} {}", escape(node.action.as_str()), escape(&node.resource));
        if let Some(instead) = &node.instead {
            text += &format!(" -> {}", escape(instead));
        }
        text += &format!("  {}", self.verdict(node));
        if line.count > 1 {
            text += &format!("  {} times", line.count);
        }
        if let Some(what) = node.contradicts {
            text += &format!("  {}", self.painter.paint(Tone::Bad, &format!("!! {}", what.describe())));
        }
        if let Some(session) = session.filter(|_| !node.candidates.is_empty()) {
            let tool = |span: &String| {
                let call = session.calls.iter().find(|call| call.span_id.to_string() == *span);
                format!("{} {}", call.map_or("?".into(), |call| escape(&call.tool)), escape(span))
            };
            let candidates: Vec<_> = node.candidates.iter().map(tool).collect();
            text += &format!("  ({})", candidates.join(", "));
        }
        text
    }

    fn verdict(&self, node: &Node) -> String {
        let tone = match node.answer.unwrap_or(node.effect) {
            Effect::Allow => Tone::Good,
            Effect::Compute | Effect::Escalate => Tone::Care,
            Effect::Deny => Tone::Bad,
        };
        let rules: Vec<_> = node.rules.iter().map(|rule| escape(&rule.id)).collect();
        let answer = node.answer.map_or_else(String::new, |answer| format!(", answered {answer}"));
        let word = if node.enforced { node.effect.to_string() } else { format!("({})", node.effect) };
        format!("{} [{}]", self.painter.paint(tone, &format!("{word}{answer}")), rules.join(", "))
    }
}

/// The operations, alike ones once; and how many plain reads were left out.
fn lines(nodes: &[Node], all: bool) -> (Vec<Line<'_>>, u64) {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut left_out = 0;
    let mut known = std::collections::HashMap::new();
    for node in nodes {
        let plain =
            matches!(node.action.as_str(), "file.read" | "process.exec") && node.effect == Effect::Allow;
        let program = node.action.as_str() == "process.exec" && !is_library(&node.resource);
        if !all && plain && !program && node.contradicts.is_none() {
            left_out += node.count;
            continue;
        }
        let key = (
            node.action.as_str(),
            &node.resource,
            node.effect,
            node.answer,
            node.contradicts,
            &node.candidates,
        );
        match known.get(&key) {
            Some(place) => {
                let line: &mut Line<'_> = &mut lines[*place];
                line.count += node.count;
            }
            None => {
                known.insert(key, lines.len());
                lines.push(Line { node, count: node.count });
            }
        }
    }
    (lines, left_out)
}

/// By its name, as loaders name them: only what is printed depends on it.
fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".so") || name.contains(".so.")
}

fn clock(time: Time) -> String {
    time.to_string().chars().skip(11).take(12).collect()
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
