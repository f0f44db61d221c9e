//! `cargo xtask bench`: runs every measurement and prints one table.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::demo::{self, Place};
use crate::{apt, disk, project, setup, suite, vm};

/// How long the kernel part may take, emulated.
const KERNEL_LIMIT: Duration = Duration::from_secs(1800);

/// Where compilers of C and their headers and libraries are; not all are everywhere.
const BUILD_FOLDERS: [&str; 5] =
    ["/usr/bin", "/usr/include", "/usr/lib/gcc", "/usr/libexec/gcc", "/usr/lib/x86_64-linux-gnu"];

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Evaluation, ledger and the functions of the eBPF hooks, on this machine
    Native,
    /// Landlock on this machine, for comparison
    Landlock,
    /// Operations and builds under the seccomp back end, on this machine
    Seccomp,
    /// Operations under authz, on a kernel that takes LSM programs
    Kernel,
    /// What is decided from memory when programs do real work, by both back ends
    Share,
    /// An agent's trace, and builds, under both back ends
    Trace,
    /// Sessions, regions and paths by the thousands, on this machine
    Growth,
    /// Operations under authz, Landlock, fapolicyd and strace, in a virtual machine
    Peers,
}

/// One figure, as agent/benches/native and tests/bench/run write it.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(default)]
    place: String,
    what: String,
    unit: String,
    median: f64,
    p10: f64,
    p90: f64,
    best: f64,
    p99: Option<f64>,
    target: Option<String>,
    verdict: Option<String>,
    method: String,
}

