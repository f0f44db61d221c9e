//! The process that supervises a session by seccomp. It is the parent of the command, since reading a process takes
//! being above it (Yama), and of what the command leaves behind; it lives as long as any of that. Between it and
//! the caller stands one that ends with the command, as the caller expects.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use uuid::Uuid;

use super::identity::Identity;
use super::{Beside, Exec, FAILED, Launched, connect, wait};
use crate::cli::{absolute, workspaces};
use crate::daemon;
use crate::daemon::policy::Loaded;
use crate::enforce::choice::Choice;
use crate::enforce::landlock::Laid;
use crate::enforce::level::Backend;
use crate::enforce::seccomp::filter;
use crate::event::Mode;
use crate::paths::{self, Owner};
use crate::policy::{Engine, Floor};
use crate::session::Sources;
use crate::sys::spawn::Confinement;

/// Starts the supervisor with this process's own arguments, and ends with the status that it reports. It need not find
/// out again what was chosen and why.
pub fn start(choice: &Choice, signals: &SigSet) -> anyhow::Result<ExitCode> {
    let (report, theirs) = std::io::pipe().context("cannot make a pipe")?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
    let mut arguments = std::env::args_os().skip(1);
    let supervisor = Command::new("/proc/self/exe")
        .args(arguments.next())
        .args(["--supervisor", &theirs.as_raw_fd().to_string()])
        .arg(format!("--because={}", choice.why))
        .args(arguments)
        .spawn()
        .context("cannot start the supervisor")?;
    drop(theirs);
    wait::until_reported(supervisor, report, signals)
}

/// Is the supervisor.
pub fn run(
    exec: &Exec,
    choice: &Choice,
    signals: &SigSet,
    report: i32,
    beside: &mut dyn Beside,
) -> anyhow::Result<ExitCode> {
    let mut report = report_to(report)?;
    let status = supervise(exec, choice, signals, &mut report, beside);
    if let Err(error) = &status {
        eprintln!("authz: {error:#}");
        report.write_all(&[FAILED]).ok();
    }
    Ok(status.unwrap_or(ExitCode::from(FAILED)))
}

fn report_to(number: i32) -> anyhow::Result<std::fs::File> {
    let file = crate::sys::spawn::inherited(number).context("--supervisor is authz's own")?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("fcntl")?;
    Ok(file.into())
}

fn supervise(
    exec: &Exec,
    choice: &Choice,
    signals: &SigSet,
    report: &mut std::fs::File,
    beside: &mut dyn Beside,
) -> anyhow::Result<ExitCode> {
    nix::sys::prctl::set_child_subreaper(true).context("cannot become the parent of orphans")?;
    // It holds files for as many threads as the session has.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("setrlimit")?;
    let loaded = load_policy(exec)?;
    let confined = confined(exec, &loaded.engine)?;
    let (socket, daemon) = start_daemon(exec, loaded)?;
    let mut client = connect(&socket)?;
    let (status, session) = match exec.launch(&mut client, &socket, choice, Some(confined), beside)? {
        Launched::Running(child, session) => {
            let status = wait::wait_as_parent(child, signals)?;
            beside.end();
            (status, session)
        }
        Launched::NotExecuted(status, session) => (status, session),
        Launched::Refused(why) => bail!("{why}"),
    };
    exec.summary(&mut client, session.session);
    // The caller goes on; if it is gone there is nobody to tell.
    report.write_all(&[status]).ok();
    drop(client);
    while !daemon.is_finished() {
        wait::reap_orphans(None);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    daemon.join().map_err(|_| anyhow::anyhow!("the daemon failed"))??;
    Ok(ExitCode::from(status))
}

/// The daemon, in a thread of this process.
fn start_daemon(exec: &Exec, loaded: Loaded) -> anyhow::Result<(PathBuf, JoinHandle<anyhow::Result<()>>)> {
    let instance = Uuid::now_v7().simple().to_string();
    let options = daemon::Options {
        state: exec.state()?,
        instance,
        embedded: true,
        backend: Backend::Seccomp,
        session: None,
        http: exec.http.resolve()?,
        otlp: exec.otlp.resolve()?,
        loaded: Some(loaded),
    };
    let (ready, socket) = channel();
    let daemon = std::thread::Builder::new()
        .name("authz-daemon".into())
        .spawn(move || daemon::run(options, |found| Ok(ready.send(found.socket.clone())?)))
        .context("cannot start the daemon")?;
    match socket.recv() {
        Ok(socket) => Ok((socket, daemon)),
        Err(_) => {
            daemon.join().map_err(|_| anyhow::anyhow!("the daemon failed"))??;
            bail!("the daemon ended at once")
        }
    }
}

/// The policy: its floor is laid before the session begins.
fn load_policy(exec: &Exec) -> anyhow::Result<Loaded> {
    let run = Owner::this().make_run()?;
    let state = paths::make_state(&exec.state()?)?;
    let owner = Identity::of(exec.user.as_deref())?.uid.as_raw();
    let sources = Sources { policy: absolute(&exec.policy)?, workspace: workspaces(&exec.workspace)?, owner };
    Loaded::load(sources, &run, &state)
}

/// What the command is confined by: the filter, and the floor that the policy states.
fn confined(exec: &Exec, engine: &Engine) -> anyhow::Result<(Confinement, Laid)> {
    let floor = match exec.mode {
        Mode::Enforce => engine.floor().clone(),
        // Landlock only knows to block.
        Mode::Observe => Floor::default(),
    };
    let floor = floor.prepare()?;
    let laid = floor.laid.clone();
    Ok((Confinement { filter: filter::program(), ruleset: floor.into_ruleset() }, laid))
}
