//! `authz exec`: a command under policy.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::{Pid, Uid, User};
use uuid::Uuid;

use super::{STATE_HELP, state_or_default};
use crate::control::{Client, Request, Response, StartSession, Started};
use crate::enforce::level::Level;
use crate::event::Mode;
use crate::policy::decision::duration;
use crate::session::Stats;
use crate::sys::spawn::{Credentials, spawn_gated};

/// authz itself failed: as env(1), nice(1) and their like have it.
pub const FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Auto,
    BpfLsm,
    Seccomp,
}

/// Run a command under policy.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: that of CMD; 125 authz itself failed, 126 CMD cannot be executed, 127 CMD was not found.

Examples:
  sudo authz exec --policy preset:coding-agent -- claude
  sudo authz exec --policy ./policies --mode observe -- npm test
  sudo authz exec --policy preset:prod-readonly --require full --user dev -- bash -i"
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
    backend: Backend,
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
    /// Record every allow that the kernel decides, not only how many
    #[arg(long)]
    audit_each: bool,
    /// Print start and summary as JSON
    #[arg(long)]
    json: bool,
    /// Print neither start nor summary
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| format!("{text:?} is no time; write e.g. 30s or 5m"))
}

/// Whom the command runs as.
struct Identity {
    uid: Uid,
    name: Option<String>,
    home: Option<PathBuf>,
    /// None: as who calls.
    credentials: Option<Credentials>,
}

