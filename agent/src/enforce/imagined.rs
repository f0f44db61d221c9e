//! An operation that nobody does: what an enforcement point would ask about it, so that it is decided and looked up
//! just as if a process did it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::wire;
use crate::abi::{self, raw::*};
use crate::clock::monotonic_ns;
use crate::event::{Action, Belongs, Event, Layer, Mode, Task};
use crate::policy::names::Names;
use crate::session::Session;

/// What is asked about, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imagined {
    /// What would be done.
    pub action: Action,
    /// To what: an absolute path, resolved; `tcp://192.0.2.1:443`; a name.
    pub resource: String,
    /// What of a file its owner could see; none: it does not exist, or is no file.
    #[serde(default)]
    pub file: Option<FileFacts>,
    /// Of the program, in hexadecimal, if it could be read.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// `st_mode`.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
}

/// Why nothing can be asked about a resource.
#[derive(Debug, thiserror::Error)]
pub enum ImagineError {
    /// Nobody would see it as an operation.
    #[error("a tool call is decided with its arguments; try one out with authz policy eval --input")]
    Tool,
    /// The resource does not fit the action.
    #[error("{resource:?} is no {kind} for {action}; write e.g. {example}")]
    Resource {
        /// What was given.
        resource: String,
        /// What it should be.
        kind: &'static str,
        /// The action.
        action: &'static str,
        /// What fits.
        example: &'static str,
    },
}

impl Imagined {
    /// As an operation of a session's first process, under the tool calls that are open now.
    pub fn of_session(&self, session: &Session, layer: Layer) -> Result<Event, ImagineError> {
        let mut event = self.event(layer, session.engine.names())?;
        event.session = session.index;
        event.task = first_task(session);
        event.belongs = Belongs::To { own: 0, open: session.calls.current() };
        event.observe = session.mode == Mode::Observe;
        Ok(event)
    }

    /// As an operation of this process, under a policy that looks for these names in paths.
    pub fn event(&self, layer: Layer, names: &Names) -> Result<Event, ImagineError> {
        let mut raw = Box::<authz_event>::default();
        raw.kind = AUTHZ_KIND_ASK as u8;
        raw.time_ns = monotonic_ns();
        raw.action = self.action as u8;
        raw.tgid = std::process::id();
        raw.tid = raw.tgid;
        raw.uid = nix::unistd::geteuid().as_raw();
        raw.gid = nix::unistd::getegid().as_raw();
        self.object(&mut raw)?;
        let mut event = wire::event(&raw).map_err(|_| self.unfit())?;
        // No system call was made.
        event.operation.properties.clear();
        if u32::from(raw.object) == AUTHZ_OBJ_PATH
            && let Some(key) = &mut event.key
        {
            key.names = names.mask(&key.name);
        }
        Ok(Event { layer, ..event })
    }

    fn unfit(&self) -> ImagineError {
        let (kind, example) = match self.action.resource_type() {
            "file" | "executable" => ("path", "/etc/hosts"),
            "address" => ("address", "tcp://192.0.2.1:443 or unix:/run/docker.sock"),
            "process" => ("process", "4711"),
            _ => ("name", "netlink:0"),
        };
        let (resource, action) = (self.resource.clone(), self.action.as_str());
        ImagineError::Resource { resource, kind, action, example }
    }

