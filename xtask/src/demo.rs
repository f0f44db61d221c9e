//! `cargo xtask demo`, and the same for `cargo xtask bench`: on this kernel if it serves, else in a virtual machine.
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{project, setup, suite, vm};

/// Where a demonstration or measurement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// On this kernel if it serves, else in a virtual machine
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
    if here(place, kernel, &authz, Needs::AnyBackEnd) {
        on_this_kernel(program, args, &authz)
    } else {
        in_a_machine(program, args, kernel, &authz, &mut std::io::stdout())
    }
}

/// What something takes of the kernel it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// That something can be enforced.
    AnyBackEnd,
    /// LSM programs.
    LsmPrograms,
}

/// Whether `place` comes to this kernel; says which back end it has, or why it will not do, if that was left open.
pub(crate) fn here(place: Place, kernel: &str, authz: &Path, needs: Needs) -> bool {
    match place {
        Place::Here => true,
        Place::Vm => false,
        Place::Auto => match chosen(authz).and_then(|choice| serves(&choice, needs)) {
            Ok(what) => {
                eprintln!("xtask: on this kernel, by {what}");
                true
            }
            Err(why) => {
                eprintln!(
                    "xtask: this kernel does not do ({why:#}); using a virtual machine with kernel {kernel}"
                );
                false
            }
        },
    }
}

/// The back end that `authz doctor --json` would choose, and why not a stronger one; anything unclear is none, as the
/// virtual machine always works.
fn chosen(authz: &Path) -> Result<serde_json::Value> {
    let output = Command::new(authz).args(["doctor", "--json"]).output().context("cannot start authz")?;
    let mut report: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("authz doctor --json gives no report")?;
    Ok(report["auto"].take())
}

/// The back end in words, if it serves.
fn serves(choice: &serde_json::Value, needs: Needs) -> Result<String> {
    let why = choice["why"].as_str().unwrap_or("authz doctor finds no back end");
    match (choice["backend"].as_str(), needs) {
        (Some("bpf-lsm"), _) => Ok("bpf-lsm".into()),
        (Some("seccomp"), Needs::AnyBackEnd) => Ok(format!("seccomp ({why})")),
        _ => bail!("{why}"),
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

    use super::{Needs, serves};

    #[test]
    fn a_back_end_serves_what_it_is_strong_enough_for() {
        let seccomp = json!({"backend": "seccomp", "why": "no root"});
        assert_eq!(serves(&seccomp, Needs::AnyBackEnd).ok(), Some("seccomp (no root)".into()));
        assert!(serves(&seccomp, Needs::LsmPrograms).is_err_and(|why| why.to_string() == "no root"));
        let lsm = json!({"backend": "bpf-lsm", "why": ""});
        assert!(serves(&lsm, Needs::LsmPrograms).is_ok());
        for unclear in [json!(null), json!({}), json!({"backend": true}), json!({"backend": "none"})] {
            assert!(serves(&unclear, Needs::AnyBackEnd).is_err(), "{unclear}");
        }
    }
}