impl Exec {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.backend == Backend::Seccomp {
            bail!("the seccomp back end is not built yet; use --backend bpf-lsm");
        }
        if !Uid::effective().is_root() {
            bail!("the bpf-lsm back end takes root: run it with sudo (CMD then runs as you)");
        }
        let identity = self.identity()?;
        let policy = absolute(&self.policy)?;
        let instance = Uuid::now_v7().simple().to_string();
        let (mut daemon, socket) = self.start_daemon(&instance)?;
        let mut client = Client::connect(&socket)
            .with_context(|| format!("cannot connect to the daemon at {}", socket.display()))?;
        // From here on terminal signals are the agent's; others are passed on by `wait`.
        let signals = block_signals()?;
        let mut started = None;
        let command = self.prepare(&identity);
        let child = spawn_gated(command, identity.credentials.clone(), |pid| {
            let request = self.request(pid, &policy, &identity).map_err(std::io::Error::other)?;
            match client.ask(&request)? {
                Response::Started(session) => {
                    self.announce(&session);
                    started = Some(session);
                    Ok(())
                }
                Response::Error { error } => Err(std::io::Error::other(Refused(error))),
                _ => Err(std::io::Error::other("the daemon gave a response of another kind")),
            }
        });
        let child = match child {
            Ok(child) => child,
            Err(error) => return self.not_started(&error, started.as_ref(), &mut client, &mut daemon),
        };
        let session = started.context("the command ran without a session; this is an error of authz")?;
        let status = wait(child, &signals)?;
        self.summary(&mut client, session.session);
        Ok(status)
    }

    /// The command could not be executed; its session ends at once.
    fn not_started(
        &self,
        error: &std::io::Error,
        started: Option<&Started>,
        client: &mut Client,
        daemon: &mut Child,
    ) -> anyhow::Result<ExitCode> {
        let Some(session) = started else {
            daemon.wait().context("cannot wait for the daemon")?;
            bail!("{error}");
        };
        eprintln!("authz: cannot execute {}: {error}", self.command[0].to_string_lossy());
        self.summary(client, session.session);
        let not_found = error.kind() == std::io::ErrorKind::NotFound;
        Ok(ExitCode::from(if not_found { NOT_FOUND } else { NOT_EXECUTABLE }))
    }

    fn identity(&self) -> anyhow::Result<Identity> {
        let name = self.user.clone().or_else(|| {
            // sudo sets these; a login shell of root has neither.
            std::env::var("SUDO_USER").ok().filter(|_| std::env::var_os("SUDO_UID").is_some())
        });
        let Some(name) = name else {
            return Ok(Identity { uid: Uid::effective(), name: None, home: None, credentials: None });
        };
        let user = match name.parse::<u32>() {
            Ok(uid) => User::from_uid(uid.into()),
            Err(_) => User::from_name(&name),
        }
        .with_context(|| format!("cannot look up user {name}"))?
        .with_context(|| format!("there is no user {name}; see getent passwd"))?;
        let c_name = std::ffi::CString::new(user.name.clone()).context("a user name with a NUL byte")?;
        let groups = nix::unistd::getgrouplist(&c_name, user.gid)
            .with_context(|| format!("cannot look up the groups of {name}"))?;
        let credentials = Credentials {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.iter().map(|group| group.as_raw()).collect(),
        };
        Ok(Identity {
            uid: user.uid,
            name: Some(user.name),
            home: Some(user.dir),
            credentials: Some(credentials),
        })
    }

    fn start_daemon(&self, instance: &str) -> anyhow::Result<(Child, PathBuf)> {
        let mut daemon = Command::new("/proc/self/exe")
            .arg0("authz")
            .args(["daemon", "--embedded", "--instance", instance, "--state"])
            .arg(state_or_default(self.state.clone())?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .current_dir("/")
            .spawn()
            .context("cannot start the daemon")?;
        let out = daemon.stdout.take().context("the daemon has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).context("cannot read from the daemon")?;
        let ready: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let Some(socket) = ready.as_ref().and_then(|ready| ready["socket"].as_str()) else {
            let status = daemon.wait().context("cannot wait for the daemon")?;
            bail!("the daemon did not start ({status}); its reason is above");
        };
        Ok((daemon, socket.into()))
    }

    fn prepare(&self, identity: &Identity) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        if let Some(name) = &identity.name {
            command.env("USER", name).env("LOGNAME", name);
            if let Some(home) = &identity.home {
                command.env("HOME", home);
            }
        }
        command
    }

    fn request(&self, pid: i32, policy: &[String], identity: &Identity) -> anyhow::Result<Request> {
        let here = std::env::current_dir().context("cannot tell the current folder")?;
        let workspace = if self.workspace.is_empty() {
            vec![here]
        } else {
            self.workspace
                .iter()
                .map(|folder| {
                    folder.canonicalize().with_context(|| format!("workspace {}", folder.display()))
                })
                .collect::<Result<_, _>>()?
        };
        let name = self.name.clone().unwrap_or_else(|| {
            let program = Path::new(&self.command[0]).file_name().unwrap_or_default();
            program.to_string_lossy().into_owned()
        });
        Ok(Request::StartSession(StartSession {
            name,
            mode: self.mode,
            policy: policy.to_vec(),
            workspace: workspace.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            hold_timeout_ms: self.hold_timeout.as_millis() as u64,
            owner: identity.uid.as_raw(),
            pid,
            audit_each: self.audit_each,
            require: self.require,
            listener: None,
        }))
    }

    fn announce(&self, session: &Started) {
        if self.json {
            eprintln!("{}", serde_json::json!({ "started": session, "mode": self.mode }));
        } else if !self.quiet {
            eprintln!(
                "authz: {} by bpf-lsm, {}; policy {} ({}), session {}",
                if self.mode == Mode::Enforce { "enforced" } else { "observed, nothing is blocked," },
                session.enforcement,
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

/// A refusal by the daemon.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn print_summary(stats: &Stats, mode: Mode, session: Uuid) {
    let would = if mode == Mode::Observe { "would have been " } else { "" };
    eprintln!(
        "authz: {} operations, {} {would}denied, {} held ({} decided in the kernel); authz ledger list --session {session}",
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

/// Signals that are taken by `wait` and not by their default.
fn block_signals() -> anyhow::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).context("cannot block signals")?;
    Ok(signals)
}

/// Waits for the child and passes signals on to it. Those of the terminal it gets by itself.
fn wait(mut child: Child, signals: &SigSet) -> anyhow::Result<ExitCode> {
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    let fd = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC).context("signalfd")?;
    let pid = Pid::from_raw(child.id() as i32);
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the command")? {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            return Ok(ExitCode::from(code as u8));
        }
        let Some(info) = fd.read_signal().context("cannot read signals")? else { continue };
        let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
        let from_terminal = info.ssi_code == libc::SI_KERNEL;
        if signal != Signal::SIGCHLD && !from_terminal {
            // It may have ended just now; then there is nobody to tell.
            kill(pid, signal).ok();
        }
    }
}
