//! Signals while a command runs: those of the terminal are its own, others are passed on.

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitCode};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// Ends of this thread's children.
const ENDED: WaitPidFlag = WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::__WNOTHREAD);

/// Signals that are taken by `wait` and not by their default.
pub fn block_signals() -> anyhow::Result<SigSet> {
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
pub fn wait(child: Child, signals: &SigSet) -> anyhow::Result<u8> {
    wait_and(child, signals, |_| {})
}

/// The same, as the parent of what others left behind too.
pub fn wait_as_parent(child: Child, signals: &SigSet) -> anyhow::Result<u8> {
    // A stop of the terminal is for the command; this process answers its calls.
    let stop = SigSet::from(Signal::SIGTSTP);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), None).context("cannot block signals")?;
    wait_and(child, signals, |child| reap_orphans(Some(child)))
}

fn wait_and(child: Child, signals: &SigSet, mut meanwhile: impl FnMut(Pid)) -> anyhow::Result<u8> {
    let fd = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC).context("signalfd")?;
    let pid = Pid::from_raw(child.id() as i32);
    let handle = crate::sys::peer::pidfd_open(pid.as_raw()).context("pidfd_open")?;
    loop {
        // Any wait for a child takes the stops too that it makes for this process's tracer (wait_consider_task in
        // kernel/exit.c), so there is none before it has ended.
        match has_ended(&handle)?.then(|| waitid(Id::Pid(pid), ENDED)).transpose().context("waitid")? {
            Some(WaitStatus::Exited(_, code)) => return Ok(code as u8),
            Some(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as u8),
            _ => {}
        }
        meanwhile(pid);
        pass_on(&fd, pid)?;
    }
}

/// Whether the process of a pidfd is a zombie.
fn has_ended(handle: &OwnedFd) -> anyhow::Result<bool> {
    let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO).context("poll")? > 0)
}

/// Takes the next signal, and passes it on unless the terminal has sent it to everyone.
fn pass_on(signals: &SignalFd, to: Pid) -> anyhow::Result<()> {
    let Some(info) = signals.read_signal().context("cannot read signals")? else { return Ok(()) };
    let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { return Ok(()) };
    if signal != Signal::SIGCHLD && info.ssi_code != libc::SI_KERNEL {
        // It may have ended just now; then there is nobody to tell.
        kill(to, signal).ok();
    }
    Ok(())
}

/// Waits until the supervisor reports a status; it may go on then. Passes signals on to it.
pub fn until_reported(
    mut supervisor: Child,
    mut report: PipeReader,
    signals: &SigSet,
) -> anyhow::Result<ExitCode> {
    let fd = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC).context("signalfd")?;
    let pid = Pid::from_raw(supervisor.id() as i32);
    loop {
        let mut fds =
            [PollFd::new(report.as_fd(), PollFlags::POLLIN), PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => bail!("poll: {error}"),
        }
        let (reported, signalled) = (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false));
        if reported {
            let mut status = [0];
            if report.read(&mut status).context("cannot read the status")? == 1 {
                return Ok(ExitCode::from(status[0]));
            }
            let ended = supervisor.wait().context("cannot wait for the supervisor")?;
            bail!(
                "the supervisor ended ({ended}): what is left of the session can do nothing that it would decide"
            );
        }
        if signalled {
            pass_on(&fd, pid)?;
        }
    }
}

/// Takes note of the end of processes that came back to this one. `except`: who is waited for elsewhere.
pub fn reap_orphans(except: Option<Pid>) {
    while let Ok(status) = waitid(Id::All, ENDED | WaitPidFlag::WNOWAIT) {
        let Some(pid) = status.pid().filter(|pid| Some(*pid) != except) else { return };
        let ended = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        if !ended || waitid(Id::Pid(pid), ENDED).is_err() {
            return;
        }
    }
}
