//! `cargo xtask test`: every check of the project, and one closing line.
use std::io::{BufRead, BufReader, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::suite::{self, Count, Marked, Tee};
use crate::{codegen, kernels, program, project, setup, vm};

/// How long a suite may take in one machine.
const SUITE_LIMIT: Duration = Duration::from_secs(3600);

/// Runs the steps named in `only` (none: all), the machine's on `kernels` (none: all); false if anything failed.
///
/// Steps: `setup`, `fmt`, `clippy`, `unit`, `codegen`, `native`, `vm`.
pub fn run(only: &[String], kernels: &[String]) -> Result<bool> {
    const STEPS: [&str; 7] = ["setup", "fmt", "clippy", "unit", "codegen", "native", "vm"];
    if let Some(unknown) = only.iter().find(|name| !STEPS.contains(&name.as_str())) {
        bail!("no step {unknown:?}; there are {}", STEPS.join(", "));
    }
    let mut report = Report::default();
    for step in STEPS.into_iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step)) {
        match step {
            "setup" => {
                report.step("setup", || setup::run().map(|()| Count { passed: 1, ..Count::default() }))
            }
            "fmt" => report.step("fmt", || cargo(&["fmt", "--all", "--check"])),
            "clippy" => {
                report.step("clippy", || {
                    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
                });
            }
            "unit" => report.step("unit", cargo_test),
            "codegen" => {
                report.step("codegen", || codegen::check().map(|()| Count { passed: 1, ..Count::default() }))
            }
            "native" => report.step("native", native),
            _ => machines(&mut report, kernels)?,
        }
    }
    Ok(report.close())
}

/// How often the native tests try what they try at random: less than by hand, where a run may take long.
const NATIVE_COUNTS: [(&str, &str); 2] = [("FSDIFF_COUNT", "10000"), ("RACE_TRIES", "3000")];

/// What the seccomp back end does, on this machine itself.
fn native() -> Result<Count> {
    let authz = vm::build_authz()?;
    let folder = authz.parent().context("authz is in no folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path)))?;
    let mut child = Command::new(project::root().join("tests/native/run"))
        .env("PATH", path)
        .envs(NATIVE_COUNTS.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tests/native/run")?;
    let mut out = Tee::new(std::io::stdout());
    std::io::copy(&mut child.stdout.take().context("no output of tests/native/run")?, &mut out)?;
    let status = vm::status_of(child.wait()?);
    Count::judge(status, &String::from_utf8_lossy(&out.kept))
        .map_err(|(count, why)| Failed { count, why }.into())
}

/// Each kernel in a machine of its own, as many at once as there are processors: an emulated one keeps one busy.
fn machines(report: &mut Report, names: &[String]) -> Result<()> {
    let names: Vec<String> = if names.is_empty() {
        kernels::entries()?.into_iter().map(|entry| entry.name).collect()
    } else {
        names.to_vec()
    };
    let authz = vm::build_authz()?;
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(names.len());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let result = machine(name, &authz, if workers > 1 { name } else { "" });
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((name, result, start.elapsed()));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(name, ..)| names.iter().position(|other| other == *name));
    for (name, result, took) in done {
        report.add(&format!("vm on kernel {name}"), result, took);
    }
    Ok(())
}

fn machine(kernel: &str, authz: &Path, mark: &str) -> Result<Count> {
    eprintln!("xtask: vm on kernel {kernel}");
    let mut request = suite::request("tests/vm/run", &[], kernel, authz.to_path_buf())?;
    request.timeout = SUITE_LIMIT;
    let mut out = Tee::new(Marked::new(std::io::stdout(), mark));
    let status = vm::run(&request, &mut out, &mut Marked::new(std::io::stderr(), mark))?;
    Count::judge(status, &String::from_utf8_lossy(&out.kept))
        .map_err(|(count, why)| Failed { count, why }.into())
}

/// A step that counted, and failed.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Failed {
    count: Count,
    why: String,
}

/// What all steps amount to.
#[derive(Default)]
struct Report {
    total: Count,
    lines: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, run: impl FnOnce() -> Result<Count>) {
        eprintln!("xtask: {name}");
        let start = Instant::now();
        let result = run();
        self.add(name, result, start.elapsed());
    }

    fn add(&mut self, name: &str, result: Result<Count>, took: Duration) {
        let seconds = took.as_secs();
        let (mut count, verdict) = match result {
            Ok(count) => (count, "ok".to_owned()),
            Err(error) => {
                let count = error.downcast_ref::<Failed>().map(|failed| failed.count).unwrap_or_default();
                // A step that fails counts, whatever it printed.
                (Count { failed: count.failed.max(1), ..count }, format!("FAILED: {error:#}"))
            }
        };
        if verdict == "ok" {
            count.failed = 0;
        }
        self.total += count;
        let Count { passed, failed, skipped } = count;
        self.lines.push(format!(
            "{name}: {passed} passed, {failed} failed, {skipped} skipped, {seconds} s: {verdict}"
        ));
    }

    /// Prints the lines of all steps and the total; true if something passed and nothing failed.
    fn close(mut self) -> bool {
        let good = self.total.failed == 0 && self.total.passed > 0;
        if !good && self.total.failed == 0 {
            self.total.failed = 1; // nothing ran
        }
        let mut out = std::io::stdout().lock();
        for line in &self.lines {
            writeln!(out, "{line}").ok();
        }
        writeln!(out, "{} passed, {} failed", self.total.passed, self.total.failed).ok();
        good
    }
}

/// One check by cargo counts as one case.
fn cargo(args: &[&str]) -> Result<Count> {
    let status = program::cargo().args(args).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo {} failed ({status})", args.join(" "));
    }
    Ok(Count { passed: 1, ..Count::default() })
}

/// `cargo test`, its closing lines summed up.
fn cargo_test() -> Result<Count> {
    let mut child = program::cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let mut count = Count::default();
    for line in BufReader::new(child.stdout.take().context("no output of cargo")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(binary) = test_result(&line) {
            count += binary;
        }
    }
    let status = child.wait()?;
    if status.success() && count.failed == 0 && count.passed > 0 {
        return Ok(count);
    }
    Err(Failed { count, why: format!("cargo test: {} failed ({status})", count.failed) }.into())
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
fn test_result(line: &str) -> Option<Count> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut parts = rest.split("; ");
    let mut number = |word: &str| parts.next()?.strip_suffix(word)?.parse().ok();
    Some(Count { passed: number(" passed")?, failed: number(" failed")?, skipped: number(" ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_test_closes_with() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(test_result(line), Some(Count { passed: 3, failed: 2, skipped: 1 }));
        assert_eq!(test_result("test a ... ok"), None);
    }

    #[test]
    fn nothing_is_no_success() {
        assert!(!Report::default().close());
        let mut report = Report::default();
        report.step("a", || Ok(Count { passed: 2, ..Count::default() }));
        report.step("b", || bail!("broken"));
        assert_eq!(report.total, Count { passed: 2, failed: 1, skipped: 0 });
        assert!(!report.close());
    }
}
