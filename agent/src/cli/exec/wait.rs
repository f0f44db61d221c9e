//! Signals while a command runs: those of the terminal are its own, others are passed on.

use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitCode};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::sys::peer::pidfd_open;

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
    let ended = pidfd_open(pid.as_raw()).context("cannot wait for the command")?;
    loop {
        let (has_ended, signalled) = either(&ended, &fd)?;
        if has_ended {
            return match waitid(Id::Pid(pid), WaitPidFlag::WEXITED).context("cannot wait for the command")? {
                WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as u8),
                WaitStatus::Exited(_, code) => Ok(code as u8),
                other => bail!("the command ended in an unknown way: {other:?}"),
            };
        }
        if signalled {
            pass_on(&fd, pid)?;
            meanwhile(pid);
        }
    }
}

/// Waits until one or both are readable.
fn either(a: &impl AsFd, b: &impl AsFd) -> anyhow::Result<(bool, bool)> {
    let mut fds = [PollFd::new(a.as_fd(), PollFlags::POLLIN), PollFd::new(b.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => bail!("poll: {error}"),
    }
    Ok((fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false)))
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
        let (reported, signalled) = either(&report, &fd)?;
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
///
/// Only of those that have ended: to wait for a child that another thread of this process traces would take that
/// thread's stops (the kernel sees one tracer in a process that is parent and tracer).
pub fn reap_orphans(except: Option<Pid>) {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ended = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
        if ended && Some(pid) != except {
            // It may be another's to see first; then it comes again.
            waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG).ok();
        }
    }
}
