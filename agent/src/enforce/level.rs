//! What is really enforced, per action: a value that is printed, stored and compared, not a log line.

use serde::{Deserialize, Serialize};

use crate::event::{ACTIONS, Action};

/// What makes decisions bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// LSM programs: the kernel asks about the object it is about to touch.
    BpfLsm,
    /// A seccomp supervisor, with Landlock underneath where it exists.
    Seccomp,
    /// Nothing below the tool call.
    None,
}

/// How far an action is enforced. The order is that of strength.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all.
    None,
    /// With the named holes.
    Partial,
    /// Every way that is known.
    Full,
}

/// One action's enforcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionLevel {
    /// The action.
    pub action: Action,
    /// How far.
    pub level: Level,
    /// What is not covered, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What a session, or this machine, enforces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enforcement {
    /// By what.
    pub backend: Backend,
    /// Every action, in the order of [`ACTIONS`].
    pub actions: Vec<ActionLevel>,
}

/// A hook that an action needs.
struct Need {
    hook: &'static str,
    /// A hook that covers the same on kernels that do not have this one.
    or: &'static str,
    /// What goes unseen without it.
    covers: &'static str,
    /// Without it nothing of the action is enforced.
    vital: bool,
}

const fn vital(hook: &'static str, covers: &'static str) -> Need {
    Need { hook, or: "", covers, vital: true }
}

const fn also(hook: &'static str, covers: &'static str) -> Need {
    Need { hook, or: "", covers, vital: false }
}

/// Newer kernels have a hook of its own for what `or` covers on older ones.
const fn split(hook: &'static str, or: &'static str, covers: &'static str) -> Need {
    Need { hook, or, covers, vital: false }
}

/// Which hooks an action is enforced by.
const NEEDS: &[(Action, &[Need])] = &[
    (Action::FileRead, &[vital("file_open", "open"), also("file_receive", "descriptors sent by others")]),
    (
        Action::FileWrite,
        &[
            vital("file_open", "open"),
            also("path_truncate", "truncate"),
            // Up to 6.1 ftruncate(2) calls path_truncate.
            split("file_truncate", "path_truncate", "ftruncate"),
        ],
    ),
    (
        Action::FileCreate,
        &[
            vital("path_mknod", "new files"),
            also("path_mkdir", "mkdir"),
            also("path_symlink", "symlink"),
            also("inode_create", "new message queues"),
        ],
    ),
    (
        Action::FileDelete,
        &[
            vital("path_unlink", "unlink"),
            also("path_rmdir", "rmdir"),
            also("inode_unlink", "removal of message queues"),
        ],
    ),
    (Action::FileRename, &[vital("path_rename", "rename")]),
    (Action::FileLink, &[vital("path_link", "link")]),
    (
        Action::FileSetattr,
        &[
            vital("path_chmod", "chmod"),
            also("path_chown", "chown"),
            also("inode_setattr", "utimes"),
            also("inode_setxattr", "extended attributes"),
            also("inode_removexattr", "removal of extended attributes"),
            split("inode_set_acl", "inode_setxattr", "access control lists"),
            split("inode_remove_acl", "inode_removexattr", "removal of access control lists"),
            also("file_ioctl", "file flags"),
            split("file_ioctl_compat", "file_ioctl", "file flags by 32-bit calls"),
            split("inode_file_setattr", "file_ioctl", "file flags by file_setattr"),
        ],
    ),
    (
        Action::ProcessExec,
        &[
            vital("bprm_check_security", "exec"),
            also("mmap_file", "libraries and programs mapped as code"),
            also("file_mprotect", "pages made executable later"),
        ],
    ),
    (
        Action::ProcessPtrace,
        &[vital("ptrace_access_check", "ptrace and /proc/PID/mem"), also("ptrace_traceme", "PTRACE_TRACEME")],
    ),
    (
        Action::ProcessSignal,
        &[
            vital("task_kill", "signals"),
            also("file_fcntl", "signals about files"),
            also("file_ioctl", "signals about files by ioctl"),
            split("file_ioctl_compat", "file_ioctl", "signals about files by 32-bit calls"),
        ],
    ),
    (
        Action::NetConnect,
        &[
            vital("socket_connect", "connect"),
            also("socket_sendmsg", "sendto, sendmsg and TCP fast open"),
            also("unix_stream_connect", "the real path of a Unix socket"),
            also("unix_may_send", "Unix datagrams"),
        ],
    ),
    (Action::NetBind, &[vital("socket_bind", "bind"), also("path_mknod", "bind to a path")]),
    (
        Action::SystemMount,
        &[
            vital("sb_mount", "mount"),
            also("move_mount", "move_mount"),
            also("sb_umount", "umount"),
            also("sb_pivotroot", "pivot_root"),
            also("path_chroot", "chroot"),
            also("capable", "open_tree, mount_setattr and setns"),
        ],
    ),
    (Action::SystemUserns, &[vital("userns_create", "user namespaces")]),
    (Action::SystemNamespace, &[vital("capable", "namespaces")]),
    (Action::SystemBpf, &[vital("bpf", "bpf(2)")]),
    (Action::SystemPerf, &[vital("perf_event_open", "perf_event_open")]),
    (
        Action::SystemModule,
        &[
            vital("kernel_read_file", "modules and kernels from files"),
            also("kernel_load_data", "from memory"),
        ],
    ),
    // Works on every supported kernel; uring_allowed came with 6.18.
    (Action::SystemIoUring, &[vital("inode_init_security_anon", "io_uring")]),
    (Action::SystemRawSocket, &[vital("socket_create", "sockets")]),
    (Action::SystemSocket, &[vital("socket_create", "sockets")]),
    // Decided at the gate, which needs nothing from the kernel.
    (Action::ToolCall, &[]),
];

