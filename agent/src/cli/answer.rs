//! `authz pending`, `approve`, `deny`, `sessions`, `mode`: what a human tells the daemons.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use uuid::Uuid;

use super::show::escape;
use crate::control::{self, Client, Request, Response, SessionView};
use crate::event::Mode;
use crate::hold::PendingView;

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_millis(500);

/// How long a daemon may take to respond; root asks those of all users.
const PATIENCE: Duration = Duration::from_secs(10);

/// List the operations that wait.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  authz pending
  authz pending --watch
  authz pending --json | jq '.[].resource'")]
pub struct Pending {
    /// Print each new one until interrupted
    #[arg(long)]
    watch: bool,
    /// As JSON: an array, or with --watch an object a line
    #[arg(long)]
    json: bool,
}

/// Approve an operation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  authz approve 3f9a2c1d
  authz approve 3f9a2c1d --for session
  authz approve 3f9a2c1d --for 10m --reason 'ticket 4711'")]
pub struct Approve {
    /// The operation's id, or its last four or more digits
    id: String,
    /// once, session, or a time such as 10m
    #[arg(long = "for", value_name = "SCOPE", default_value = "once")]
    scope: String,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Deny an operation.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  authz deny 3f9a2c1d --reason 'not during the freeze'")]
pub struct Deny {
    /// The operation's id, or its last four or more digits
    id: String,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// List the live sessions.
#[derive(Debug, Args)]
pub struct SessionsCommand {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Switch a session's mode.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  authz mode 0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11 observe")]
pub struct ModeCommand {
    /// The session
    session: Uuid,
    /// The mode
    #[arg(value_enum)]
    mode: Mode,
}

/// Asks every live daemon; a socket nobody listens on is one of a dead daemon.
pub(super) fn ask_all(request: &Request) -> Vec<Response> {
    let ask = |socket: &std::path::PathBuf| Client::within(socket, PATIENCE).ok()?.ask(request).ok();
    control::sockets().iter().filter_map(ask).collect()
}

/// The one daemon that can do it does it; else its error, or the last one.
fn ask_any(request: &Request, json: bool) -> anyhow::Result<ExitCode> {
    let responses = ask_all(request);
    if responses.iter().any(|response| matches!(response, Response::Done)) {
        if json {
            println!("{}", serde_json::json!({ "done": true }));
        }
        return Ok(ExitCode::SUCCESS);
    }
    match responses.into_iter().next_back() {
        Some(Response::Error { error }) => bail!("{error}"),
        _ => bail!("no session is live that you may control"),
    }
}

fn pending() -> Vec<PendingView> {
    let views = ask_all(&Request::Pending).into_iter().filter_map(|response| match response {
        Response::Pending { pending } => Some(pending),
        _ => None,
    });
    views.flatten().collect()
}

/// The digits that suffice to answer.
fn short(id: &Uuid) -> String {
    let text = id.simple().to_string();
    text[text.len() - 8..].to_owned()
}

fn line(view: &PendingView) -> String {
    let rule = view.decision.rules.first();
    format!(
        "{}  {} {}  (agent {}, process {}, {} s left){}",
        short(&view.id),
        view.action,
        escape(&view.resource),
        escape(&view.agent),
        view.pid,
        view.left_ms / 1000,
        rule.map(|rule| format!(": {} [{}]", escape(&rule.reason), escape(&rule.id))).unwrap_or_default(),
    )
}

impl Pending {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout();
        if !self.watch {
            let views = pending();
            if self.json {
                writeln!(out, "{}", serde_json::to_string_pretty(&views)?)?;
            } else {
                for view in &views {
                    writeln!(out, "{}", line(view))?;
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut seen = std::collections::HashSet::new();
        loop {
            let views = pending();
            for view in &views {
                if seen.insert(view.id) {
                    if self.json {
                        writeln!(out, "{}", serde_json::to_string(view)?)?;
                    } else {
                        writeln!(out, "{}", line(view))?;
                    }
                }
            }
            out.flush()?;
            seen.retain(|id| views.iter().any(|view| view.id == *id));
            std::thread::sleep(WATCH);
        }
    }
}

impl Approve {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { id, scope, reason, json } = self;
        ask_any(&Request::Answer { id, approve: true, scope, reason }, json)
    }
}

impl Deny {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { id, reason, json } = self;
        ask_any(&Request::Answer { id, approve: false, scope: String::new(), reason }, json)
    }
}

impl SessionsCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let sessions: Vec<SessionView> = ask_all(&Request::Sessions)
            .into_iter()
            .filter_map(|response| match response {
                Response::Sessions { sessions } => Some(sessions),
                _ => None,
            })
            .flatten()
            .collect();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&sessions)?);
            return Ok(ExitCode::SUCCESS);
        }
        for view in &sessions {
            println!(
                "{}  {}  {}  process {}, {} operations, {} denied, {} held",
                view.session,
                if view.mode == Mode::Enforce { "enforce" } else { "observe" },
                escape(&view.name),
                view.pid,
                view.stats.operations,
                view.stats.denied,
                view.stats.held,
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl ModeCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        ask_any(&Request::SetMode { session: self.session, mode: self.mode }, false)
    }
}
