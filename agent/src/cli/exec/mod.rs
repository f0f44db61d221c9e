//! `authz exec`: a command under policy.

mod identity;
mod supervise;
mod wait;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use nix::sys::signal::SigSet;
use uuid::Uuid;

use super::daemon::{HttpArgs, OtlpArgs};
use super::{STATE_HELP, absolute, parse_duration, state_or_default, workspaces};
use crate::control::{Client, Request, Response, StartSession, Started};
use crate::enforce::choice::{Choice, Wanted};
use crate::enforce::landlock::Laid;
use crate::enforce::level::{Backend, Level};
use crate::enforce::probe::Probe;
use crate::event::Mode;
use crate::paths;
use crate::session::Stats;
use crate::sys::spawn::{Confinement, spawn_gated};
use identity::Identity;

/// authz itself failed: as env(1), nice(1) and their like have it.
pub const FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The environment variable by which gates inside a session find the socket where they ask.
pub const ASK_VARIABLE: &str = "AUTHZ_SOCKET";

/// Run a command under policy.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: that of CMD; 125 authz itself failed, 126 CMD cannot be executed, 127 CMD was not found.

Examples:
  sudo authz exec --policy preset:coding-agent -- claude
  sudo authz exec --policy ./policies --mode observe -- npm test
  sudo authz exec --policy preset:prod-readonly --require full --user dev -- bash -i
  authz exec --otlp=http://localhost:4318 -- claude"
)]
pub struct Exec {
    /// Folder, file or preset:NAME; may be repeated
    #[arg(long, value_name = "POLICY", default_value = "preset:coding-agent")]
    policy: Vec<String>,
    /// Whether decisions bind
    #[arg(long, value_enum, default_value = "enforce")]
    mode: Mode,
    /// What makes them bind
    #[arg(long, value_enum, default_value = "auto")]
    backend: Wanted,
    /// The agent's name, for policy and ledger [default: that of CMD]
    #[arg(long)]
    name: Option<String>,
    /// Run CMD as this user [default: who called sudo, else root]
    #[arg(long)]
    user: Option<String>,
    /// Refuse to run if less is enforced
    #[arg(long, value_enum, default_value = "partial")]
    require: Level,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    state: Option<PathBuf>,
    /// How long a held operation waits for an answer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    hold_timeout: Duration,
    /// Folder the agent works in; may be repeated [default: the current one]
    #[arg(long, value_name = "DIR")]
    workspace: Vec<PathBuf>,
    /// Record every read that is allowed from memory too, not only how many
    #[arg(long)]
    audit_each: bool,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    otlp: OtlpArgs,
    /// Print start and summary as JSON
    #[arg(long)]
    json: bool,
    /// Print neither start nor summary
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Be the supervisor, and report the command's status to this descriptor
    #[arg(long, hide = true, value_name = "FD", requires = "because")]
    supervisor: Option<i32>,
    /// Why its caller has chosen seccomp
    #[arg(long, hide = true, value_name = "WHY")]
    because: Option<String>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

/// What runs beside the command, outside its session.
pub trait Beside {
    /// Says where the command's input and output go.
    fn prepare(&self, _command: &mut Command) {}

    /// The command runs, in its session; `socket` is the daemon's.
    fn begin(&mut self, _child: &mut Child, _socket: &Path, _session: Uuid) -> anyhow::Result<()> {
        Ok(())
    }

    /// The command has ended.
    fn end(&mut self) {}
}

/// Nothing does.
struct Nothing;

impl Beside for Nothing {}

impl Exec {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.run_beside(&mut Nothing)
    }

    /// The agent's name, unless it was given.
    pub fn name_it(&mut self, name: &str) {
        self.name.get_or_insert_with(|| name.to_owned());
    }

    /// Whether decisions bind.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The home folder that the command finds in its environment.
    pub fn home(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(Identity::of(self.user.as_deref())?.home())
    }

    /// The command's words.
    pub fn command(&self) -> &[std::ffi::OsString] {
        &self.command
    }

    /// A daemon that decides by the same policy, and holds no process; it begins with the session and ends by a
    /// signal.
    pub fn policy_alone(&self) -> anyhow::Result<crate::daemon::Options> {
        let session =
            StartSession { require: Level::None, ..self.request_for(nix::unistd::Uid::effective())? };
        Ok(crate::daemon::Options {
            state: self.state()?,
            instance: Uuid::now_v7().simple().to_string(),
            embedded: false,
            backend: Backend::None,
            session: Some(session),
            http: self.http.resolve()?,
            otlp: self.otlp.resolve()?,
            loaded: None,
        })
    }

