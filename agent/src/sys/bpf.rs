//! bpf(2): loading one tiny program, to see whether that is possible, and running one once.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_LSM: u32 = 29;
const BPF_LSM_MAC: u32 = 27;

/// The part of `union bpf_attr` for BPF_PROG_LOAD (linux/bpf.h) up to what an LSM program needs.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    pad: u32,
}

const _: () = assert!(size_of::<LoadAttr>() == 120);

/// `r0 = 0; exit`.
const ALLOW: [u64; 2] = [0x0000_0000_0000_00b7_u64.to_le(), 0x0000_0000_0000_0095_u64.to_le()];

/// Loads an LSM program that allows everything for the hook function with this BTF type id. It is not
/// attached, and is gone when the descriptor is closed.
pub fn load_lsm_program(attach_btf_id: u32) -> nix::Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_LSM,
        insn_cnt: ALLOW.len() as u32,
        insns: ALLOW.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: *b"authz_probe\0\0\0\0\0",
        expected_attach_type: BPF_LSM_MAC,
        attach_btf_id,
        ..LoadAttr::default()
    };
    // SAFETY: `attr` and what it points to outlive the call, which only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The part of `union bpf_attr` for BPF_PROG_TEST_RUN (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

const _: () = assert!(size_of::<TestRunAttr>() == 80);

/// Runs a raw tracepoint program once, without a context, on this processor; what it returned.
pub fn test_run(program: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut attr = TestRunAttr { prog_fd: program.as_raw_fd() as u32, ..TestRunAttr::default() };
    // SAFETY: `attr` outlives the call, which writes to nothing but it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<TestRunAttr>()) };
    Errno::result(result)?;
    Ok(attr.retval)
}
