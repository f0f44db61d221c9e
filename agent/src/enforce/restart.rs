//! A held call starts anew by a signal flag, which some file systems (9p) take away while they wait. Two programs
//! put it back (`ebpf/hooks/signal.h`); without them such a call fails with errno 513, and nothing has happened.

use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FExit, ProgramError};
use aya::{Btf, Ebpf};

use super::btf::Vmlinux;

/// Where the flag may have been lost.
const LOST: &str = "recalc_sigpending";

/// Where the stop that puts it back is itself taken back.
const SENT: &str = "irq_work_exit";

/// Why held calls cannot start anew on such file systems; `None`: they can.
pub fn obstacle(kernel: Result<&Vmlinux, &str>) -> Option<String> {
    // There the signal lock leaves interrupts on, and sending a signal under it would never end.
    if Path::new("/sys/kernel/realtime").exists() {
        return Some("a real-time kernel".into());
    }
    let needed = [LOST, "btf_trace_irq_work_exit"];
    match kernel.map_err(str::to_owned).and_then(|kernel| kernel.has(&needed)) {
        Err(error) => Some(error),
        Ok(has) => {
            let (name, _) = needed.iter().zip(has).find(|(_, has)| !has)?;
            Some(format!("the kernel has no {name}"))
        }
    }
}

/// Attaches and pins the programs, as far as this kernel has what they need.
pub fn attach(ebpf: &mut Ebpf, btf: &Btf, pins: &Path) {
    let kernel = Vmlinux::read();
    let attached = match obstacle(kernel.as_ref().map_err(String::as_str)) {
        Some(why) => Err(why),
        None => follow(ebpf, btf, pins).map_err(|error| format!("{error:?}")),
    };
    if let Err(why) = attached {
        tracing::warn!(why, "held calls on 9p file systems can fail with errno 513");
    }
}

/// First the one that takes a stop back, so that there is never the other without it.
fn follow(ebpf: &mut Ebpf, btf: &Btf, pins: &Path) -> Result<(), ProgramError> {
    let sent: &mut BtfTracePoint = ebpf.program_mut(SENT).ok_or(ProgramError::NotLoaded)?.try_into()?;
    sent.load(SENT, btf)?;
    let id = sent.attach()?;
    let link = sent.take_link(id)?;
    pin(link.into(), pins, SENT)?;
    let lost: &mut FExit = ebpf.program_mut(LOST).ok_or(ProgramError::NotLoaded)?.try_into()?;
    lost.load(LOST, btf)?;
    let id = lost.attach()?;
    let link = lost.take_link(id)?;
    pin(link.into(), pins, LOST)
}

fn pin(link: FdLink, pins: &Path, name: &str) -> Result<(), ProgramError> {
    let pinned = link.pin(pins.join(format!("link_{name}")));
    pinned.map(drop).map_err(|error| ProgramError::IOError(std::io::Error::other(error)))
}