    /// Runs it, and something beside it.
    pub fn run_beside(self, beside: &mut dyn Beside) -> anyhow::Result<ExitCode> {
        // From here on terminal signals are the agent's; others are passed on by `wait`.
        let signals = wait::block_signals()?;
        if let Some((report, why)) = self.supervisor.zip(self.because.clone()) {
            let choice = Choice { backend: Backend::Seccomp, why };
            return supervise::run(&self, &choice, &signals, report, beside);
        }
        let probe = Probe::run();
        let choice = probe.choose(self.backend)?;
        if choice.backend == Backend::Seccomp {
            return supervise::start(&choice, &signals);
        }
        let instance = Uuid::now_v7().simple().to_string();
        match self.start_daemon(&instance)? {
            Ok((daemon, socket)) => self.run_under_lsm(&choice, daemon, &socket, &signals, beside),
            Err(refused) => {
                let choice = probe.choose_without_lsm(self.backend, self.require, &refused)?;
                supervise::start(&choice, &signals)
            }
        }
    }

    /// The daemon is a process of its own: what it leaves in the kernel outlives it.
    fn run_under_lsm(
        &self,
        choice: &Choice,
        mut daemon: Child,
        socket: &Path,
        signals: &SigSet,
        beside: &mut dyn Beside,
    ) -> anyhow::Result<ExitCode> {
        let mut client = connect(socket)?;
        match self.launch(&mut client, socket, choice, None, beside)? {
            Launched::Running(child, session) => {
                let status = wait::wait(child, signals)?;
                beside.end();
                self.summary(&mut client, session.session);
                Ok(ExitCode::from(status))
            }
            Launched::NotExecuted(status, session) => {
                self.summary(&mut client, session.session);
                Ok(ExitCode::from(status))
            }
            Launched::Refused(why) => {
                daemon.wait().context("cannot wait for the daemon")?;
                bail!("{why}")
            }
        }
    }

    /// Starts the daemon of one session; its control socket, or why its programs do not load.
    fn start_daemon(&self, instance: &str) -> anyhow::Result<Result<(Child, PathBuf), String>> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("authz")
            .args(["daemon", "--embedded", "--instance", instance, "--state"])
            .arg(self.state()?);
        if let Some((address, token)) = self.http.resolve()? {
            command.arg(format!("--http={address}")).arg("--http-token").arg(token);
        }
        if let Some(url) = self.otlp.resolve()? {
            command.arg(format!("--otlp={url}"));
        }
        let mut daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .current_dir("/")
            .spawn()
            .context("cannot start the daemon")?;
        let out = daemon.stdout.take().context("the daemon has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).context("cannot read from the daemon")?;
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(socket) = said["socket"].as_str() {
            return Ok(Ok((daemon, socket.into())));
        }
        let status = daemon.wait().context("cannot wait for the daemon")?;
        match said[super::daemon::REFUSED].as_str() {
            Some(why) => Ok(Err(why.to_owned())),
            None => bail!("the daemon did not start ({status}); its reason is above"),
        }
    }

    fn state(&self) -> anyhow::Result<PathBuf> {
        state_or_default(self.state.clone())
    }

    /// Starts the command, in its session before it executes anything.
    fn launch(
        &self,
        client: &mut Client,
        socket: &Path,
        choice: &Choice,
        confined: Option<(Confinement, Laid)>,
        beside: &mut dyn Beside,
    ) -> anyhow::Result<Launched> {
        let identity = Identity::of(self.user.as_deref())?;
        let mut request = self.request(&identity)?;
        let (confinement, floor) = confined.unzip();
        request.floor = floor.clone();
        let mut started = None;
        let mut command = identity.prepare(&self.command);
        // Where the agent's own hooks ask about tool calls.
        command.env(ASK_VARIABLE, socket.with_file_name(paths::ASK));
        beside.prepare(&mut command);
        let child = spawn_gated(command, identity.credentials, confinement, |pid, listener| {
            let request = StartSession { pid, listener, ..request };
            match client.ask(&Request::StartSession(request))? {
                Response::Started(session) => {
                    self.announce(&session, choice, floor.as_ref());
                    started = Some(session);
                    Ok(())
                }
                Response::Error { error } => Err(std::io::Error::other(Refused(error))),
                _ => Err(std::io::Error::other("the daemon gave a response of another kind")),
            }
        });
        match (child, started) {
            (Ok(mut child), Some(session)) => {
                beside.begin(&mut child, socket, session.session)?;
                Ok(Launched::Running(child, session))
            }
            (Ok(_), None) => bail!("the command ran without a session; this is an error of authz"),
            (Err(error), None) => Ok(Launched::Refused(error.to_string())),
            (Err(error), Some(session)) => {
                eprintln!("authz: cannot execute {}: {error}", self.command[0].to_string_lossy());
                let missing = error.kind() == std::io::ErrorKind::NotFound;
                let status = if missing { NOT_FOUND } else { NOT_EXECUTABLE };
                Ok(Launched::NotExecuted(status, session))
            }
        }
    }