    fn object(&self, raw: &mut authz_event) -> Result<(), ImagineError> {
        let id = self.resource.as_str();
        match self.action.resource_type() {
            "tool" => return Err(ImagineError::Tool),
            "file" | "executable" => {
                raw.role = match self.action {
                    Action::FileRename | Action::FileLink => AUTHZ_ROLE_SOURCE as u8,
                    Action::ProcessExec => AUTHZ_ROLE_PROGRAM as u8,
                    _ => AUTHZ_ROLE_NONE as u8,
                };
                self.put_file(raw)?;
            }
            "process" => {
                raw.object = AUTHZ_OBJ_PROCESS as u8;
                raw.target_pid = id.parse().map_err(|_| self.unfit())?;
            }
            "address" => match id.strip_prefix("unix:") {
                Some(name) => match name.strip_prefix('@') {
                    Some(name) => self.put(raw, AUTHZ_OBJ_UNIX_ABSTRACT, name.as_bytes(), b"")?,
                    None if name.starts_with('/') => {
                        self.put(raw, AUTHZ_OBJ_UNIX_PATH, name.as_bytes(), b"")?;
                    }
                    None => return Err(self.unfit()),
                },
                None => {
                    let address = address(id, self.action).ok_or_else(|| self.unfit())?;
                    self.put(raw, AUTHZ_OBJ_ADDRESS, abi::bytes_of_address(&address), b"")?;
                }
            },
            _ if id.is_empty() => return Err(self.unfit()),
            _ => {
                let word = id.replace("family:", "address:").replace("protocol:", "ipproto:");
                self.put(raw, AUTHZ_OBJ_NAME, word.as_bytes(), b"")?;
            }
        }
        Ok(())
    }

    fn put_file(&self, raw: &mut authz_event) -> Result<(), ImagineError> {
        let id = self.resource.as_str();
        match self.file {
            Some(facts) => {
                (raw.mode, raw.nlink) = (facts.mode, facts.nlink);
                match facts.mode & libc::S_IFMT {
                    libc::S_IFDIR => raw.flags |= AUTHZ_EVENT_DIRECTORY,
                    libc::S_IFREG if facts.nlink > 1 => raw.flags |= AUTHZ_EVENT_MULTILINK,
                    _ => {}
                }
            }
            None => raw.flags |= AUTHZ_EVENT_NEGATIVE,
        }
        if let Some(path) = id.strip_prefix("foreign:") {
            return self.put(raw, AUTHZ_OBJ_FOREIGN, path.as_bytes(), b"");
        }
        if id.starts_with("unknown:") {
            raw.object = AUTHZ_OBJ_BROKEN as u8;
            return Ok(());
        }
        if id.starts_with('/') {
            return self.put(raw, AUTHZ_OBJ_PATH, id.as_bytes(), b"");
        }
        let name = id.strip_prefix("anon:").ok_or_else(|| self.unfit())?;
        let (kind, name) = match name {
            "pipe" => ("pipefs", ""),
            "socket" => ("sockfs", ""),
            _ if name.starts_with('[') => ("anon_inodefs", name),
            _ if name.starts_with("memfd:") => ("tmpfs", name),
            _ => name.split_once(':').unwrap_or((name, "")),
        };
        self.put(raw, AUTHZ_OBJ_ANON, kind.as_bytes(), name.as_bytes())
    }

    fn put(&self, raw: &mut authz_event, object: u32, name: &[u8], other: &[u8]) -> Result<(), ImagineError> {
        let all = name.len() + other.len();
        if all > raw.data.len() || name.len() > AUTHZ_PATH_MAX as usize {
            return Err(self.unfit());
        }
        raw.object = object as u8;
        (raw.path_len, raw.other_len) = (name.len() as u16, other.len() as u16);
        raw.data[..name.len()].copy_from_slice(name);
        raw.data[name.len()..all].copy_from_slice(other);
        Ok(())
    }
}

/// The first process of a session; where it is gone, or there is none, one of its owner.
fn first_task(session: &Session) -> Task {
    let pid = session.first_pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // The second number is the effective one.
    let id = |name: &str| field(name)?.split_ascii_whitespace().nth(1)?.parse::<u32>().ok();
    Task {
        tid: pid,
        tgid: pid,
        start_ns: 0,
        uid: id("Uid:").unwrap_or(session.owner),
        gid: id("Gid:").unwrap_or(session.owner),
        comm: field("Name:").unwrap_or(&session.name).to_owned(),
    }
}

