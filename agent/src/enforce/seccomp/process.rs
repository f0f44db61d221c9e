//! Calls that aim at a process: within the session they are its own affair, outside of it they are decided.
//! The kernel carries them out: the process is named by a number in a register.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::call::{Call, Outcome, Result};
use super::facts::put_process;
use super::target::Target;
use crate::enforce::processes;
use crate::event::Action;
use crate::session::identity::parent_of;

/// sys/ptrace.h
const PTRACE_TRACEME: u64 = 0;
const PTRACE_ATTACH: u64 = 16;
const PTRACE_SEIZE: u64 = 0x4206;

/// How far up parents are followed.
const DEPTH_MAX: usize = 1 << 16;

/// Whether a process descends from this one: orphans of a session come back to it.
pub fn is_inside(pid: i32) -> bool {
    let own = std::process::id() as i32;
    let mut pid = pid;
    for _ in 0..DEPTH_MAX {
        match parent_of(pid) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// Decides about a process, unless it is of the session.
pub fn outside(call: &Call<'_>, action: Action, pid: i32) -> Result<()> {
    if pid != std::process::id() as i32 && is_inside(pid) {
        return Ok(());
    }
    let mut raw = call.record(action);
    put_process(&mut raw, pid);
    if pid == std::process::id() as i32 {
        return Err(call.guard(&raw));
    }
    call.allow(&raw)
}

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub fn signal(call: &Call<'_>) -> Result {
    let (pid, signal) = match call.asked.number {
        libc::SYS_tgkill => (call.int(1), call.int(2)),
        libc::SYS_rt_tgsigqueueinfo => (call.int(1), call.int(2)),
        libc::SYS_pidfd_send_signal => (pid_of(call, call.int(0))?, call.int(1)),
        _ => (call.int(0), call.int(1)),
    };
    // Signal 0 only asks.
    if signal == 0 {
        return Ok(Outcome::GoOn);
    }
    if pid > 0 || call.asked.number != libc::SYS_kill {
        if exists(pid) {
            outside(call, Action::ProcessSignal, pid)?;
        }
        return Ok(Outcome::GoOn);
    }
    many(call, pid, signal)
}

/// A process group, or all: those outside are decided one by one and the supervisor is left out.
fn many(call: &Call<'_>, pid: i32, signal: i32) -> Result {
    let own_group = group_of(call.target.tgid).ok_or(Errno::ESRCH)?;
    let group = if pid == 0 { own_group } else { -pid };
    let wanted: Vec<i32> = processes()
        .filter(|other| if pid == -1 { *other != call.target.tgid } else { group_of(*other) == Some(group) })
        .collect();
    let (inside, others): (Vec<i32>, Vec<i32>) = wanted.into_iter().partition(|pid| is_inside(*pid));
    if others.is_empty() {
        return Ok(Outcome::GoOn);
    }
    let signal = Signal::try_from(signal).map_err(|_| Errno::EINVAL)?;
    let launcher = nix::unistd::getppid().as_raw();
    let own = std::process::id() as i32;
    let mut targets = inside;
    for other in others.into_iter().filter(|other| ![own, launcher].contains(other)) {
        if outside(call, Action::ProcessSignal, other).is_ok() {
            targets.push(other);
        }
    }
    call.act()?;
    let mut result = Err(Errno::EPERM);
    // The sender last: the call may end it.
    targets.sort_by_key(|pid| *pid == call.target.tgid);
    for target in targets {
        if kill(Pid::from_raw(target), signal).is_ok() {
            result = Ok(Outcome::Value(0));
        }
    }
    result
}

/// Who gets signals about a descriptor, from whoever makes it ready: decided when it is named.
pub fn owner(call: &Call<'_>) -> Result {
    match call.int(2) {
        0 => {}
        pid if pid > 0 => {
            if exists(pid) {
                outside(call, Action::ProcessSignal, pid)?;
            }
        }
        group => {
            let group = group.checked_neg().ok_or(Errno::EINVAL)?;
            processes()
                .filter(|pid| group_of(*pid) == Some(group))
                .try_for_each(|pid| outside(call, Action::ProcessSignal, pid))?;
        }
    }
    Ok(Outcome::GoOn)
}

/// Who runs when, and where: decided like a signal, since it can stop a process as well.
pub fn schedule(call: &Call<'_>) -> Result {
    // setpriority counts kinds from 0, ioprio_set from 1; the others name one process.
    let (kind, who) = match call.asked.number {
        libc::SYS_setpriority => (call.int(0), call.int(1)),
        libc::SYS_ioprio_set => (call.int(0).wrapping_sub(1), call.int(1)),
        _ => (0, call.int(0)),
    };
    let all = |are: &dyn Fn(i32) -> bool| {
        processes().filter(|pid| are(*pid)).try_for_each(|pid| outside(call, Action::ProcessSignal, pid))
    };
    match (kind, who) {
        (0, pid) if pid > 0 && exists(pid) => outside(call, Action::ProcessSignal, pid)?,
        (1, 0) => {
            let own = group_of(call.target.tgid);
            all(&|pid| group_of(pid) == own)?;
        }
        (1, group) => all(&|pid| group_of(pid) == Some(group))?,
        (2, user) => {
            let user = if user == 0 { call.target.uid } else { user as u32 };
            all(&|pid| Target::read(pid).is_ok_and(|process| process.uid == user))?;
        }
        // Nobody, which the kernel says.
        _ => {}
    }
    Ok(Outcome::GoOn)
}

/// Field 5 of /proc/PID/stat.
fn group_of(pid: i32) -> Option<i32> {
    field(pid, 2)
}

/// A number of /proc/PID/stat, counted after the name.
fn field(pid: i32, index: usize) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(index)?.parse().ok()
}

/// The process behind a pidfd.
fn pid_of(call: &Call<'_>, number: i32) -> Result<i32> {
    let info = call.target.proc(&format!("fdinfo/{number}"));
    let info = info.map_err(|error| if error == Errno::ENOENT { Errno::EBADF } else { error })?;
    let info = String::from_utf8_lossy(&info);
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or(Errno::EBADF)
}

pub fn trace(call: &Call<'_>) -> Result {
    let pid = match call.asked.number {
        libc::SYS_ptrace => match call.arg(0) {
            PTRACE_TRACEME => parent_of(call.target.tgid).ok_or(Errno::ESRCH)?,
            PTRACE_ATTACH | PTRACE_SEIZE => call.int(1),
            // Of one that is traced already.
            _ => return Ok(Outcome::GoOn),
        },
        libc::SYS_process_madvise | libc::SYS_pidfd_getfd => pid_of(call, call.int(0))?,
        libc::SYS_kcmp => {
            outside(call, Action::ProcessPtrace, call.int(0))?;
            call.int(1)
        }
        _ => call.int(0),
    };
    if exists(pid) {
        outside(call, Action::ProcessPtrace, pid)?;
    }
    Ok(Outcome::GoOn)
}

/// The name of the thread's terminal: what /dev/tty is for it.
pub fn terminal(call: &Call<'_>) -> Result<String> {
    let device = field(call.target.tgid, 4).ok_or(Errno::ENXIO)? as u32;
    // drivers/tty: the major number's low byte is the second of the field.
    let (major, minor) = (device >> 8 & 0xfff, (device & 0xff) | (device >> 12 & 0xfff00));
    match major {
        136..=143 => Ok(format!("/dev/pts/{}", minor + (major - 136) * 256)),
        4 if minor < 64 => Ok(format!("/dev/tty{minor}")),
        4 => Ok(format!("/dev/ttyS{}", minor - 64)),
        _ => Err(Errno::ENXIO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descendants_are_inside() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(is_inside(child.id() as i32));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_inside(std::process::id() as i32));
        assert!(!is_inside(nix::unistd::getppid().as_raw()));
        assert!(!is_inside(1));
        assert!(!is_inside(-5));
    }
}