    /// What the session is started with, but for what only the child knows.
    fn request(&self, identity: &Identity) -> anyhow::Result<StartSession> {
        self.request_for(identity.uid)
    }

    fn request_for(&self, owner: nix::unistd::Uid) -> anyhow::Result<StartSession> {
        let name = self.name.clone().unwrap_or_else(|| {
            let program = Path::new(&self.command[0]).file_name().unwrap_or_default();
            program.to_string_lossy().into_owned()
        });
        Ok(StartSession {
            name,
            mode: self.mode,
            policy: absolute(&self.policy)?,
            workspace: workspaces(&self.workspace)?,
            hold_timeout_ms: self.hold_timeout.as_millis() as u64,
            owner: owner.as_raw(),
            pid: 0,
            audit_each: self.audit_each,
            require: self.require,
            listener: None,
            floor: None,
        })
    }

    fn announce(&self, session: &Started, choice: &Choice, floor: Option<&Laid>) {
        if self.json {
            let start = serde_json::json!({
                "started": session, "mode": self.mode, "backend": choice, "floor": floor,
            });
            eprintln!("{start}");
        } else if !self.quiet {
            let floor = floor.filter(|laid| laid.tracing || !laid.missing.is_empty());
            eprintln!(
                "authz: {} by {choice}, {}{}; policy {} ({}), session {}",
                if self.mode == Mode::Enforce { "enforced" } else { "observed, nothing is blocked," },
                session.enforcement,
                floor.map(|laid| format!("; floor by {laid}")).unwrap_or_default(),
                &session.policy[..12],
                self.policy.join(" "),
                session.session,
            );
        }
    }

    fn summary(&self, client: &mut Client, session: Uuid) {
        match client.ask(&Request::EndSession { session }) {
            Ok(Response::Summary(stats)) if self.json => {
                eprintln!("{}", serde_json::json!({ "summary": stats, "session": session }));
            }
            Ok(Response::Summary(stats)) if !self.quiet => print_summary(&stats, self.mode, session),
            Ok(Response::Summary(_)) => {}
            Ok(Response::Error { error }) => eprintln!("authz: no summary: {error}"),
            Ok(_) => eprintln!("authz: no summary: the daemon gave a response of another kind"),
            Err(error) => eprintln!(
                "authz: the daemon is gone ({error}); what is left of the session stays enforced, and what was not decided before is denied"
            ),
        }
    }
}

/// What became of starting the command.
enum Launched {
    Running(Child, Started),
    /// It could not be executed; its session is over at once.
    NotExecuted(u8, Started),
    /// There is no session.
    Refused(String),
}

/// A refusal by the daemon.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn connect(socket: &Path) -> anyhow::Result<Client> {
    Client::connect(socket).with_context(|| format!("cannot connect to the daemon at {}", socket.display()))
}

fn print_summary(stats: &Stats, mode: Mode, session: Uuid) {
    let would = if mode == Mode::Observe { "would have been " } else { "" };
    eprintln!(
        "authz: {} operations, {} {would}denied, {} held ({} decided before); authz ledger list --session {session}",
        stats.operations, stats.denied, stats.held, stats.remembered,
    );
    for denial in &stats.denials {
        let times = if denial.count > 1 { format!(" ({} times)", denial.count) } else { String::new() };
        eprintln!(
            "  {would}denied{times}: {} {}: {} [{}]",
            denial.action,
            super::show::escape(&denial.resource),
            super::show::escape(&denial.reason),
            super::show::escape(&denial.rule),
        );
    }
    if stats.failed > 0 || stats.lost > 0 {
        eprintln!("  {} decided by the fail direction, {} records lost", stats.failed, stats.lost);
    }
}
