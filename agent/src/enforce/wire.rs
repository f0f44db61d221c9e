//! Records of the eBPF programs become events. The trust boundary of the kernel back end: lengths and
//! numbers are checked, names made canonical text.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use crate::abi::{self, VerdictKey, raw::*};
use crate::event::{Action, Belongs, Event, EventKind, FileIdentity, Key, Layer, Operation, Resource, Task};
use crate::policy::recorder::Region;

/// A record that is not understood: a bug or a version mismatch.
#[derive(Debug, thiserror::Error)]
#[error("the kernel sent {0}, which this authz does not know")]
pub struct WireError(String);

/// Why the fail direction decided, in words; by `authz_cause`.
pub const CAUSES: [&str; AUTHZ_CAUSE_MAX as usize] = [
    "none",
    "no memory for task storage",
    "the session is over",
    "the daemon is silent",
    "the operation cannot be held (io_uring, exiting, core dump)",
    "the thread could not be signalled",
    "no answer in time",
    "the call needs more answers than it can keep",
    "the object has no path (too long, disconnected or renamed all the time)",
    "kernel memory could not be read",
    "the event ring was full",
    "a label could not be inherited",
    "the operation aims at the daemon",
    "no rule can allow the call, since what it is about cannot be judged",
];

/// Turns one record into an event.
pub fn event(raw: &authz_event) -> Result<Event, WireError> {
    let action =
        Action::from_number(raw.action).ok_or_else(|| WireError(format!("action {}", raw.action)))?;
    let path = &raw.data[..usize::from(raw.path_len)];
    let other = &raw.data[path.len()..path.len() + usize::from(raw.other_len)];
    let is_file = matches!(u32::from(raw.object), AUTHZ_OBJ_PATH | AUTHZ_OBJ_FOREIGN | AUTHZ_OBJ_ANON);
    let mut properties = Map::new();
    let id = identity(raw, action, path, other, &mut properties)?;
    if is_file {
        file_properties(raw, action, other, &mut properties);
    }
    Ok(Event {
        time_ns: raw.time_ns,
        layer: Layer::Kernel,
        session: raw.session,
        task: task(raw),
        belongs: Belongs::To { own: raw.calls, open: raw.open_calls },
        kind: kind(raw)?,
        operation: Operation {
            action,
            resource: Resource { id, properties },
            properties: action_properties(raw, action),
        },
        key: key(raw, action, path, other),
        domain: raw.domain,
        generation: raw.generation,
        multilink: raw.flags & AUTHZ_EVENT_MULTILINK != 0 && !names_only(action),
        file: is_file.then_some(FileIdentity {
            ino: raw.ino,
            size: raw.size,
            ctime_sec: raw.ctime_sec,
            ctime_nsec: raw.ctime_nsec,
        }),
        observe: raw.observe != 0,
    })
}

/// Whether an action leaves alone what a file's other names stand for.
fn names_only(action: Action) -> bool {
    matches!(action, Action::FileDelete | Action::FileRename | Action::FileLink)
}

fn kind(raw: &authz_event) -> Result<EventKind, WireError> {
    Ok(match u32::from(raw.kind) {
        AUTHZ_KIND_ASK => EventKind::Ask {
            ticket: (raw.ticket != 0).then_some(raw.ticket),
            park: raw.flags & AUTHZ_EVENT_SIGCONT != 0,
        },
        AUTHZ_KIND_DENIED => EventKind::Remembered { allowed: false, evaluation: raw.evaluation },
        AUTHZ_KIND_ALLOWED => EventKind::Remembered { allowed: true, evaluation: raw.evaluation },
        AUTHZ_KIND_FAILED => EventKind::Failed {
            cause: CAUSES
                .get(usize::from(raw.cause))
                .ok_or_else(|| WireError(format!("cause {}", raw.cause)))?,
        },
        other => return Err(WireError(format!("event kind {other}"))),
    })
}

fn task(raw: &authz_event) -> Task {
    let comm: Vec<u8> = raw.comm.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    Task {
        tid: raw.tid as i32,
        tgid: raw.tgid as i32,
        start_ns: raw.start_ns,
        uid: raw.uid,
        gid: raw.gid,
        comm: text(&comm),
    }
}

