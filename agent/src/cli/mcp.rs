//! `authz mcp`: a server for agents' tools under policy, with the gate in front of it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use uuid::Uuid;

use super::exec::{ASK_VARIABLE, Beside, Exec};
use crate::control::{Client, Request, Response};
use crate::mcp::daemon::Daemon;
use crate::mcp::stdio::{self, Ends, Event};
use crate::mcp::{Gate, Options, Shared};
use crate::paths::{ASK, Owner};
use crate::sys::peer::{pidfd_open, pidfd_signal};

/// Run an MCP server under policy, and judge what it is asked.
#[derive(Debug, Args)]
#[command(
    mut_arg("command", |command| command.required(false).required_unless_present("listen")),
    after_help = "Speaks the protocol on standard input and output; put it where the client's configuration has the server's
command. With --listen it is Streamable HTTP to a server elsewhere, whose system calls nobody here sees. Inside a session of `authz exec` the calls are judged there, and the server belongs to that session.

Examples:
  authz mcp --server filesystem -- npx -y @modelcontextprotocol/server-filesystem ~/project
  authz mcp --server git --policy preset:coding-agent --policy ./mine.rego --serialize -- uvx mcp-server-git
  authz mcp --server search --listen 127.0.0.1:8808 --upstream https://mcp.example.com/mcp"
)]
pub struct Mcp {
    /// The server's name: its tools are NAME/tool to the policy
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    server: String,
    /// One call at a time, so that each system call belongs to one call for certain
    #[arg(long)]
    serialize: bool,
    /// Ask about held calls by `authz approve` only, not at the client too
    #[arg(long)]
    no_elicit: bool,
    /// Serve Streamable HTTP on this loopback address, instead of a command on standard input and output
    #[arg(long, value_name = "ADDRESS:PORT", requires = "upstream", conflicts_with = "command")]
    listen: Option<SocketAddr>,
    /// The server behind it
    #[arg(long, value_name = "URL", requires = "listen")]
    upstream: Option<String>,
    #[command(flatten)]
    exec: Exec,
}

fn server_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("a name has letters, digits, dots, dashes and underscores, at most 64".into());
    }
    Ok(text.to_owned())
}

impl Mcp {
    /// Runs it.
    pub fn run(mut self) -> anyhow::Result<ExitCode> {
        self.exec.name_it(&self.server);
        let options = Options {
            server: self.server,
            serialize: self.serialize,
            elicit: !self.no_elicit,
            mode: self.exec.mode(),
            cwd: std::env::current_dir().ok(),
            home: self.exec.home()?,
            session: None,
        };
        if let Some((address, url)) = self.listen.zip(self.upstream) {
            return super::listen::run(self.exec.policy_alone()?, options, address, &url);
        }
        if let Some(socket) = session_socket() {
            return inside(&socket, self.exec.command(), options);
        }
        self.exec.run_beside(&mut Beneath { options, running: None })
    }
}

/// The gate in front of a server that runs in a session of its own.
struct Beneath {
    options: Options,
    running: Option<(SyncSender<Event>, JoinHandle<()>)>,
}

impl Beside for Beneath {
    fn prepare(&self, command: &mut Command) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
    }

    fn begin(&mut self, child: &mut Child, socket: &Path, session: Uuid) -> anyhow::Result<()> {
        let options = Options { session: Some(session), ..self.options.clone() };
        self.running = Some(start(child, socket, options)?);
        Ok(())
    }

    fn end(&mut self) {
        if let Some((events, gate)) = self.running.take() {
            events.send(Event::Ended).ok();
            gate.join().ok();
        }
    }
}

/// Starts the gate of a server.
fn start(
    child: &mut Child,
    socket: &Path,
    options: Options,
) -> anyhow::Result<(SyncSender<Event>, JoinHandle<()>)> {
    let (sender, events) = stdio::mailbox();
    let answers = sender.clone();
    let answered = move |call, view| drop(answers.send(Event::Answered(call, view)));
    let gate = Gate::new(options, Arc::new(Shared::default()), Daemon::new(socket, answered));
    let ends = Ends {
        client_in: std::io::stdin(),
        client_out: std::io::stdout(),
        server_out: child.stdout.take().context("the server has no output")?,
        server_in: child.stdin.take().context("the server has no input")?,
    };
    let server = pidfd_open(child.id() as i32).context("cannot watch the server")?;
    let mailbox = (sender.clone(), events);
    let relay = move || {
        // It may have ended by itself just now.
        let signal = |signal| drop(pidfd_signal(&server, signal));
        if let Err(error) = stdio::relay(gate, ends, mailbox, signal) {
            eprintln!("authz: the gate failed: {error}");
        }
    };
    let thread = std::thread::Builder::new().name("authz-gate".into()).spawn(relay)?;
    Ok((sender, thread))
}

/// The socket of the session that this process is in, if it is in one.
fn session_socket() -> Option<PathBuf> {
    let socket = PathBuf::from(std::env::var_os(ASK_VARIABLE)?);
    // Only where daemons of root or of this user are: whoever made another one is nobody to ask.
    let folder = socket.parent()?.parent()?;
    let ours = socket.file_name()? == ASK && Owner::this().run_roots().iter().any(|root| root == folder);
    let mut client = ours.then(|| Client::within(&socket, Duration::from_secs(5)).ok())??;
    let inside = client.ask(&Request::Denials { session: None });
    matches!(inside, Ok(Response::Denials { .. })).then_some(socket)
}

/// The gate in front of a server that runs in this process's own session.
fn inside(socket: &Path, words: &[OsString], options: Options) -> anyhow::Result<ExitCode> {
    let [program, arguments @ ..] = words else { bail!("no command") };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot execute {}", program.to_string_lossy()))?;
    let (events, gate) = start(&mut child, socket, options)?;
    let status = child.wait().context("cannot wait for the server")?;
    events.send(Event::Ended).ok();
    gate.join().ok();
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(code as u8))
}
