//! What would undo the rest. The names are those of ebpf/hooks/system.h; no policy line means deny.

use std::sync::atomic::Ordering;

use nix::errno::Errno;

use super::call::{Call, Outcome, Result};
use super::facts::{nameless, put_name};
use super::fail;
use crate::enforce::syscalls;
use crate::event::Action;
use crate::sys::clock::{self, Reading};

fn decided(call: &Call<'_>, action: Action, name: &str) -> Result<()> {
    let mut raw = call.record(action);
    put_name(&mut raw, name);
    call.allow(&raw)
}

/// By number alone.
pub fn system(call: &Call<'_>) -> Result {
    let (action, name) = match call.asked.number {
        libc::SYS_mount => (Action::SystemMount, "mount"),
        libc::SYS_umount2 => (Action::SystemMount, "umount"),
        libc::SYS_pivot_root => (Action::SystemMount, "pivot_root"),
        libc::SYS_chroot => (Action::SystemMount, "chroot"),
        libc::SYS_move_mount => (Action::SystemMount, "move_mount"),
        libc::SYS_bpf => (Action::SystemBpf, "bpf"),
        libc::SYS_perf_event_open => (Action::SystemPerf, "perf_event_open"),
        libc::SYS_finit_module | libc::SYS_kexec_file_load => (Action::SystemModule, "kernel_read_file"),
        libc::SYS_init_module | libc::SYS_kexec_load => (Action::SystemModule, "kernel_load_data"),
        libc::SYS_delete_module => (Action::SystemModule, "delete_module"),
        libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_uring_register => {
            (Action::SystemIoUring, "io_uring")
        }
        // open_tree, fsopen and what follows them.
        _ => (Action::SystemMount, "mount_api"),
    };
    decided(call, action, name)?;
    if action == Action::SystemMount {
        call.session.moved.store(true, Ordering::Release);
    }
    Ok(Outcome::GoOn)
}

/// What no rule allows: fails with `errno`, and is recorded as `like`.
pub fn refused(call: &Call<'_>, errno: Errno, like: Action) -> Result {
    if matches!(call.asked.number, libc::SYS_adjtimex | libc::SYS_clock_adjtime)
        && let Some(outcome) = read_clock(call)
    {
        return outcome;
    }
    let mut raw = nameless(&call.record(like));
    if like.as_str().starts_with("system.")
        && let Some(name) = syscalls::name(call.asked.number as u32)
    {
        put_name(&mut raw, name);
    }
    match call.judge.fail(call.session, &raw, fail::REFUSED) {
        Ok(_) => Ok(Outcome::GoOn),
        Err(_) => Err(errno),
    }
}

/// What the clock is set to; none: it is to be changed, or it is no clock of the system.
fn read_clock(call: &Call<'_>) -> Option<Result> {
    let (clock, at) =
        if call.asked.number == libc::SYS_adjtimex { (libc::CLOCK_REALTIME, 0) } else { (call.int(0), 1) };
    let modes = match call.target.bytes(call.arg(at), clock::TIMEX) {
        Ok(bytes) => u32::from_ne_bytes(*bytes.first_chunk()?),
        Err(error) => return Some(Err(error)),
    };
    let reading = Reading::of(modes).filter(|_| clock >= 0)?;
    Some(clock::read(clock, reading).and_then(|(state, bytes)| {
        call.target.write(call.arg(at), &bytes)?;
        Ok(Outcome::Value(state.into()))
    }))
}

pub fn namespace(call: &Call<'_>) -> Result {
    // setns: whichever kind, it is another one.
    let flags = if call.asked.number == libc::SYS_setns { libc::CLONE_NEWNS } else { call.int(0) };
    if flags & libc::CLONE_NEWUSER != 0 {
        decided(call, Action::SystemUserns, "userns")?;
    }
    if flags & !libc::CLONE_NEWUSER & super::calls::NAMESPACES as i32 != 0 {
        decided(call, Action::SystemNamespace, "namespace")?;
    }
    call.session.moved.store(true, Ordering::Release);
    Ok(Outcome::GoOn)
}

pub fn socket(call: &Call<'_>) -> Result {
    let (family, kind, protocol) = (call.int(0), call.int(1) & 0xf, call.int(2));
    let (action, name) = match (family, kind) {
        (libc::AF_PACKET, _) => (Action::SystemRawSocket, "packet".to_owned()),
        (libc::AF_NETLINK, _) => (Action::SystemSocket, format!("netlink:{protocol}")),
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_RAW) => (Action::SystemRawSocket, "raw".to_owned()),
        (libc::AF_INET | libc::AF_INET6, _) => (Action::SystemSocket, format!("protocol:{protocol}")),
        (libc::AF_UNIX, _) => return Ok(Outcome::GoOn),
        _ => (Action::SystemSocket, format!("family:{family}")),
    };
    decided(call, action, &name)?;
    Ok(Outcome::GoOn)
}