/// The canonical identity that policy sees.
fn identity(
    raw: &authz_event,
    action: Action,
    path: &[u8],
    other: &[u8],
    properties: &mut Map<String, Value>,
) -> Result<String, WireError> {
    Ok(match u32::from(raw.object) {
        AUTHZ_OBJ_PATH if action == Action::NetConnect => format!("unix:{}", text(path)),
        AUTHZ_OBJ_PATH => text(path),
        AUTHZ_OBJ_FOREIGN => format!("foreign:{}", text(path)),
        AUTHZ_OBJ_BROKEN => format!("unknown:{}", unnamed(action)),
        AUTHZ_OBJ_ANON => anonymous(path, other),
        AUTHZ_OBJ_UNIX_PATH => format!("unix:{}", text(path)),
        AUTHZ_OBJ_UNIX_ABSTRACT => format!("unix:@{}", text(path)),
        AUTHZ_OBJ_PROCESS => raw.target_pid.to_string(),
        // The kernel side pads the word to eight bytes.
        AUTHZ_OBJ_NAME => text(path).replace("address:", "family:").replace("ipproto:", "protocol:"),
        AUTHZ_OBJ_ADDRESS => {
            let address =
                abi::address_of(raw).ok_or_else(|| WireError("an address of a wrong length".into()))?;
            self::address(&address, properties)
        }
        object => return Err(WireError(format!("object kind {object}"))),
    })
}

/// What a name that could not be told would have been.
fn unnamed(action: Action) -> &'static str {
    match action.as_str().split_once('.') {
        Some(("net", _)) => "address",
        Some(("system", _)) => "name",
        _ if matches!(action, Action::ProcessPtrace | Action::ProcessSignal) => "process",
        _ => "path",
    }
}

/// `anon:pipe`, `anon:memfd:NAME`, `anon:[eventpoll]`: by file system type and name.
fn anonymous(kind: &[u8], name: &[u8]) -> String {
    match kind {
        b"pipefs" => "anon:pipe".into(),
        b"sockfs" => "anon:socket".into(),
        b"anon_inodefs" => format!("anon:{}", text(name)),
        _ if name.starts_with(b"memfd:") => format!("anon:{}", text(name)),
        _ => format!("anon:{}:{}", text(kind), text(name)),
    }
}

fn address(address: &authz_address, properties: &mut Map<String, Value>) -> String {
    let [a, b, c, d, ..] = address.addr;
    let (ip, host, family) = if u32::from(address.family) == libc::AF_INET as u32 {
        let ip = Ipv4Addr::new(a, b, c, d).to_string();
        (ip.clone(), ip, "ipv4")
    } else {
        let ip = Ipv6Addr::from(address.addr).to_string();
        (ip.clone(), format!("[{ip}]"), "ipv6")
    };
    let port = u16::from_be(address.port);
    let protocol = match i32::from(address.protocol) {
        libc::IPPROTO_TCP | libc::IPPROTO_MPTCP => "tcp".into(),
        libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE => "udp".into(),
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => "icmp".into(),
        libc::IPPROTO_SCTP => "sctp".into(),
        other => format!("ip-{other}"),
    };
    properties.insert("ip".into(), ip.into());
    properties.insert("port".into(), port.into());
    properties.insert("protocol".into(), protocol.clone().into());
    properties.insert("family".into(), family.into());
    format!("{protocol}://{host}:{port}")
}

fn file_properties(raw: &authz_event, action: Action, other: &[u8], properties: &mut Map<String, Value>) {
    let exists = raw.flags & AUTHZ_EVENT_NEGATIVE == 0;
    properties.insert("exists".into(), exists.into());
    if exists {
        properties.insert("nlink".into(), raw.nlink.into());
        properties.insert("mode".into(), format!("{:04o}", raw.mode & 0o7777).into());
        properties.insert("directory".into(), (raw.flags & AUTHZ_EVENT_DIRECTORY != 0).into());
        if raw.flags & AUTHZ_EVENT_UNLINKED != 0 {
            properties.insert("deleted".into(), true.into());
        }
    }
    let role = match u32::from(raw.role) {
        AUTHZ_ROLE_SOURCE => "source",
        AUTHZ_ROLE_TARGET => "target",
        AUTHZ_ROLE_PROGRAM => "program",
        AUTHZ_ROLE_INTERPRETER => "interpreter",
        AUTHZ_ROLE_LIBRARY => "library",
        _ => "",
    };
    if !role.is_empty() {
        properties.insert("role".into(), role.into());
    }
    if matches!(action, Action::FileRename | Action::FileLink) && !other.is_empty() {
        let name = if u32::from(raw.role) == AUTHZ_ROLE_SOURCE { "target" } else { "source" };
        properties.insert(name.into(), text(other).into());
    }
}