fn needs(action: Action) -> &'static [Need] {
    NEEDS.iter().find(|(of, _)| *of == action).map_or(&[], |(_, needs)| *needs)
}

/// Every hook that some action needs, each once.
pub fn hooks() -> Vec<&'static str> {
    let mut hooks: Vec<_> =
        ACTIONS.iter().flat_map(|(action, _)| needs(*action)).map(|need| need.hook).collect();
    hooks.sort_unstable();
    hooks.dedup();
    hooks
}

impl Enforcement {
    /// By LSM programs at the hooks for which `attached` says yes. `exists` tells the hooks of the kernel: one
    /// that does not exist may be covered by an older one, one that exists must be attached itself.
    pub fn by_hooks(exists: impl Fn(&str) -> bool, attached: impl Fn(&str) -> bool) -> Self {
        let has = |need: &Need| {
            attached(need.hook) || (!need.or.is_empty() && !exists(need.hook) && attached(need.or))
        };
        let actions = ACTIONS.iter().map(|(action, _)| {
            let gone: Vec<&Need> = needs(*action).iter().filter(|need| !has(need)).collect();
            let level = match &gone[..] {
                [] => Level::Full,
                gone if gone.iter().any(|need| need.vital) => Level::None,
                _ => Level::Partial,
            };
            let missing = gone.iter().map(|need| format!("{} (hook {})", need.covers, need.hook)).collect();
            ActionLevel { action: *action, level, missing }
        });
        Self { backend: Backend::BpfLsm, actions: actions.collect() }
    }

    /// Nothing but the tool call.
    pub fn nothing(why: &str) -> Self {
        let actions = ACTIONS.iter().map(|(action, _)| match action {
            Action::ToolCall => ActionLevel { action: *action, level: Level::Full, missing: Vec::new() },
            _ => ActionLevel { action: *action, level: Level::None, missing: vec![why.to_owned()] },
        });
        Self { backend: Backend::None, actions: actions.collect() }
    }

    /// The level of one action.
    pub fn of(&self, action: Action) -> Level {
        self.actions.iter().find(|item| item.action == action).map_or(Level::None, |item| item.level)
    }

    /// Refuses what is below a level, with the reason.
    pub fn require(&self, level: Level) -> Result<(), TooWeak> {
        let weak = self.below(level).next().is_some();
        if weak { Err(TooWeak { required: level, enforcement: Box::new(self.clone()) }) } else { Ok(()) }
    }

    /// The actions below a level: what `--require` refuses to start with.
    pub fn below(&self, level: Level) -> impl Iterator<Item = &ActionLevel> {
        self.actions.iter().filter(move |item| item.level < level)
    }
}

