//! `cargo xtask demo`, and the same for `cargo xtask bench`: here if this kernel takes LSM programs, else in a virtual machine.
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{project, setup, suite, vm};

/// Where a demonstration or measurement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// On this kernel if it takes LSM programs, else in a virtual machine
    Auto,
    /// On this kernel
    Here,
    /// In a virtual machine
    Vm,
}

/// Sets up, then runs the executable `program` (relative to the project's folder); its status.
pub fn run(program: &str, args: &[String], place: Place, kernel: &str) -> Result<u8> {
    setup::run()?;
    let authz = vm::build_authz()?;
    if here(place, kernel, &authz) {
        on_this_kernel(program, args, &authz)
    } else {
        in_a_machine(program, args, kernel, &authz, &mut std::io::stdout())
    }
}

/// Whether `place` comes to this kernel; says so if it was left open and does not.
pub(crate) fn here(place: Place, kernel: &str, authz: &Path) -> bool {
    match place {
        Place::Here => true,
        Place::Vm => false,
        Place::Auto => match takes_lsm_programs(authz) {
            Ok(()) => true,
            Err(why) => {
                eprintln!(
                    "xtask: this kernel does not do ({why:#}); using a virtual machine with kernel {kernel}"
                );
                false
            }
        },
    }
}

/// What `authz doctor --json` says; anything unclear is a no, as the virtual machine always works.
fn takes_lsm_programs(authz: &Path) -> Result<()> {
    let output = Command::new(authz).args(["doctor", "--json"]).output().context("cannot start authz")?;
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("authz doctor --json gives no report")?;
    bpf_lsm(&report)
}

/// The report's own verdict on LSM programs, or what it found instead.
fn bpf_lsm(report: &serde_json::Value) -> Result<()> {
    if report["bpf_lsm"] == true {
        return Ok(());
    }
    let checks = report["checks"].as_array().into_iter().flatten();
    let gap = checks.filter(|check| check["ok"] == false && check["name"] == "lsm program");
    match gap.filter_map(|check| check["found"].as_str()).next() {
        Some(found) => bail!("authz doctor on LSM programs: {found}"),
        None => bail!("authz doctor finds no LSM programs"),
    }
}

pub(crate) fn on_this_kernel(program: &str, args: &[String], authz: &Path) -> Result<u8> {
    let bin = authz.parent().context("authz lies in no folder")?.to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))?;
    let status = Command::new(project::root().join(program))
        .args(args)
        .current_dir(project::root())
        .env("PATH", path)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    Ok(vm::status_of(status))
}

pub(crate) fn in_a_machine(
    program: &str,
    args: &[String],
    kernel: &str,
    authz: &Path,
    out: &mut (dyn Write + Send),
) -> Result<u8> {
    let request = suite::request(program, args, kernel, authz.to_path_buf())?;
    match vm::run(&request, out, &mut std::io::stderr()) {
        Ok(status) => Ok(status),
        Err(failure) => {
            eprintln!("xtask: {failure}");
            Ok(vm::UNAVAILABLE)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::bpf_lsm;

    #[test]
    fn only_a_plain_yes_counts() {
        assert!(bpf_lsm(&json!({"bpf_lsm": true, "checks": []})).is_ok());
        for report in [json!({}), json!([]), json!({"bpf_lsm": "true"}), json!({"bpf_lsm": false})] {
            assert!(bpf_lsm(&report).is_err(), "{report}");
        }
        let report =
            json!({"bpf_lsm": false, "checks": [{"name": "lsm program", "ok": false, "found": "EPERM"}]});
        assert!(bpf_lsm(&report).is_err_and(|why| why.to_string().ends_with("EPERM")));
    }
}
