//! The command line.

mod answer;
mod daemon;
mod denials;
mod doctor;
mod exec;
mod hook;
mod install;
mod learn;
mod ledger;
mod listen;
mod live;
mod mcp;
mod named;
mod policy;
mod reload;
mod replay;
mod show;
mod trace;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};

use crate::paths::Owner;
use crate::policy::decision::duration;
use policy::PolicyCommand;

/// How `--state` is described: its default depends on the user.
const STATE_HELP: &str = "Folder of ledgers and policy bundles [default: /var/lib/authz; of an ordinary user \
                          $XDG_STATE_HOME/authz, else ~/.local/state/authz]";

/// The folder of ledgers and policy bundles, as named or the user's own.
fn state_or_default(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        // The daemon works in another folder.
        Some(path) => std::path::absolute(&path).with_context(|| format!("--state {}", path.display())),
        None => Ok(Owner::this().state()?),
    }
}

/// Policy paths as the daemon, in another folder, must see them.
fn absolute(policy: &[String]) -> anyhow::Result<Vec<String>> {
    policy
        .iter()
        .map(|text| {
            if text.starts_with("preset:") {
                return Ok(text.clone());
            }
            let path = std::path::absolute(text).with_context(|| format!("policy {text}"))?;
            Ok(path.to_string_lossy().into_owned())
        })
        .collect()
}

/// The folders an agent works in, with links resolved; none named: the current one.
fn workspaces(named: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let folders = if named.is_empty() {
        vec![std::env::current_dir().context("cannot tell the current folder")?]
    } else {
        let real = |folder: &PathBuf| {
            folder.canonicalize().with_context(|| format!("workspace {}", folder.display()))
        };
        named.iter().map(real).collect::<Result<_, _>>()?
    };
    Ok(folders.iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

/// `30s`, `5m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| format!("{text:?} is no time; write e.g. 30s or 5m"))
}

/// authz binds the execution of AI agents to policy.
#[derive(Debug, Parser)]
#[command(
    name = "authz",
    version,
    max_term_width = 100,
    after_help = "Examples:
  authz exec --policy preset:prod-readonly -- bash
  authz exec --policy preset:coding-agent --policy ./mine.rego -- claude
  authz pending --watch
  authz approve 3f9a2c1d --for 10m
  authz ledger list --effect deny"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command under policy
    Exec(exec::Exec),
    /// Run an MCP server under policy, and judge what it is asked
    Mcp(mcp::Mcp),
    /// List the operations that wait for an answer
    Pending(answer::Pending),
    /// Let an operation that waits go through
    Approve(answer::Approve),
    /// Refuse an operation that waits
    Deny(answer::Deny),
    /// List the live sessions
    Sessions(answer::SessionsCommand),
    /// Switch a live session between enforce and observe
    Mode(answer::ModeCommand),
    /// Load a live session's policy anew, or another one
    Reload(reload::Reload),
    /// Say what this kernel and user can enforce, and how to close each gap
    Doctor(doctor::DoctorArgs),
    /// Work on policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Read the record of decisions, verify it, prove an entry
    #[command(after_help = "Examples:
  authz ledger list --effect deny --since 2h
  authz ledger verify
  authz ledger verify --key ./authz.pub --against ./checkpoints ./copy-of-state
  authz ledger prove 0193b1f2 > entry.tlog-proof
  authz ledger verify --proof entry.tlog-proof --key ./authz.pub
  authz ledger export --checkpoint >> /mnt/elsewhere/checkpoints")]
    Ledger {
        #[arg(long, global = true, value_name = "DIR", help = STATE_HELP)]
        state: Option<PathBuf>,
        #[command(subcommand)]
        command: ledger::LedgerCommand,
    },
    Replay(replay::Replay),
    Trace(trace::TraceCommand),
    Denials(denials::Denials),
    /// Decide for other gates, by a policy alone
    Daemon(daemon::DaemonCommand),
    /// Decide about a tool call that an agent announces: the command of its own hooks
    Hook(hook::Hook),
    /// Put `authz hook` into an agent's settings, or take it out
    Install(install::Install),
    /// Print completions for a shell
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Write the man pages
    Man {
        /// Into which folder
        folder: PathBuf,
    },
}

/// Runs the command line; the status is the process's.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let own =
        matches!(cli.command, Command::Exec(_) | Command::Mcp(_) | Command::Policy(PolicyCommand::Why(_)));
    let failed = if own { exec::FAILED } else { 1 };
    let result = match cli.command {
        Command::Exec(exec) => exec.run(),
        Command::Mcp(mcp) => mcp.run(),
        Command::Pending(pending) => pending.run(),
        Command::Approve(approve) => approve.run(),
        Command::Deny(deny) => deny.run(),
        Command::Sessions(sessions) => sessions.run(),
        Command::Mode(mode) => mode.run(),
        Command::Reload(reload) => reload.run(),
        Command::Doctor(args) => doctor::run(&args),
        Command::Policy(command) => policy::run(command),
        Command::Ledger { state, command } => {
            state_or_default(state).and_then(|state| ledger::run(&command, &state))
        }
        Command::Replay(replay) => replay.run(),
        Command::Hook(hook) => Ok(hook.run()),
        Command::Install(install) => install.run(),
        Command::Trace(trace) => trace.run(),
        Command::Denials(denials) => denials.run(),
        Command::Daemon(command) => command.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "authz", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { folder } => man(&folder),
    };
    result.unwrap_or_else(|error| {
        eprintln!("authz: {error:#}");
        ExitCode::from(failed)
    })
}

fn man(folder: &std::path::Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("cannot write man pages into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
