//! Operations near what a policy names, as an enforcement point would send them.

use authz::abi::raw::*;
use authz::enforce::wire;
use authz::event::{Action, Event, Layer, Mode};
use authz::policy::Input;
use authz::policy::input::{Context, Subject, SubjectProperties, Tool};

use crate::policies::path;
use crate::random::Random;

/// An operation.
pub fn operation(random: &mut Random, near: &[String]) -> Event {
    let files = [Action::FileRead, Action::FileWrite, Action::FileCreate, Action::ProcessExec];
    match random.below(12) {
        0 => event(AUTHZ_OBJ_ADDRESS, Action::NetConnect, &address(random), b""),
        1 => event(AUTHZ_OBJ_UNIX_PATH, Action::NetConnect, &name(random, near), b""),
        2 if random.one_in(2) => {
            event(AUTHZ_OBJ_UNIX_ABSTRACT, Action::NetConnect, &name(random, near)[1..], b"")
        }
        2 => event(
            AUTHZ_OBJ_ANON,
            *random.of(&files),
            if random.one_in(2) { b"pipefs" } else { b"sockfs" },
            b"",
        ),
        3 if random.one_in(4) => event(AUTHZ_OBJ_PATH, Action::NetConnect, &name(random, near), b""),
        _ => event(AUTHZ_OBJ_PATH, *random.of(&files), &name(random, near), b""),
    }
}

fn name(random: &mut Random, near: &[String]) -> Vec<u8> {
    let mut name = if random.one_in(3) || near.is_empty() { path(random) } else { random.of(near).clone() };
    match random.below(8) {
        0 => name.push_str(&path(random)),
        1 => {
            name = format!("{name}{}", random.of(&["x", "0", "/", "\\xff", "é"]))
                .trim_end_matches('/')
                .to_owned()
        }
        2 => {
            name.pop();
        }
        3 if random.one_in(20) => name.extend(std::iter::repeat_n("/long", 60)),
        4 => name = format!("/{}{name}", random.of(&["b", "usr", ".ssh"])),
        _ => {}
    }
    let mut name = if name.len() < 2 { b"/".to_vec() } else { name.into_bytes() };
    if random.one_in(40) {
        name.extend([b'/', 0xff, b'a']);
    }
    name
}

fn address(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<authz_address>()];
    let v6 = random.one_in(3);
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u16;
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&(*random.of(&[libc::IPPROTO_TCP, libc::IPPROTO_UDP]) as u16).to_ne_bytes());
    bytes[4..6].copy_from_slice(&random.of(&[443_u16, 53, 80, 1, 1443]).to_be_bytes());
    if v6 {
        bytes[8..12].copy_from_slice(&[0xfc | random.below(4) as u8, random.below(4) as u8, 0, 1]);
        bytes[23] = random.below(3) as u8;
    } else {
        bytes[8..12].copy_from_slice(&[10, random.below(6) as u8, random.below(256) as u8, 1]);
    }
    bytes
}

fn event(object: u32, action: Action, data: &[u8], other: &[u8]) -> Event {
    let mut raw = Box::<authz_event>::default();
    raw.kind = AUTHZ_KIND_ASK as u8;
    raw.object = object as u8;
    raw.action = action as u8;
    raw.path_len = data.len() as u16;
    raw.other_len = other.len() as u16;
    raw.data[..data.len()].copy_from_slice(data);
    raw.data[data.len()..data.len() + other.len()].copy_from_slice(other);
    wire::event(&raw).expect("the record is well-formed")
}

/// What the policy sees of it under one of a few sessions.
pub fn input(random: &mut Random, event: &Event) -> Input {
    let tool = |name: &str| Some(Tool { name: name.into(), call_id: Some("1".into()), ..Tool::default() });
    let context = Context {
        layer: Layer::Kernel,
        mode: Mode::Enforce,
        session: Some("s".into()),
        trace_id: Some(format!("t{}", random.below(100))),
        span_id: Some("p".into()),
        tool: random.of(&[tool("write_file"), tool("read_file"), None]).clone(),
        request: None,
    };
    Input::new(Subject::agent("agent", SubjectProperties::default()), &event.operation, context)
}