/// `syscall` and, for opens, `flags`.
fn action_properties(raw: &authz_event, action: Action) -> Map<String, Value> {
    let mut properties = Map::new();
    let name = if raw.flags & AUTHZ_EVENT_COMPAT == 0 { super::syscalls::name(raw.syscall) } else { None };
    properties.insert("syscall".into(), name.map_or_else(|| json!(raw.syscall), |name| json!(name)));
    if matches!(action, Action::FileRead | Action::FileWrite) && raw.open_flags != 0 {
        properties.insert("flags".into(), open_flags(raw.open_flags).into());
    }
    properties
}

fn open_flags(flags: u32) -> Vec<&'static str> {
    let access = match flags as i32 & libc::O_ACCMODE {
        libc::O_WRONLY => "WRONLY",
        libc::O_RDWR => "RDWR",
        _ => "RDONLY",
    };
    let named = [
        (libc::O_APPEND, "APPEND"),
        (libc::O_CREAT, "CREAT"),
        (libc::O_TRUNC, "TRUNC"),
        (libc::O_EXCL, "EXCL"),
        (libc::O_DIRECTORY, "DIRECTORY"),
    ];
    let set = named.iter().filter(|(bit, _)| flags as i32 & bit != 0).map(|(_, name)| *name);
    std::iter::once(access).chain(set).collect()
}

/// The same rules as `remembered()` of ebpf/lib/decide.h: what that never looks up has no key.
fn key(raw: &authz_event, action: Action, path: &[u8], other: &[u8]) -> Option<Key> {
    let object = u32::from(raw.object);
    let anonymous = object == AUTHZ_OBJ_ANON;
    if matches!(object, AUTHZ_OBJ_FOREIGN | AUTHZ_OBJ_BROKEN | AUTHZ_OBJ_PROCESS)
        || (object == AUTHZ_OBJ_PATH && raw.flags & AUTHZ_EVENT_UNLINKED != 0)
    {
        return None;
    }
    let mut name = path.to_vec();
    if anonymous {
        name.extend_from_slice(other);
    }
    Some(Key { action, object: raw.object, role: raw.role, names: raw.names, name })
}

/// A key as the trie has it: significant bits and bytes. All bits of the name and of the NUL behind it: exact.
pub fn verdict_key(domain: u32, key: &Key, bits: usize) -> (u32, VerdictKey) {
    let mut bytes = VerdictKey([0; size_of::<VerdictKey>()]);
    bytes.0[..4].copy_from_slice(&domain.to_ne_bytes());
    bytes.0[4] = key.action as u8;
    bytes.0[5] = key.object;
    bytes.0[6] = key.role;
    bytes.0[7] = key.names;
    let length = key.name.len().min(AUTHZ_KEY_MAX as usize);
    bytes.0[8..8 + length].copy_from_slice(&key.name[..length]);
    (64 + bits as u32, bytes)
}

/// The trie's key of a region, by where it begins ([`super::regions`]).
pub fn key_at(start: &[u8], bits: usize) -> (u32, VerdictKey) {
    let mut bytes = VerdictKey([0; size_of::<VerdictKey>()]);
    bytes.0[..start.len()].copy_from_slice(start);
    bytes.0[..4].reverse();
    (bits as u32, bytes)
}

/// Where the region of a trie's key begins.
pub fn start_of(bits: u32, key: &VerdictKey) -> Vec<u8> {
    let mut start = key.0[..(bits as usize).div_ceil(8)].to_vec();
    start[..4].reverse();
    start
}

/// The key of a name that a session's policy looks for.
pub fn name_key(session: u32, name: &[u8]) -> authz_name {
    let mut key = authz_name { session, ..authz_name::default() };
    key.name[..name.len()].copy_from_slice(name);
    key
}

