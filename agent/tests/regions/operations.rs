//! Operations near what a policy names, as an enforcement point would send them.

use authz::abi::raw::*;
use authz::enforce::wire;
use authz::event::{Action, Event, Layer, Mode};
use authz::policy::Input;
use authz::policy::input::{Context, Subject, SubjectProperties, Tool};
use serde_json::json;

use crate::conditions::About;
use crate::policies::{end, path};
use crate::random::Random;

/// An operation.
pub fn operation(random: &mut Random, about: About, near: &[String]) -> Event {
    use Action::*;
    let files = [FileRead, FileRead, FileWrite, FileWrite, FileCreate, FileDelete, FileSetattr, ProcessExec];
    let of_addresses = matches!(about, About::Blocks | About::Ports);
    match random.below(if of_addresses { 3 } else { 14 }) {
        0 | 1 if random.one_in(5) => event(random, AUTHZ_OBJ_ADDRESS, NetBind, 0, &[]),
        0 | 1 => event(random, AUTHZ_OBJ_ADDRESS, NetConnect, 0, &[]),
        2 => {
            let name = name(random, near);
            match random.below(4) {
                0 => event(random, AUTHZ_OBJ_PATH, NetConnect, 0, &[&name]),
                1 => event(random, AUTHZ_OBJ_UNIX_ABSTRACT, NetConnect, 0, &[&name[1..]]),
                _ => event(random, AUTHZ_OBJ_UNIX_PATH, NetConnect, 0, &[&name]),
            }
        }
        3 => {
            let kind: &[u8] = if random.one_in(2) { b"pipefs" } else { b"tmpfs" };
            let action = *random.of(&files);
            let names = [&b""[..], b"memfd:x"];
            let name = random.of(&names);
            event(random, AUTHZ_OBJ_ANON, action, 0, &[kind, name])
        }
        4 => {
            let (from, to) = (name(random, near), name(random, near));
            let role = *random.of(&[AUTHZ_ROLE_SOURCE, AUTHZ_ROLE_TARGET]);
            let action = *random.of(&[FileRename, FileLink]);
            event(random, AUTHZ_OBJ_PATH, action, role, &[&from, &to])
        }
        5 => {
            let role = *random.of(&[AUTHZ_ROLE_PROGRAM, AUTHZ_ROLE_INTERPRETER, AUTHZ_ROLE_LIBRARY]);
            let name = name(random, near);
            event(random, AUTHZ_OBJ_PATH, ProcessExec, role, &[&name])
        }
        6 if random.one_in(4) => event(random, AUTHZ_OBJ_NAME, SystemSocket, 0, &[b"netlink:0"]),
        6 if random.one_in(3) => {
            let name = name(random, near);
            event(random, AUTHZ_OBJ_FOREIGN, FileRead, 0, &[&name])
        }
        _ => {
            let (action, name) = (*random.of(&files), name(random, near));
            event(random, AUTHZ_OBJ_PATH, action, 0, &[&name])
        }
    }
}

/// A path that is near one of those.
pub fn name(random: &mut Random, near: &[String]) -> Vec<u8> {
    let mut name = if random.one_in(3) || near.is_empty() { path(random) } else { random.of(near).clone() };
    match random.below(8) {
        0 => name.push_str(&end(random)),
        1 => {
            name = format!(
                "{name}{}",
                random.of(&["x", "0", "/", "\\xff", "é", "\u{1}", "\u{1}\u{1}\u{1}/a", "-"])
            )
            .trim_end_matches('/')
            .to_owned()
        }
        2 => {
            name.pop();
        }
        3 if random.one_in(20) => name.extend(std::iter::repeat_n("/long", 60)),
        4 => {
            let (top, first) = (random.top, random.of(&["b", "usr", ".ssh"]));
            name = format!("{top}/{first}{}", &name[top.len()..]);
        }
        _ => {}
    }
    let mut name = if name.len() < 2 { b"/".to_vec() } else { name.into_bytes() };
    if random.one_in(40) {
        name.extend([b'/', 0xff, b'a']);
    }
    name
}

/// The bytes of an address.
pub fn address(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<authz_address>()];
    let v6 = random.one_in(3);
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u16;
    let protocols = [libc::IPPROTO_TCP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP];
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&(*random.of(&protocols) as u16).to_ne_bytes());
    bytes[4..6].copy_from_slice(&random.of(&[443_u16, 53, 80, 1, 1443]).to_be_bytes());
    if v6 {
        let first = if random.one_in(8) { 0 } else { 0xfc | random.below(4) as u8 };
        bytes[8..12].copy_from_slice(&[first, random.below(4) as u8, 0, u8::from(first != 0)]);
        bytes[23] = random.below(3) as u8;
    } else {
        bytes[8..12].copy_from_slice(&[10, random.below(6) as u8, random.below(256) as u8, 1]);
    }
    bytes
}

fn event(random: &mut Random, object: u32, action: Action, role: u32, names: &[&[u8]]) -> Event {
    let address = address(random);
    let name = names.first().copied().unwrap_or(&address);
    let other = names.get(1).copied().unwrap_or_default();
    let mut raw = Box::<authz_event>::default();
    raw.kind = AUTHZ_KIND_ASK as u8;
    raw.object = object as u8;
    raw.action = action as u8;
    raw.role = role as u8;
    raw.nlink = 1 + u32::from(random.one_in(4));
    raw.flags = if action == Action::FileCreate { AUTHZ_EVENT_NEGATIVE } else { 0 };
    raw.flags |= if random.one_in(30) { AUTHZ_EVENT_UNLINKED } else { 0 };
    raw.path_len = name.len() as u16;
    raw.other_len = other.len() as u16;
    raw.data[..name.len()].copy_from_slice(name);
    raw.data[name.len()..name.len() + other.len()].copy_from_slice(other);
    wire::event(&raw).expect("the record is well-formed")
}

/// What the policy sees of it under one of a few sessions and tool calls.
pub fn input(random: &mut Random, event: &Event) -> Input {
    let session = *random.of(&["s1", "s1", "s2"]);
    let tool = |name: &str, path: &str| {
        let (name, arguments) = (name.into(), json!({"path": path}));
        Some(Tool { name, call_id: Some("1".into()), arguments, ..Tool::default() })
    };
    let context = Context {
        layer: Layer::Kernel,
        mode: if random.one_in(10) { Mode::Observe } else { Mode::Enforce },
        session: Some(session.into()),
        trace_id: Some(format!("t{}", random.below(100))),
        span_id: Some("p".into()),
        tool: random
            .of(&[
                tool("write_file", "/a"),
                tool("read_file", "/a/b"),
                tool("read_file", "/prod"),
                None,
                None,
            ])
            .clone(),
        request: None,
    };
    let exe = *random.of(&["/usr/bin/node", "/usr/bin/git"]);
    let properties = SubjectProperties {
        uid: Some(if session == "s1" { 0 } else { 1000 }),
        pid: Some(7),
        exe: Some(exe.into()),
        comm: Some(random.of(&["node", "git"]).to_string()),
        ..SubjectProperties::default()
    };
    let agent = if session == "s1" { "one" } else { "two" };
    Input::new(Subject::agent(agent, properties), &event.operation, context)
}