/// Less is enforced than was required.
#[derive(Debug, Clone, thiserror::Error)]
#[error("--require {required}, but {} enforces {enforcement}; require less, or see authz doctor", enforcement.backend)]
pub struct TooWeak {
    required: Level,
    enforcement: Box<Enforcement>,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BpfLsm => "bpf-lsm",
            Self::Seccomp => "seccomp",
            Self::None => "nothing",
        })
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Partial => "partial",
            Self::Full => "full",
        })
    }
}

/// One line: `full`, or `partial:` and the actions with what is missing of each.
impl std::fmt::Display for Enforcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let below: Vec<_> = self.below(Level::Full).collect();
        if below.is_empty() {
            return f.write_str("full");
        }
        f.write_str("partial: ")?;
        // Neighbours that lack the same are named together.
        let alike = |a: &&ActionLevel, b: &&ActionLevel| (a.level, &a.missing) == (b.level, &b.missing);
        for (index, items) in below.chunk_by(alike).enumerate() {
            let comma = if index > 0 { "; " } else { "" };
            let actions: Vec<_> = items.iter().map(|item| item.action.as_str()).collect();
            let missing = items[0].missing.iter().map(|text| text.split(" (hook").next().unwrap_or(text));
            let not = if items[0].level == Level::None { "none" } else { "not" };
            write!(f, "{comma}{} {not} {}", actions.join(", "), missing.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_attached_is_full() {
        let all = Enforcement::by_hooks(|_| true, |_| true);
        assert_eq!(all.actions.len(), ACTIONS.len());
        assert_eq!(all.below(Level::Full).count(), 0);
        assert!(
            ACTIONS.iter().zip(NEEDS).all(|((action, _), (of, _))| action == of),
            "the table has every action"
        );
        assert_eq!(NEEDS.len(), ACTIONS.len());
    }

    #[test]
    fn a_missing_hook_shows_where_it_counts() {
        let without = |gone: &'static str| Enforcement::by_hooks(move |_| true, move |hook| hook != gone);
        assert_eq!(without("file_open").of(Action::FileRead), Level::None);
        let partial = without("path_rmdir");
        let below: Vec<_> = partial.below(Level::Full).collect();
        assert_eq!(below.len(), 1);
        assert_eq!(below[0].missing, ["rmdir (hook path_rmdir)"]);
        assert_eq!((below[0].action, below[0].level), (Action::FileDelete, Level::Partial));
        for hook in hooks() {
            assert_ne!(without(hook).below(Level::Full).count(), 0, "{hook} counts somewhere");
        }
    }

    #[test]
    fn an_older_hook_covers_only_where_the_newer_does_not_exist() {
        let attached = |hook: &str| hook != "file_truncate";
        assert_eq!(Enforcement::by_hooks(attached, attached).of(Action::FileWrite), Level::Full, "6.1");
        assert_eq!(Enforcement::by_hooks(|_| true, attached).of(Action::FileWrite), Level::Partial);
    }

    #[test]
    fn nothing_is_none_but_the_gate() {
        let nothing = Enforcement::nothing("no");
        assert_eq!(nothing.below(Level::Partial).count(), ACTIONS.len() - 1);
        let json = serde_json::to_value(&nothing).unwrap();
        assert_eq!(json["backend"], "none");
        assert_eq!(
            json["actions"][0],
            serde_json::json!({"action": "file.read", "level": "none", "missing": ["no"]})
        );
        assert!(Level::None < Level::Partial && Level::Partial < Level::Full);
    }

    #[test]
    fn what_is_required_and_missing_is_named() {
        let partial = Enforcement::by_hooks(|_| true, |hook| hook != "path_rmdir");
        assert!(partial.require(Level::Partial).is_ok());
        assert_eq!(
            partial.require(Level::Full).unwrap_err().to_string(),
            "--require full, but bpf-lsm enforces partial: file.delete not rmdir; require less, or see authz doctor"
        );
    }

    #[test]
    fn a_line_names_neighbours_together() {
        let without =
            |gone: &[&str]| Enforcement::by_hooks(|_| true, |hook| !gone.contains(&hook)).to_string();
        assert_eq!(without(&[]), "full");
        assert_eq!(
            without(&["socket_create", "path_rmdir"]),
            "partial: file.delete not rmdir; system.raw_socket, system.socket none sockets"
        );
    }
}
