//! Runs a command in a virtual machine: a Debian kernel over this machine's own root, all writes thrown away.
//!
//! The machine's files are taken as unchanging while it runs: it may not see what the host writes meanwhile, except
//! in shared (`rw`) folders.
//!
//! QEMU emulates the processor where there is no KVM, and under multi-threaded emulation a kernel now and then dies
//! (an oops while it patches its own text). Such a death says nothing about the command, so it has its own error and
//! is retried; a caller never takes it for a result.
mod cpio;
mod guest;
mod qemu;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kernels::Kernel;

/// The status of a process that could not get a working machine (sysexits.h: EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;

/// How often a machine that dies is started.
pub const TRIES: u32 = 3;

/// Who executes the machine's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    /// QEMU itself: slow, the same everywhere
    #[default]
    Tcg,
    /// QEMU itself, with a clock that counts instructions, 1 ns each: slower, and measures alike on a busy host
    Icount,
    /// The processor; not all that offer /dev/kvm can boot these kernels with it
    Kvm,
}

impl Accel {
    fn option(self) -> &'static str {
        match self {
            Accel::Tcg | Accel::Icount => "tcg,thread=single",
            Accel::Kvm => "kvm",
        }
    }
}

/// What to run, and on what.
#[derive(Debug, Clone)]
pub struct Request {
    /// The kernel to boot.
    pub kernel: Kernel,
    /// Emulation or not.
    pub accel: Accel,
    /// Processors.
    pub cpus: u32,
    /// Megabytes of memory.
    pub memory: u32,
    /// Added to the kernel's command line; of two `lsm=` the last one counts.
    pub append: String,
    /// Host folders that keep what the command writes to them, visible at the same path.
    pub rw: Vec<PathBuf>,
    /// An image that the command finds as /dev/vda; what it writes there is thrown away.
    pub disk: Option<PathBuf>,
    /// Environment of the command beside `PATH`, `HOME`, `USER`, `LANG` and `TERM`.
    pub env: Vec<(String, String)>,
    /// How long the command may take.
    pub timeout: Duration,
    /// The binary to place at /usr/local/bin/authz.
    pub authz: Option<PathBuf>,
    /// Program and arguments; none: a shell on this terminal.
    pub command: Vec<String>,
}

impl Request {
    /// `command` on `kernel` with the usual machine: two processors, 2 GiB, 15 minutes.
    pub fn new(kernel: Kernel, command: Vec<String>) -> Self {
        Request {
            kernel,
            accel: Accel::default(),
            cpus: 2,
            memory: 2048,
            append: String::new(),
            rw: Vec::new(),
            disk: None,
            env: Vec::new(),
            timeout: Duration::from_secs(900),
            authz: None,
            command,
        }
    }
}

/// How a machine failed to give a result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It never got as far as the command.
    #[error("the machine did not boot: {0}")]
    Boot(String),
    /// It died under the command.
    #[error("the machine died while the command ran: {0}")]
    Died(String),
    /// The command took too long.
    #[error("no result within {0:?}")]
    Timeout(Duration),
    /// The host could not start or reach it.
    #[error("{0:#}")]
    Host(#[from] anyhow::Error),
}

/// Runs `request` and returns the command's status (128 + signal for a killed one).
///
/// What the command prints goes to `out` and `err` as it appears. A machine that dies is started again, up to
/// [`TRIES`] times in all, and the output then starts afresh, announced on standard error.
pub fn run(
    request: &Request,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Result<u8, Failure> {
    let mut tries = 1;
    loop {
        match qemu::run_once(request, out, err) {
            Err(failure @ (Failure::Boot(_) | Failure::Died(_))) if tries < TRIES => {
                tries += 1;
                eprintln!("xtask: {failure}\nxtask: starting it again (try {tries} of {TRIES})");
            }
            result => return result,
        }
    }
}

/// Builds the `authz` binary and returns its path.
pub fn build_authz() -> Result<PathBuf> {
    let status = crate::program::cargo()
        .args(["build", "--release", "--quiet", "--package", "authz", "--bin", "authz"])
        .status()
        .context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "authz does not build");
    built_authz().context("cargo built no authz")
}

/// The `authz` binary of an earlier build, if there is one.
pub fn built_authz() -> Option<PathBuf> {
    Some(crate::project::target().join("release/authz")).filter(|path| path.exists())
}

/// A process's status as a shell gives it: 128 + signal for a killed one.
pub fn status_of(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(number).unwrap_or(255)
}
