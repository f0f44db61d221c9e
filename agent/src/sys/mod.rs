//! The raw system calls; with `abi/` the only `unsafe` of the project.

pub mod bpf_map;
pub mod ptrace;
pub mod sigchld;