/// The bit of a name in a session's filter: `AUTHZ_NAME_BIT`.
pub fn name_bit(name: &[u8]) -> usize {
    let byte = |index: usize| u32::from(name.get(index).copied().unwrap_or_default());
    let word = byte(0) | byte(1) << 8 | (name.len() as u32) << 16;
    (word.wrapping_mul(0x9e37_79b1) >> 20) as usize % (64 * AUTHZ_NAME_WORDS as usize)
}

/// How many leading bits of the key's name a verdict for the region takes; none: more than a table holds.
pub fn significant_bits(key: &Key, region: Region) -> Option<usize> {
    let whole = (key.name.len() + 1) * 8;
    // What all identities of these objects begin with is not in the key's name.
    let after = |beginning: &str| region.id_bits.saturating_sub(beginning.len() * 8);
    let net = matches!(key.action, Action::NetConnect | Action::NetBind);
    let bits = match u32::from(key.object) {
        _ if region.exact => whole,
        AUTHZ_OBJ_PATH if !net => region.id_bits,
        AUTHZ_OBJ_PATH | AUTHZ_OBJ_UNIX_PATH => after("unix:"),
        AUTHZ_OBJ_UNIX_ABSTRACT => after("unix:@"),
        // Family, protocol and port stand before the address.
        AUTHZ_OBJ_ADDRESS if after("tcp://") == 0 => {
            std::mem::offset_of!(authz_address, addr) * 8 + region.ip_bits
        }
        AUTHZ_OBJ_ANON if after("anon:") == 0 => 0,
        _ if region.id_bits == 0 => 0,
        _ => whole,
    };
    let bits = bits.min(whole);
    // An abstract name may have a NUL in it, so one behind a name tells it from no longer one.
    if u32::from(key.object) == AUTHZ_OBJ_UNIX_ABSTRACT && bits > key.name.len() * 8 {
        return None;
    }
    (bits <= AUTHZ_KEY_MAX as usize * 8).then_some(bits)
}