/// An address as the kernel has it: IPv4 in IPv6 is IPv4, and to connect to every address means this host.
fn address(id: &str, action: Action) -> Option<authz_address> {
    let (protocol, rest) = id.split_once("://")?;
    let protocol = match protocol {
        "tcp" => libc::IPPROTO_TCP,
        "udp" => libc::IPPROTO_UDP,
        "icmp" => libc::IPPROTO_ICMP,
        "sctp" => libc::IPPROTO_SCTP,
        other => other.strip_prefix("ip-")?.parse().ok()?,
    };
    let address: SocketAddr = rest.parse().ok()?;
    let mut addr = [0; 16];
    let family = match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let ip = if ip.is_unspecified() && action == Action::NetConnect {
                [127, 0, 0, 1]
            } else {
                ip.octets()
            };
            addr[..4].copy_from_slice(&ip);
            libc::AF_INET
        }
        IpAddr::V6(ip) => {
            let here = ip.is_unspecified() && action == Action::NetConnect;
            addr = if here { Ipv6Addr::LOCALHOST.octets() } else { ip.octets() };
            libc::AF_INET6
        }
    };
    Some(authz_address {
        family: family as u16,
        protocol: protocol as u16,
        port: address.port().to_be(),
        addr,
        ..authz_address::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: Action, resource: &str) -> Result<Event, ImagineError> {
        let imagined = Imagined { action, resource: resource.into(), file: None, sha256: None };
        imagined.event(Layer::Kernel, &Names::new([[".ssh".to_owned()].into()]))
    }

    #[test]
    fn what_is_named_as_the_policy_names_it_comes_out_named_so() {
        for (action, id) in [
            (Action::FileRead, "/etc/hosts"),
            (Action::FileWrite, "anon:pipe"),
            (Action::FileWrite, "anon:memfd:x"),
            (Action::FileWrite, "anon:[eventpoll]"),
            (Action::FileWrite, "anon:mqueue:q"),
            (Action::FileRead, "foreign:/x"),
            (Action::FileRead, "unknown:path"),
            (Action::ProcessExec, "/bin/sh"),
            (Action::ProcessSignal, "42"),
            (Action::NetConnect, "tcp://192.0.2.1:443"),
            (Action::NetConnect, "udp://[fe80::1]:53"),
            (Action::NetBind, "tcp://0.0.0.0:80"),
            (Action::NetConnect, "unix:/run/x"),
            (Action::NetConnect, "unix:@x"),
            (Action::SystemSocket, "netlink:0"),
            (Action::SystemSocket, "family:40"),
        ] {
            assert_eq!(event(action, id).unwrap().operation.resource.id, id);
        }
        let id = |id| event(Action::NetConnect, id).unwrap().operation.resource.id;
        assert_eq!(id("tcp://0.0.0.0:80"), "tcp://127.0.0.1:80");
        assert_eq!(id("tcp://[::ffff:1.2.3.4]:80"), "tcp://1.2.3.4:80");
        assert_eq!(id("tcp://[::]:80"), "tcp://[::1]:80");
    }

    #[test]
    fn what_fits_no_action_is_refused() {
        for (action, id) in [
            (Action::FileRead, "etc/hosts"),
            (Action::NetConnect, "tcp://example.com:80"),
            (Action::NetConnect, "192.0.2.1"),
            (Action::ProcessSignal, "init"),
            (Action::SystemMount, ""),
            (Action::ToolCall, "fs/read"),
        ] {
            assert!(event(action, id).is_err(), "{id}");
        }
        assert!(event(Action::FileRead, &format!("/{}", "x".repeat(5000))).is_err());
    }

    #[test]
    fn keys_are_those_of_real_operations() {
        let key = event(Action::FileRead, "/home/.ssh/x").unwrap().key.unwrap();
        assert_eq!((key.object, key.role, key.names), (AUTHZ_OBJ_PATH as u8, 0, 1));
        let key = event(Action::ProcessExec, "/bin/sh").unwrap().key.unwrap();
        assert_eq!(key.role, AUTHZ_ROLE_PROGRAM as u8);
        assert_eq!(event(Action::FileRead, "foreign:/x").unwrap().key, None);
    }
}
