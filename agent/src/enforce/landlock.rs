//! The floor of a policy as Landlock keeps it: made in the parent, laid in the child before it executes, and standing
//! whatever becomes of the supervisor. A domain also keeps its processes from tracing others.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, make_bitflags,
};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use serde::{Deserialize, Serialize};

use super::level::{Enforcement, Level};
use crate::event::Action;
use crate::policy::Floor;
use crate::policy::floor::Scope;
use crate::sys::features::landlock_abi;
use crate::sys::landlock::restrict_self;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const EXECUTE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute});
/// Everything that changes a file or a directory. Not ioctl(2) on devices, which is no action of a policy.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    WriteFile | Truncate | RemoveDir | RemoveFile | MakeChar | MakeDir | MakeReg | MakeSock | MakeFifo | MakeBlock
        | MakeSym | Refer
});
/// What can be asked of a file that is no directory.
const OF_FILES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | Execute});

/// The interface that has truncation, TCP ports and scopes.
const TRUNCATE: u32 = 3;
const PORTS: u32 = 4;
const SCOPES: u32 = 6;
/// Before it, a move to another directory is refused under every ruleset that names files.
const REFER: u32 = 2;

/// What is really laid of a floor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Laid {
    /// Landlock's interface; 0: there is none.
    pub abi: u32,
    /// What the policy states and this kernel does not keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Paths that could not be opened, with the reason: nothing below them is allowed, even if they appear later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Whether processes outside the session cannot be traced.
    pub tracing: bool,
    /// Whether processes outside the session cannot be signalled.
    pub signals: bool,
}

/// A floor, ready to be laid under a process that only makes system calls any more.
#[derive(Debug)]
pub struct PreparedFloor {
    ruleset: Option<OwnedFd>,
    /// What it amounts to.
    pub laid: Laid,
}

/// Why a floor cannot be made, on a kernel that has what it takes.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the policy's floor: {0}; see authz doctor, or leave authz.floor out")]
pub struct PrepareError(#[from] RulesetError);

impl Floor {
    /// Opens the paths and makes the ruleset, as far as this kernel knows it.
    pub fn prepare(&self) -> Result<PreparedFloor, PrepareError> {
        let abi = landlock_abi().unwrap_or(0);
        let mut laid = Laid { abi, missing: self.missing(abi), ..Laid::default() };
        let ruleset = if self.is_empty() || abi == 0 { None } else { self.ruleset(&mut laid)? };
        laid.tracing = ruleset.is_some();
        laid.signals = laid.tracing && abi >= SCOPES && self.scope.contains(&Scope::Signals);
        Ok(PreparedFloor { ruleset, laid })
    }

    /// What of this floor an interface does not have.
    fn missing(&self, abi: u32) -> Vec<String> {
        let files = self.read.is_some() || self.write.is_some() || self.execute.is_some();
        let ports = self.connect_ports.is_some() || self.bind_ports.is_some();
        let lacks = [
            (files && abi == 0, "all of files"),
            (self.write.is_some() && (1..TRUNCATE).contains(&abi), "truncation"),
            (files && (1..REFER).contains(&abi), "moves between folders, which are refused everywhere"),
            (ports && abi < PORTS, "TCP ports"),
            (self.scope.contains(&Scope::Signals) && abi < SCOPES, "signals"),
            (self.scope.contains(&Scope::AbstractSockets) && abi < SCOPES, "abstract sockets"),
        ];
        lacks.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| (*what).to_owned()).collect()
    }

    fn ruleset(&self, laid: &mut Laid) -> Result<Option<OwnedFd>, RulesetError> {
        // Any ruleset that names files refuses moves between folders unless they are allowed by name.
        let everywhere = Some(vec![PathBuf::from("/")]);
        let unsaid = self.write.is_none() && (self.read.is_some() || self.execute.is_some());
        let moves = if unsaid { &everywhere } else { &None };
        let paths = [
            (&self.read, READ),
            (&self.write, WRITE),
            (&self.execute, EXECUTE),
            (moves, AccessFs::Refer.into()),
        ];
        let ports = [(&self.connect_ports, AccessNet::ConnectTcp), (&self.bind_ports, AccessNet::BindTcp)];
        // What the kernel does not know is left out; `missing` has said so.
        let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        for (_, access) in paths.iter().filter(|(list, _)| list.is_some()) {
            ruleset = ruleset.handle_access(*access)?;
        }
        for (_, access) in ports.iter().filter(|(list, _)| list.is_some()) {
            ruleset = ruleset.handle_access(*access)?;
        }
        for scope in &self.scope {
            ruleset = ruleset.scope(match scope {
                Scope::Signals => landlock::Scope::Signal,
                Scope::AbstractSockets => landlock::Scope::AbstractUnixSocket,
            })?;
        }
        let mut ruleset = ruleset.create()?;
        for (list, access) in paths {
            for path in list.iter().flatten() {
                ruleset = allow(ruleset, path, access, &mut laid.absent)?;
            }
        }
        for (list, access) in ports {
            for port in list.iter().flatten() {
                ruleset = ruleset.add_rule(NetPort::new(*port, access))?;
            }
        }
        Ok(ruleset.into())
    }
}

/// Allows access to a file, or to a directory and what is below it.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    absent: &mut Vec<String>,
) -> Result<RulesetCreated, RulesetError> {
    let opened = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let (fd, kind) =
        match opened.and_then(|fd| fstat(&fd).map(|found| (fd, found.st_mode & SFlag::S_IFMT.bits()))) {
            Ok(found) => found,
            Err(errno) => {
                let text = format!("{}: {}", path.display(), errno.desc());
                if !absent.contains(&text) {
                    absent.push(text);
                }
                return Ok(ruleset);
            }
        };
    // Rights of directories on a file are an error to the kernel.
    let access = if kind == SFlag::S_IFDIR.bits() { access } else { access & OF_FILES };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

impl PreparedFloor {
    /// The ruleset, to be laid by another way.
    pub fn into_ruleset(self) -> Option<OwnedFd> {
        self.ruleset
    }

    /// Lays the floor under the calling thread and everything that it starts; never to be taken away. Only makes
    /// system calls, so that it can be called between fork and exec. Without anything to lay, does nothing.
    pub fn restrict(&self) -> io::Result<()> {
        match &self.ruleset {
            Some(ruleset) => restrict_self(ruleset.as_fd()),
            None => Ok(()),
        }
    }
}

impl Enforcement {
    /// With a floor under it: what the kernel refuses towards processes outside needs no decision any more.
    pub fn with_floor(mut self, laid: &Laid) -> Self {
        let closed = [(Action::ProcessPtrace, laid.tracing), (Action::ProcessSignal, laid.signals)];
        for item in &mut self.actions {
            if closed.contains(&(item.action, true)) {
                item.level = Level::Full;
                item.missing.clear();
            }
        }
        self
    }
}

/// `Landlock 7`, and what it leaves open: `Landlock 5, not signals`.
impl std::fmt::Display for Laid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.abi {
            0 => f.write_str("no Landlock")?,
            abi => write!(f, "Landlock {abi}")?,
        }
        if !self.missing.is_empty() {
            write!(f, ", not {}", self.missing.join(", "))?;
        }
        if !self.absent.is_empty() {
            write!(f, "; cannot be opened: {}", self.absent.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "landlock_tests.rs"]
mod tests;