/// Bytes of the kernel as text: what is not UTF-8 as `\xNN`, so that no two names look alike by loss.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(object: u32, action: Action, data: &[u8], other: &[u8]) -> Box<authz_event> {
        let mut raw = Box::<authz_event>::default();
        raw.kind = AUTHZ_KIND_ASK as u8;
        raw.object = object as u8;
        raw.action = action as u8;
        raw.path_len = data.len() as u16;
        raw.other_len = other.len() as u16;
        raw.data[..data.len()].copy_from_slice(data);
        raw.data[data.len()..data.len() + other.len()].copy_from_slice(other);
        raw
    }

    /// The numbers are what gcc makes of `AUTHZ_NAME_BIT`.
    #[test]
    fn the_bit_of_a_name_is_that_of_the_programs() {
        let bits = [".ssh", "x", "sudo.x", "\u{e9}"].map(|name| name_bit(name.as_bytes()));
        assert_eq!(bits, [6, 59, 122, 367]);
    }

    #[test]
    fn names_become_canonical() {
        let id = |object, action, data: &[u8], other: &[u8]| {
            event(&raw(object, action, data, other)).unwrap().operation.resource.id
        };
        assert_eq!(id(AUTHZ_OBJ_PATH, Action::FileRead, b"/etc/hosts", b""), "/etc/hosts");
        assert_eq!(id(AUTHZ_OBJ_PATH, Action::FileRead, b"/a\xff", b""), "/a\\xff");
        assert_eq!(id(AUTHZ_OBJ_FOREIGN, Action::FileRead, b"/prod/x", b""), "foreign:/prod/x");
        assert_eq!(id(AUTHZ_OBJ_BROKEN, Action::FileSetattr, b"", b""), "unknown:path");
        assert_eq!(id(AUTHZ_OBJ_BROKEN, Action::NetConnect, b"", b""), "unknown:address");
        assert_eq!(id(AUTHZ_OBJ_BROKEN, Action::SystemIoUring, b"", b""), "unknown:name");
        assert_eq!(id(AUTHZ_OBJ_ANON, Action::FileRead, b"tmpfs", b"memfd:x"), "anon:memfd:x");
        assert_eq!(id(AUTHZ_OBJ_ANON, Action::FileRead, b"pipefs", b""), "anon:pipe");
        assert_eq!(id(AUTHZ_OBJ_UNIX_ABSTRACT, Action::NetConnect, b"x", b""), "unix:@x");
        assert_eq!(id(AUTHZ_OBJ_NAME, Action::SystemSocket, b"address:40", b""), "family:40");
    }

    #[test]
    fn an_address_is_read_and_a_short_one_refused() {
        let mut bytes = [0; 28];
        bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
        bytes[2..4].copy_from_slice(&6u16.to_ne_bytes());
        bytes[4..6].copy_from_slice(&443u16.to_be_bytes());
        bytes[8..12].copy_from_slice(&[1, 2, 3, 4]);
        let event = event(&raw(AUTHZ_OBJ_ADDRESS, Action::NetConnect, &bytes, b"")).unwrap();
        assert_eq!(event.operation.resource.id, "tcp://1.2.3.4:443");
        assert!(super::event(&raw(AUTHZ_OBJ_ADDRESS, Action::NetConnect, &bytes[..9], b"")).is_err());
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut bad = raw(AUTHZ_OBJ_PATH, Action::FileRead, b"/", b"");
        bad.action = 99;
        assert!(event(&bad).is_err());
        let mut bad = raw(77, Action::FileRead, b"/", b"");
        assert!(event(&bad).is_err());
        bad.object = AUTHZ_OBJ_PATH as u8;
        bad.kind = 9;
        assert!(event(&bad).is_err());
        bad.kind = AUTHZ_KIND_FAILED as u8;
        bad.cause = 200;
        assert!(event(&bad).is_err());
    }

    #[test]
    fn an_exact_key_ends_in_nul_and_is_no_prefix_of_a_longer_name() {
        let key = |name: &[u8]| key_of(AUTHZ_OBJ_PATH, Action::FileRead, name);
        let exact = Region { exact: true, ..Region::default() };
        let whole = significant_bits(&key(b"/a"), exact).unwrap();
        let (bits, bytes) = verdict_key(7, &key(b"/a"), whole);
        assert_eq!(bits, (8 + 3) * 8);
        let (_, longer) = verdict_key(7, &key(b"/ab"), whole);
        assert_ne!(bytes.0[..11], longer.0[..11]);
        assert_eq!(significant_bits(&key(&[b'a'; 239]), exact), Some(1920));
        assert_eq!(significant_bits(&key(&[b'a'; 240]), exact), None, "more than the table holds");
    }

    fn key_of(object: u32, action: Action, name: &[u8]) -> Key {
        Key { action, object: object as u8, role: 0, names: 0, name: name.to_vec() }
    }

    #[test]
    fn a_region_is_a_prefix_of_the_name() {
        let bits = |object, action, name: &[u8], id_bits, ip_bits| {
            significant_bits(&key_of(object, action, name), Region { id_bits, ip_bits, exact: false })
        };
        let address = [0; 28];
        for (object, action, name, id_bits, ip_bits, expected) in [
            (AUTHZ_OBJ_PATH, Action::FileRead, &b"/usr/x"[..], 13, 0, Some(13)),
            (AUTHZ_OBJ_PATH, Action::FileRead, &[b'a'; 4000], 13, 0, Some(13)),
            (AUTHZ_OBJ_PATH, Action::NetConnect, b"/run/x", 48, 0, Some(8)),
            (AUTHZ_OBJ_UNIX_PATH, Action::NetConnect, b"/run/x", 9, 0, Some(0)),
            (AUTHZ_OBJ_UNIX_ABSTRACT, Action::NetConnect, b"x", 50, 0, Some(2)),
            (AUTHZ_OBJ_UNIX_ABSTRACT, Action::NetConnect, b"x", 64, 0, None),
            (AUTHZ_OBJ_ADDRESS, Action::NetConnect, &address, 3, 8, Some(72)),
            (AUTHZ_OBJ_ADDRESS, Action::NetConnect, &address, 49, 8, Some(232)),
            (AUTHZ_OBJ_ANON, Action::FileRead, b"pipefs", 40, 0, Some(0)),
            (AUTHZ_OBJ_ANON, Action::FileRead, b"pipefs", 41, 0, Some(56)),
            (AUTHZ_OBJ_NAME, Action::SystemSocket, b"netlink:0", 0, 0, Some(0)),
            (AUTHZ_OBJ_NAME, Action::SystemSocket, b"netlink:0", 1, 0, Some(80)),
        ] {
            assert_eq!(bits(object, action, name, id_bits, ip_bits), expected, "{object} {name:?}");
        }
    }
}