/// Measures and prints; the status says only whether every part ran.
pub fn run(only: &[Part], place: Place, kernel: &str, json: bool) -> Result<u8> {
    setup::run()?;
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut rows = Vec::new();
    let mut complete = true;
    let mut add = |name: &str, place: &str, part: Result<Vec<Row>>| match part {
        Ok(part) => rows.extend(part.into_iter().map(|row| Row { place: place.to_owned(), ..row })),
        Err(error) => {
            eprintln!("xtask: the part {name} gave no figures: {error:#}");
            complete = false;
        }
    };
    if wanted(Part::Native) {
        add("native", "native", native(&[]));
    }
    if wanted(Part::Landlock) {
        add("landlock", "native", landlock());
    }
    if wanted(Part::Seccomp) {
        add("seccomp", "native", seccomp());
    }
    if wanted(Part::Kernel) {
        let authz = vm::build_authz()?;
        let here = demo::here(place, kernel, &authz, demo::Needs::LsmPrograms);
        let name = if here { "native".into() } else { format!("VM {kernel}") };
        add("kernel", &name, in_kernel(here, kernel, &authz));
    }
    if wanted(Part::Share) {
        let authz = vm::build_authz()?;
        add("share", "native", part_here(&["--share", "seccomp"], "share.jsonl", &authz));
        add("share", &format!("VM {kernel}"), share_in_machine(kernel, &authz));
    }
    if wanted(Part::Trace) {
        let authz = vm::build_authz()?;
        add("trace", "native", part_here(&["--trace", "seccomp"], "trace.jsonl", &authz));
        add("trace", &format!("VM {kernel}"), trace_in_machine(kernel, &authz));
    }
    if only.contains(&Part::Growth) {
        add("growth", "native", native(&["--growth"]));
    }
    if wanted(Part::Peers) {
        let authz = vm::build_authz()?;
        add("peers", &format!("VM {kernel}"), peers(kernel, &authz));
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else {
        write!(out, "{}", table(&rows))?;
    }
    Ok(u8::from(!complete))
}

fn native(only: &[&str]) -> Result<Vec<Row>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["bench", "--quiet", "-p", "authz", "--bench", "native", "--", "--json"])
        .args(only)
        .current_dir(project::root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo bench: {}", output.status);
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn landlock() -> Result<Vec<Row>> {
    let results = results("here")?;
    let status = Command::new(project::root().join("tests/bench/run"))
        .arg("--landlock")
        .env("AUTHZ_RESULTS", &results)
        .stdout(Stdio::null())
        .status()
        .context("cannot start tests/bench/run")?;
    ensure!(status.success(), "tests/bench/run --landlock: {status}");
    read(&results.join("landlock.jsonl"))
}

fn seccomp() -> Result<Vec<Row>> {
    let authz = vm::build_authz()?;
    let file = no_longer(results("here")?.join("seccomp.jsonl"))?;
    let status = demo::on_this_kernel("tests/bench/run", &["--supervised".into()], &authz)?;
    ensure!(
        status == 0,
        "tests/bench/run --supervised ended with {status}; what it had is in {}",
        file.display()
    );
    read(&file)
}

fn in_kernel(here: bool, kernel: &str, authz: &Path) -> Result<Vec<Row>> {
    if !here {
        return emulated(&["--emulated"], "bench.jsonl", |_| {}, kernel, authz);
    }
    let file = no_longer(results("here")?.join("bench.jsonl"))?;
    let status = demo::on_this_kernel("tests/bench/run", &[], authz)?;
    ensure!(status == 0, "tests/bench/run ended with {status}");
    read(&file)
}

fn part_here(arguments: &[&str], file: &str, authz: &Path) -> Result<Vec<Row>> {
    let file = no_longer(results("here")?.join(file))?;
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let status = demo::on_this_kernel("tests/bench/run", &arguments, authz)?;
    ensure!(status == 0, "tests/bench/run {} ended with {status}", arguments.join(" "));
    read(&file)
}

/// Counts only, so any clock will do, and two processors.
fn share_in_machine(kernel: &str, authz: &Path) -> Result<Vec<Row>> {
    let file = no_longer(results(kernel)?.join("share.jsonl"))?;
    let arguments = ["--share".to_owned(), "bpf-lsm".to_owned()];
    let mut request = suite::request("tests/bench/run", &arguments, kernel, authz.to_path_buf())?;
    request.timeout = KERNEL_LIMIT;
    request.env.extend(cargo());
    let status = vm::run(&request, &mut std::io::stderr(), &mut std::io::stderr())?;
    ensure!(status == 0, "tests/bench/run --share ended with {status}");
    read(&file)
}

/// What builds read lies on a disk of the machine's own, as it does where people build.
fn trace_in_machine(kernel: &str, authz: &Path) -> Result<Vec<Row>> {
    let cargo = cargo();
    let toolchain = cargo.as_ref().and_then(|(_, path)| Path::new(path).ancestors().nth(2));
    let folders: Vec<PathBuf> = (BUILD_FOLDERS.iter().map(PathBuf::from))
        .chain(toolchain.iter().flat_map(|folder| ["bin", "lib"].map(|name| folder.join(name))))
        .filter(|folder| folder.is_dir())
        .collect();
    eprintln!("xtask: copying {} folders into an image", folders.len());
    let disk = disk::image(&folders)?;
    let arguments = ["--trace", "bpf-lsm", "--emulated", "--disk", "/dev/vda"];
    let change = |request: &mut vm::Request| {
        request.env.extend(cargo);
        request.disk = Some(disk);
    };
    emulated(&arguments, "trace.jsonl", change, kernel, authz)
}

/// Names the compiler itself: rustup's stand-in would look for what is new.
fn cargo() -> Option<(String, String)> {
    let output = Command::new("rustup").args(["which", "cargo"]).output().ok()?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then(|| ("CARGO".into(), path))
}

/// Without fapolicyd where its package cannot be had; the rest is measured all the same.
fn peers(kernel: &str, authz: &Path) -> Result<Vec<Row>> {
    let folder = project::target().join("fapolicyd");
    let root = folder.join("root");
    let program = root.join("usr/sbin/fapolicyd");
    if !program.exists()
        && let Err(error) = apt::unpack_own(&["fapolicyd", "liblmdb0"], &folder.join("packages"), &root)
    {
        eprintln!("xtask: fapolicyd is left out: {error:#}");
    }
    let env = program.exists().then(|| ("FAPOLICYD".into(), root.to_string_lossy().into_owned()));
    emulated(&["--peers"], "peers.jsonl", |request| request.env.extend(env), kernel, authz)
}

/// Runs the bench in a machine whose clock counts instructions.
fn emulated(
    arguments: &[&str],
    file: &str,
    change: impl FnOnce(&mut vm::Request),
    kernel: &str,
    authz: &Path,
) -> Result<Vec<Row>> {
    let file = no_longer(results(kernel)?.join(file))?;
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let mut request = suite::request("tests/bench/run", &arguments, kernel, authz.to_path_buf())?;
    request.accel = vm::Accel::Icount;
    request.cpus = 1; // two take turns on one clock: each would count the other's instructions
    request.timeout = KERNEL_LIMIT;
    change(&mut request);
    let status = vm::run(&request, &mut std::io::stderr(), &mut std::io::stderr())?;
    ensure!(status == 0, "tests/bench/run {} ended with {status}", arguments.join(" "));
    read(&file)
}

/// Figures of an earlier run are not taken for those of this one.
fn no_longer(file: PathBuf) -> Result<PathBuf> {
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(file)
}

fn results(of: &str) -> Result<PathBuf> {
    let folder = project::target().join("results").join(of);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn read(file: &Path) -> Result<Vec<Row>> {
    parse(&fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?)
}

fn parse(lines: &str) -> Result<Vec<Row>> {
    lines
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a figure: {line}")))
        .collect()
}

/// A Markdown table, and the methods below it by number.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | what | where | median | p10 to p90 | best | p99 | target | |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (number, row) in rows.iter().enumerate() {
        text += &format!(
            "| {} | {} | {} | {} {} | {} to {} | {} | {} | {} | {} |\n",
            number + 1,
            row.what,
            row.place,
            short(row.median),
            row.unit,
            short(row.p10),
            short(row.p90),
            short(row.best),
            row.p99.map(short).unwrap_or_default(),
            row.target.as_deref().unwrap_or_default(),
            row.verdict.as_deref().unwrap_or_default(),
        );
    }
    text += "\nMethods:\n\n";
    for (number, row) in rows.iter().enumerate() {
        text += &format!("{}. {}: {}\n", number + 1, row.what, row.method);
    }
    text
}

/// Three digits or so: a bench is no more exact.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{:.0}", value.abs());
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| std::str::from_utf8(group).unwrap_or_default())
                .collect();
            format!("{}{}", if value < 0.0 { "-" } else { "" }, groups.join(","))
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn figures_are_short() {
        let texts = [0.5, 1.234, 45.67, 456.7, 1234.0, -1_234_567.0].map(super::short);
        assert_eq!(texts, ["0.50", "1.23", "45.7", "457", "1,234", "-1,234,567"]);
    }
}
