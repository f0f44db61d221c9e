//! What happened or is about to happen, owned and validated. Turning bytes of a back end into an
//! [`Operation`] is the trust boundary: past it nothing is raw.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an operation does. The names are the policy's (`input.action.name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// Open for reading.
    FileRead = 1,
    /// Open for writing, or truncate.
    FileWrite = 2,
    /// Make a file, directory, device, pipe, socket or symbolic link.
    FileCreate = 3,
    /// Remove a file or directory.
    FileDelete = 4,
    /// Rename; decided for the old and for the new name.
    FileRename = 5,
    /// Hard link; decided for the old and for the new name.
    FileLink = 6,
    /// Change mode, owner, times, extended attributes.
    FileSetattr = 7,
    /// Execute a program, an interpreter of it, or map a file as code.
    ProcessExec = 8,
    /// Trace a process outside the session.
    ProcessPtrace = 9,
    /// Signal a process outside the session.
    ProcessSignal = 10,
    /// Connect, or send to an address.
    NetConnect = 11,
    /// Bind to an address.
    NetBind = 12,
    /// Change mounts.
    SystemMount = 13,
    /// Make a user namespace.
    SystemUserns = 14,
    /// Enter or make another namespace.
    SystemNamespace = 15,
    /// Use bpf(2).
    SystemBpf = 16,
    /// Use perf_event_open(2).
    SystemPerf = 17,
    /// Load a kernel module or a new kernel.
    SystemModule = 18,
    /// Set up an io_uring.
    SystemIoUring = 19,
    /// Make a raw or packet socket.
    SystemRawSocket = 20,
    /// Make a socket of another unusual family.
    SystemSocket = 21,
    /// Call a tool.
    ToolCall = 22,
}

/// Every action with its policy name, in the order of the numbers.
pub const ACTIONS: &[(Action, &str)] = &[
    (Action::FileRead, "file.read"),
    (Action::FileWrite, "file.write"),
    (Action::FileCreate, "file.create"),
    (Action::FileDelete, "file.delete"),
    (Action::FileRename, "file.rename"),
    (Action::FileLink, "file.link"),
    (Action::FileSetattr, "file.setattr"),
    (Action::ProcessExec, "process.exec"),
    (Action::ProcessPtrace, "process.ptrace"),
    (Action::ProcessSignal, "process.signal"),
    (Action::NetConnect, "net.connect"),
    (Action::NetBind, "net.bind"),
    (Action::SystemMount, "system.mount"),
    (Action::SystemUserns, "system.userns"),
    (Action::SystemNamespace, "system.namespace"),
    (Action::SystemBpf, "system.bpf"),
    (Action::SystemPerf, "system.perf"),
    (Action::SystemModule, "system.module"),
    (Action::SystemIoUring, "system.io_uring"),
    (Action::SystemRawSocket, "system.raw_socket"),
    (Action::SystemSocket, "system.socket"),
    (Action::ToolCall, "tool.call"),
];

impl Action {
    /// The policy's name of the action.
    pub fn as_str(self) -> &'static str {
        ACTIONS[self as usize - 1].1
    }

    /// The action of a number of the ABI.
    pub fn from_number(number: u8) -> Option<Self> {
        ACTIONS.get(usize::from(number).checked_sub(1)?).map(|(action, _)| *action)
    }

    /// The action of a policy name.
    pub fn from_name(name: &str) -> Option<Self> {
        ACTIONS.iter().find(|(_, n)| *n == name).map(|(action, _)| *action)
    }

    /// The `type` of the resources of this action.
    pub fn resource_type(self) -> &'static str {
        use Action::*;
        match self {
            FileRead | FileWrite | FileCreate | FileDelete | FileRename | FileLink | FileSetattr => "file",
            ProcessExec => "executable",
            ProcessPtrace | ProcessSignal => "process",
            NetConnect | NetBind => "address",
            ToolCall => "tool",
            _ => "system",
        }
    }
}

/// An action as it is named in inputs and records: one of authz's own, or another gate's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ActionName {
    /// An operation that authz knows.
    Own(Action),
    /// What another gate asks about through the decision API.
    Other(String),
}

impl ActionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Own(action) => action.as_str(),
            Self::Other(name) => name,
        }
    }

    /// Whether the name is kept for operations that authz knows, or will.
    pub fn is_reserved(name: &str) -> bool {
        fn space(name: &str) -> &str {
            name.split('.').next().unwrap_or(name)
        }
        ACTIONS.iter().any(|(_, known)| space(known) == space(name))
    }
}

impl From<Action> for ActionName {
    fn from(action: Action) -> Self {
        Self::Own(action)
    }
}

impl From<String> for ActionName {
    fn from(name: String) -> Self {
        Action::from_name(&name).map_or(Self::Other(name), Self::Own)
    }
}

