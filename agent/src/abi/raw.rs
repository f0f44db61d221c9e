//! Generated from `ebpf/include/authz_abi.h` by `cargo xtask codegen`; not to be edited.
#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, reason = "generated")]
#![allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block, reason = "generated")]

pub const AUTHZ_ABI_VERSION: u32 = 6;
pub const AUTHZ_PATH_MAX: u32 = 4096;
pub const AUTHZ_KEY_MAX: u32 = 240;
pub const AUTHZ_VERDICTS_MAX: u32 = 65536;
pub const AUTHZ_SESSIONS_MAX: u32 = 1024;
pub const AUTHZ_WALK_BASE: u32 = 2560;
pub const AUTHZ_DATA_MAX: u32 = 6920;
pub const AUTHZ_NAME_MAX: u32 = 27;
pub const AUTHZ_SLOTS: u32 = 8;
pub const AUTHZ_COUNT_KICKS: u32 = 16;
pub const AUTHZ_COUNT_HITS: u32 = 17;
pub const AUTHZ_COUNT_ASKS: u32 = 18;
pub const AUTHZ_COUNT_RETRIES: u32 = 19;
pub const AUTHZ_COUNT_WALKS: u32 = 20;
pub const AUTHZ_COUNT_WITHIN: u32 = 21;
pub const AUTHZ_COUNTERS: u32 = 24;
pub const AUTHZ_SESSION_DOMAIN_PER_EXEC: u32 = 1;
pub const AUTHZ_SESSION_DOMAIN_PER_FORK: u32 = 2;
pub const AUTHZ_SESSION_DOMAIN_PER_CRED: u32 = 4;
pub const AUTHZ_SESSION_AUDIT_EACH: u32 = 8;
pub const AUTHZ_SESSION_DOMAIN_PER_CALL: u32 = 16;
pub const AUTHZ_SESSION_NAMES: u32 = 32;
pub const AUTHZ_NAME_WORDS: u32 = 8;
pub const AUTHZ_EVENT_UNLINKED: u32 = 1;
pub const AUTHZ_EVENT_MULTILINK: u32 = 2;
pub const AUTHZ_EVENT_DIRECTORY: u32 = 4;
pub const AUTHZ_EVENT_NEGATIVE: u32 = 8;
pub const AUTHZ_EVENT_COMPAT: u32 = 16;
pub const AUTHZ_EVENT_SIGCONT: u32 = 32;
pub type __u8 = ::core::ffi::c_uchar;
pub type __u16 = ::core::ffi::c_ushort;
pub type __u32 = ::core::ffi::c_uint;
pub type __s64 = ::core::ffi::c_longlong;
pub type __u64 = ::core::ffi::c_ulonglong;
pub const AUTHZ_FILE_READ: authz_action = 1;
pub const AUTHZ_FILE_WRITE: authz_action = 2;
pub const AUTHZ_FILE_CREATE: authz_action = 3;
pub const AUTHZ_FILE_DELETE: authz_action = 4;
pub const AUTHZ_FILE_RENAME: authz_action = 5;
pub const AUTHZ_FILE_LINK: authz_action = 6;
pub const AUTHZ_FILE_SETATTR: authz_action = 7;
pub const AUTHZ_PROCESS_EXEC: authz_action = 8;
pub const AUTHZ_PROCESS_PTRACE: authz_action = 9;
pub const AUTHZ_PROCESS_SIGNAL: authz_action = 10;
pub const AUTHZ_NET_CONNECT: authz_action = 11;
pub const AUTHZ_NET_BIND: authz_action = 12;
pub const AUTHZ_SYSTEM_MOUNT: authz_action = 13;
pub const AUTHZ_SYSTEM_USERNS: authz_action = 14;
pub const AUTHZ_SYSTEM_NAMESPACE: authz_action = 15;
pub const AUTHZ_SYSTEM_BPF: authz_action = 16;
pub const AUTHZ_SYSTEM_PERF: authz_action = 17;
pub const AUTHZ_SYSTEM_MODULE: authz_action = 18;
pub const AUTHZ_SYSTEM_IO_URING: authz_action = 19;
pub const AUTHZ_SYSTEM_RAW_SOCKET: authz_action = 20;
pub const AUTHZ_SYSTEM_SOCKET: authz_action = 21;
pub type authz_action = ::core::ffi::c_uint;
pub const AUTHZ_OBJ_PATH: authz_object = 1;
pub const AUTHZ_OBJ_FOREIGN: authz_object = 2;
pub const AUTHZ_OBJ_ANON: authz_object = 3;
pub const AUTHZ_OBJ_BROKEN: authz_object = 4;
pub const AUTHZ_OBJ_ADDRESS: authz_object = 5;
pub const AUTHZ_OBJ_UNIX_PATH: authz_object = 6;
pub const AUTHZ_OBJ_UNIX_ABSTRACT: authz_object = 7;
pub const AUTHZ_OBJ_PROCESS: authz_object = 8;
pub const AUTHZ_OBJ_NAME: authz_object = 9;
pub type authz_object = ::core::ffi::c_uint;
pub const AUTHZ_ROLE_NONE: authz_role = 0;
pub const AUTHZ_ROLE_SOURCE: authz_role = 1;
pub const AUTHZ_ROLE_TARGET: authz_role = 2;
pub const AUTHZ_ROLE_PROGRAM: authz_role = 3;
pub const AUTHZ_ROLE_INTERPRETER: authz_role = 4;
pub const AUTHZ_ROLE_LIBRARY: authz_role = 5;
pub type authz_role = ::core::ffi::c_uint;
pub const AUTHZ_MODE_NONE: authz_mode = 0;
pub const AUTHZ_MODE_ENFORCE: authz_mode = 1;
pub const AUTHZ_MODE_OBSERVE: authz_mode = 2;
pub type authz_mode = ::core::ffi::c_uint;
pub const AUTHZ_EFFECT_NONE: authz_effect = 0;
pub const AUTHZ_EFFECT_ALLOW: authz_effect = 1;
pub const AUTHZ_EFFECT_DENY: authz_effect = 2;
pub const AUTHZ_EFFECT_ASK: authz_effect = 3;
pub type authz_effect = ::core::ffi::c_uint;
pub const AUTHZ_KIND_ASK: authz_kind = 1;
pub const AUTHZ_KIND_DENIED: authz_kind = 2;
pub const AUTHZ_KIND_ALLOWED: authz_kind = 3;
pub const AUTHZ_KIND_FAILED: authz_kind = 4;
pub type authz_kind = ::core::ffi::c_uint;
pub const AUTHZ_CAUSE_NONE: authz_cause = 0;
pub const AUTHZ_CAUSE_STORAGE: authz_cause = 1;
pub const AUTHZ_CAUSE_SESSION: authz_cause = 2;
pub const AUTHZ_CAUSE_STALE: authz_cause = 3;
pub const AUTHZ_CAUSE_UNHOLDABLE: authz_cause = 4;
pub const AUTHZ_CAUSE_KICK: authz_cause = 5;
pub const AUTHZ_CAUSE_DEADLINE: authz_cause = 6;
pub const AUTHZ_CAUSE_SLOTS: authz_cause = 7;
pub const AUTHZ_CAUSE_PATH: authz_cause = 8;
pub const AUTHZ_CAUSE_READ: authz_cause = 9;
pub const AUTHZ_CAUSE_RING: authz_cause = 10;
pub const AUTHZ_CAUSE_INHERIT: authz_cause = 11;
pub const AUTHZ_CAUSE_GUARD: authz_cause = 12;
pub const AUTHZ_CAUSE_REFUSED: authz_cause = 13;
pub const AUTHZ_CAUSE_MAX: authz_cause = 14;
pub type authz_cause = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_task {
    pub session: __u32,
    pub generation: __u32,
    pub domain: __u32,
    pub calls: __u32,
    pub born: __u32,
    pub awaiting: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_task"][::core::mem::size_of::<authz_task>() - 24usize];
    ["Alignment of authz_task"][::core::mem::align_of::<authz_task>() - 4usize];
    ["Offset of field: authz_task::session"][::core::mem::offset_of!(authz_task, session) - 0usize];
    ["Offset of field: authz_task::generation"][::core::mem::offset_of!(authz_task, generation) - 4usize];
    ["Offset of field: authz_task::domain"][::core::mem::offset_of!(authz_task, domain) - 8usize];
    ["Offset of field: authz_task::calls"][::core::mem::offset_of!(authz_task, calls) - 12usize];
    ["Offset of field: authz_task::born"][::core::mem::offset_of!(authz_task, born) - 16usize];
    ["Offset of field: authz_task::awaiting"][::core::mem::offset_of!(authz_task, awaiting) - 20usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_session {
    pub mode: __u32,
    pub generation: __u32,
    pub flags: __u32,
    pub calls: __u32,
    pub hold_ns: __u64,
    pub names: [__u64; 8usize],
    pub names_version: __u32,
    pub pad: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_session"][::core::mem::size_of::<authz_session>() - 96usize];
    ["Alignment of authz_session"][::core::mem::align_of::<authz_session>() - 8usize];
    ["Offset of field: authz_session::mode"][::core::mem::offset_of!(authz_session, mode) - 0usize];
    ["Offset of field: authz_session::generation"]
        [::core::mem::offset_of!(authz_session, generation) - 4usize];
    ["Offset of field: authz_session::flags"][::core::mem::offset_of!(authz_session, flags) - 8usize];
    ["Offset of field: authz_session::calls"][::core::mem::offset_of!(authz_session, calls) - 12usize];
    ["Offset of field: authz_session::hold_ns"][::core::mem::offset_of!(authz_session, hold_ns) - 16usize];
    ["Offset of field: authz_session::names"][::core::mem::offset_of!(authz_session, names) - 24usize];
    ["Offset of field: authz_session::names_version"]
        [::core::mem::offset_of!(authz_session, names_version) - 88usize];
    ["Offset of field: authz_session::pad"][::core::mem::offset_of!(authz_session, pad) - 92usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_state {
    pub heartbeat_ns: __u64,
    pub stale_ns: __u64,
    pub daemon_tgid: __u32,
    pub abi_version: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_state"][::core::mem::size_of::<authz_state>() - 24usize];
    ["Alignment of authz_state"][::core::mem::align_of::<authz_state>() - 8usize];
    ["Offset of field: authz_state::heartbeat_ns"]
        [::core::mem::offset_of!(authz_state, heartbeat_ns) - 0usize];
    ["Offset of field: authz_state::stale_ns"][::core::mem::offset_of!(authz_state, stale_ns) - 8usize];
    ["Offset of field: authz_state::daemon_tgid"]
        [::core::mem::offset_of!(authz_state, daemon_tgid) - 16usize];
    ["Offset of field: authz_state::abi_version"]
        [::core::mem::offset_of!(authz_state, abi_version) - 20usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_name {
    pub session: __u32,
    pub name: [__u8; 28usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_name"][::core::mem::size_of::<authz_name>() - 32usize];
    ["Alignment of authz_name"][::core::mem::align_of::<authz_name>() - 4usize];
    ["Offset of field: authz_name::session"][::core::mem::offset_of!(authz_name, session) - 0usize];
    ["Offset of field: authz_name::name"][::core::mem::offset_of!(authz_name, name) - 4usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct authz_verdict_key {
    pub prefixlen: __u32,
    pub domain: __u32,
    pub action: __u8,
    pub object: __u8,
    pub role: __u8,
    pub names: __u8,
    pub name: [__u8; 240usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_verdict_key"][::core::mem::size_of::<authz_verdict_key>() - 252usize];
    ["Alignment of authz_verdict_key"][::core::mem::align_of::<authz_verdict_key>() - 4usize];
    ["Offset of field: authz_verdict_key::prefixlen"]
        [::core::mem::offset_of!(authz_verdict_key, prefixlen) - 0usize];
    ["Offset of field: authz_verdict_key::domain"]
        [::core::mem::offset_of!(authz_verdict_key, domain) - 4usize];
    ["Offset of field: authz_verdict_key::action"]
        [::core::mem::offset_of!(authz_verdict_key, action) - 8usize];
    ["Offset of field: authz_verdict_key::object"]
        [::core::mem::offset_of!(authz_verdict_key, object) - 9usize];
    ["Offset of field: authz_verdict_key::role"][::core::mem::offset_of!(authz_verdict_key, role) - 10usize];
    ["Offset of field: authz_verdict_key::names"]
        [::core::mem::offset_of!(authz_verdict_key, names) - 11usize];
    ["Offset of field: authz_verdict_key::name"][::core::mem::offset_of!(authz_verdict_key, name) - 12usize];
};
impl Default for authz_verdict_key {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_region {
    pub verdict: __u32,
    pub serial: __u32,
    pub bits: __u32,
    pub pad: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_region"][::core::mem::size_of::<authz_region>() - 16usize];
    ["Alignment of authz_region"][::core::mem::align_of::<authz_region>() - 4usize];
    ["Offset of field: authz_region::verdict"][::core::mem::offset_of!(authz_region, verdict) - 0usize];
    ["Offset of field: authz_region::serial"][::core::mem::offset_of!(authz_region, serial) - 4usize];
    ["Offset of field: authz_region::bits"][::core::mem::offset_of!(authz_region, bits) - 8usize];
    ["Offset of field: authz_region::pad"][::core::mem::offset_of!(authz_region, pad) - 12usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_verdict {
    pub effect: __u32,
    pub sent: __u32,
    pub evaluation: __u64,
    pub expires_ns: __u64,
    pub hits: __u64,
    pub serial: __u32,
    pub pad: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_verdict"][::core::mem::size_of::<authz_verdict>() - 40usize];
    ["Alignment of authz_verdict"][::core::mem::align_of::<authz_verdict>() - 8usize];
    ["Offset of field: authz_verdict::effect"][::core::mem::offset_of!(authz_verdict, effect) - 0usize];
    ["Offset of field: authz_verdict::sent"][::core::mem::offset_of!(authz_verdict, sent) - 4usize];
    ["Offset of field: authz_verdict::evaluation"]
        [::core::mem::offset_of!(authz_verdict, evaluation) - 8usize];
    ["Offset of field: authz_verdict::expires_ns"]
        [::core::mem::offset_of!(authz_verdict, expires_ns) - 16usize];
    ["Offset of field: authz_verdict::hits"][::core::mem::offset_of!(authz_verdict, hits) - 24usize];
    ["Offset of field: authz_verdict::serial"][::core::mem::offset_of!(authz_verdict, serial) - 32usize];
    ["Offset of field: authz_verdict::pad"][::core::mem::offset_of!(authz_verdict, pad) - 36usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_answer {
    pub effect: __u32,
    pub domain: __u32,
    pub generation: __u32,
    pub pad: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_answer"][::core::mem::size_of::<authz_answer>() - 16usize];
    ["Alignment of authz_answer"][::core::mem::align_of::<authz_answer>() - 4usize];
    ["Offset of field: authz_answer::effect"][::core::mem::offset_of!(authz_answer, effect) - 0usize];
    ["Offset of field: authz_answer::domain"][::core::mem::offset_of!(authz_answer, domain) - 4usize];
    ["Offset of field: authz_answer::generation"][::core::mem::offset_of!(authz_answer, generation) - 8usize];
    ["Offset of field: authz_answer::pad"][::core::mem::offset_of!(authz_answer, pad) - 12usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct authz_address {
    pub family: __u16,
    pub protocol: __u16,
    pub port: __u16,
    pub pad: __u16,
    pub addr: [__u8; 16usize],
    pub scope: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_address"][::core::mem::size_of::<authz_address>() - 28usize];
    ["Alignment of authz_address"][::core::mem::align_of::<authz_address>() - 4usize];
    ["Offset of field: authz_address::family"][::core::mem::offset_of!(authz_address, family) - 0usize];
    ["Offset of field: authz_address::protocol"][::core::mem::offset_of!(authz_address, protocol) - 2usize];
    ["Offset of field: authz_address::port"][::core::mem::offset_of!(authz_address, port) - 4usize];
    ["Offset of field: authz_address::pad"][::core::mem::offset_of!(authz_address, pad) - 6usize];
    ["Offset of field: authz_address::addr"][::core::mem::offset_of!(authz_address, addr) - 8usize];
    ["Offset of field: authz_address::scope"][::core::mem::offset_of!(authz_address, scope) - 24usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct authz_event {
    pub time_ns: __u64,
    pub ticket: __u64,
    pub evaluation: __u64,
    pub start_ns: __u64,
    pub ino: __u64,
    pub size: __u64,
    pub ctime_sec: __s64,
    pub ctime_nsec: __u32,
    pub dev: __u32,
    pub session: __u32,
    pub domain: __u32,
    pub generation: __u32,
    pub tid: __u32,
    pub tgid: __u32,
    pub uid: __u32,
    pub gid: __u32,
    pub target_pid: __u32,
    pub nlink: __u32,
    pub mode: __u32,
    pub open_flags: __u32,
    pub syscall: __u32,
    pub flags: __u32,
    pub calls: __u32,
    pub open_calls: __u32,
    pub kind: __u8,
    pub action: __u8,
    pub object: __u8,
    pub role: __u8,
    pub effect: __u8,
    pub cause: __u8,
    pub observe: __u8,
    pub names: __u8,
    pub path_len: __u16,
    pub other_len: __u16,
    pub comm: [::core::ffi::c_char; 16usize],
    pub data: [__u8; 6920usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of authz_event"][::core::mem::size_of::<authz_event>() - 7072usize];
    ["Alignment of authz_event"][::core::mem::align_of::<authz_event>() - 8usize];
    ["Offset of field: authz_event::time_ns"][::core::mem::offset_of!(authz_event, time_ns) - 0usize];
    ["Offset of field: authz_event::ticket"][::core::mem::offset_of!(authz_event, ticket) - 8usize];
    ["Offset of field: authz_event::evaluation"][::core::mem::offset_of!(authz_event, evaluation) - 16usize];
    ["Offset of field: authz_event::start_ns"][::core::mem::offset_of!(authz_event, start_ns) - 24usize];
    ["Offset of field: authz_event::ino"][::core::mem::offset_of!(authz_event, ino) - 32usize];
    ["Offset of field: authz_event::size"][::core::mem::offset_of!(authz_event, size) - 40usize];
    ["Offset of field: authz_event::ctime_sec"][::core::mem::offset_of!(authz_event, ctime_sec) - 48usize];
    ["Offset of field: authz_event::ctime_nsec"][::core::mem::offset_of!(authz_event, ctime_nsec) - 56usize];
    ["Offset of field: authz_event::dev"][::core::mem::offset_of!(authz_event, dev) - 60usize];
    ["Offset of field: authz_event::session"][::core::mem::offset_of!(authz_event, session) - 64usize];
    ["Offset of field: authz_event::domain"][::core::mem::offset_of!(authz_event, domain) - 68usize];
    ["Offset of field: authz_event::generation"][::core::mem::offset_of!(authz_event, generation) - 72usize];
    ["Offset of field: authz_event::tid"][::core::mem::offset_of!(authz_event, tid) - 76usize];
    ["Offset of field: authz_event::tgid"][::core::mem::offset_of!(authz_event, tgid) - 80usize];
    ["Offset of field: authz_event::uid"][::core::mem::offset_of!(authz_event, uid) - 84usize];
    ["Offset of field: authz_event::gid"][::core::mem::offset_of!(authz_event, gid) - 88usize];
    ["Offset of field: authz_event::target_pid"][::core::mem::offset_of!(authz_event, target_pid) - 92usize];
    ["Offset of field: authz_event::nlink"][::core::mem::offset_of!(authz_event, nlink) - 96usize];
    ["Offset of field: authz_event::mode"][::core::mem::offset_of!(authz_event, mode) - 100usize];
    ["Offset of field: authz_event::open_flags"][::core::mem::offset_of!(authz_event, open_flags) - 104usize];
    ["Offset of field: authz_event::syscall"][::core::mem::offset_of!(authz_event, syscall) - 108usize];
    ["Offset of field: authz_event::flags"][::core::mem::offset_of!(authz_event, flags) - 112usize];
    ["Offset of field: authz_event::calls"][::core::mem::offset_of!(authz_event, calls) - 116usize];
    ["Offset of field: authz_event::open_calls"][::core::mem::offset_of!(authz_event, open_calls) - 120usize];
    ["Offset of field: authz_event::kind"][::core::mem::offset_of!(authz_event, kind) - 124usize];
    ["Offset of field: authz_event::action"][::core::mem::offset_of!(authz_event, action) - 125usize];
    ["Offset of field: authz_event::object"][::core::mem::offset_of!(authz_event, object) - 126usize];
    ["Offset of field: authz_event::role"][::core::mem::offset_of!(authz_event, role) - 127usize];
    ["Offset of field: authz_event::effect"][::core::mem::offset_of!(authz_event, effect) - 128usize];
    ["Offset of field: authz_event::cause"][::core::mem::offset_of!(authz_event, cause) - 129usize];
    ["Offset of field: authz_event::observe"][::core::mem::offset_of!(authz_event, observe) - 130usize];
    ["Offset of field: authz_event::names"][::core::mem::offset_of!(authz_event, names) - 131usize];
    ["Offset of field: authz_event::path_len"][::core::mem::offset_of!(authz_event, path_len) - 132usize];
    ["Offset of field: authz_event::other_len"][::core::mem::offset_of!(authz_event, other_len) - 134usize];
    ["Offset of field: authz_event::comm"][::core::mem::offset_of!(authz_event, comm) - 136usize];
    ["Offset of field: authz_event::data"][::core::mem::offset_of!(authz_event, data) - 152usize];
};
impl Default for authz_event {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