impl PartialEq<Action> for ActionName {
    fn eq(&self, other: &Action) -> bool {
        matches!(self, Self::Own(action) if action == other)
    }
}

impl Serialize for ActionName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown action {name:?}")))
    }
}

/// Whether decisions bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Decisions take effect.
    Enforce,
    /// Decisions are recorded as "would have"; nothing is blocked.
    Observe,
}

/// Where an operation was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// An LSM hook.
    Kernel,
    /// The seccomp supervisor.
    Seccomp,
    /// The MCP gate.
    Mcp,
    /// An agent's own hook.
    Hook,
    /// Another gate, through the decision API.
    Api,
}

/// What an operation acts on.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Canonical identity: an absolute resolved path, an address (`tcp://1.2.3.4:443`), a name.
    pub id: String,
    /// Facts of it that the policy may read (`input.resource.properties`).
    pub properties: Map<String, Value>,
}

/// One operation, about to happen, of one resource. A rename or link is two operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it does.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// Facts of the action (`input.action.properties`), such as `syscall` and `flags`.
    pub properties: Map<String, Value>,
}

/// The thread that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Thread id.
    pub tid: i32,
    /// Process id.
    pub tgid: i32,
    /// Start of the process, nanoseconds since boot: with `tgid` an identity.
    pub start_ns: u64,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The name the thread gives itself: a hint, never a fact.
    pub comm: String,
}

/// What of an operation the table of remembered verdicts is keyed by, besides the domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The action.
    pub action: Action,
    /// The back end's kind of object.
    pub object: u8,
    /// The back end's role.
    pub role: u8,
    /// Which groups of names that the policy looks for occur in it ([`crate::policy::names`]).
    pub names: u8,
    /// The name as the back end sees it, raw.
    pub name: Vec<u8>,
}

/// The content of a file at the moment of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Change time, seconds.
    pub ctime_sec: i64,
    /// And nanoseconds.
    pub ctime_nsec: u32,
}

/// To which tool call an operation belongs, as far as was known when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// What an enforcement point carries: numbers of sets of calls (see session/calls.rs), 0 for none.
    To {
        /// Open when the acting program's process was made.
        own: u32,
        /// Open now.
        open: u32,
    },
    /// A gate's own question about this call.
    Call(uuid::Uuid),
}

/// Why an event reached user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The enforcement point does not know. With a ticket the thread is held until it is answered.
    Ask {
        /// What the answer is given to; none in observe mode.
        ticket: Option<u64>,
        /// The thread notices being held: park it at once.
        park: bool,
    },
    /// Decided from the table, by the evaluation of that number.
    Remembered {
        /// The verdict.
        allowed: bool,
        /// Which evaluation.
        evaluation: u64,
    },
    /// Decided by the fail direction.
    Failed {
        /// Why there was no decision.
        cause: &'static str,
    },
}

/// One operation as an enforcement point reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// Where it was seen.
    pub layer: Layer,
    /// Index of the session.
    pub session: u32,
    /// Who.
    pub task: Task,
    /// Under which tool call.
    pub belongs: Belongs,
    /// Why.
    pub kind: EventKind,
    /// What.
    pub operation: Operation,
    /// What it may be remembered by; none: never.
    pub key: Option<Key>,
    /// The domain and generation the thread had; 0: not known.
    pub domain: u32,
    /// See `domain`.
    pub generation: u32,
    /// A regular file with more than one hard link whose content or attributes change: a remembered allow does not
    /// bind.
    pub multilink: bool,
    /// Which content, for files.
    pub file: Option<FileIdentity>,
    /// Whether the enforcement point only watched.
    pub observe: bool,
}

impl Event {
    /// It changes something or starts a program: recorded one by one, while reads are counted by region.
    pub fn leaves_trace(&self) -> bool {
        self.operation.action != Action::FileRead
            && self.operation.resource.properties.get("role").is_none_or(|role| role != "library")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_gates_stay_out_of_ours() {
        assert_eq!(ActionName::from("file.read".to_owned()), Action::FileRead);
        assert_eq!(ActionName::from("can_read".to_owned()), ActionName::Other("can_read".into()));
        assert!(ActionName::is_reserved("file.wirte") && ActionName::is_reserved("tool"));
        assert!(!ActionName::is_reserved("read") && !ActionName::is_reserved("files.read"));
    }

    #[test]
    fn actions_stand_at_their_number() {
        for (index, (action, name)) in ACTIONS.iter().enumerate() {
            assert_eq!(*action as usize, index + 1);
            assert_eq!(Action::from_number(*action as u8), Some(*action));
            assert_eq!(Action::from_name(name), Some(*action));
        }
        assert_eq!(Action::from_number(0), None);
        assert_eq!(Action::from_number(200), None);
    }
}
