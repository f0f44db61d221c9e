//! Installs what the project needs and a fresh Debian or Ubuntu machine does not have.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{program, project};

/// What shows that a package is there.
enum Sign {
    Program(&'static str),
    File(&'static str),
    StaticBusybox,
    VenvModule,
    PythonTests,
}

use Sign::{File, Program, PythonTests, StaticBusybox, VenvModule};

/// Python's own tests, whose package is named after the version that the system has.
const PYTHON_TESTS: &str = "libpython3.N-testsuite";

/// Package, its sign, and what it is for.
const PACKAGES: &[(&str, Sign, &str)] = &[
    ("clang", Program("clang"), "compiles the eBPF programs"),
    ("llvm", Program("llvm-objdump"), "shows the eBPF programs"),
    ("libbpf-dev", File("/usr/include/bpf/bpf_helpers.h"), "headers of the eBPF programs"),
    ("linux-libc-dev", File("/usr/include/linux/bpf.h"), "headers of the eBPF programs"),
    ("gcc", Program("gcc"), "links, and builds the test programs"),
    ("libc6-dev", File("/usr/include/stdio.h"), "headers of the test programs"),
    ("make", Program("make"), "a subject of the tests"),
    ("git", Program("git"), "a subject of the tests"),
    ("nodejs", Program("node"), "a subject of the tests"),
    ("python3", Program("python3"), "a subject of the tests"),
    ("python3-venv", VenvModule, "holds the Python packages under target/"),
    (PYTHON_TESTS, PythonTests, "a subject of the tests"),
    ("bubblewrap", Program("bwrap"), "a subject of the tests"),
    ("iproute2", Program("ip"), "network of the tests"),
    ("openssl", Program("openssl"), "certificates of the tests"),
    ("qemu-system-x86", Program("qemu-system-x86_64"), "boots the kernels of the tests"),
    ("busybox-static", StaticBusybox, "first process of the virtual machine"),
    ("kmod", Program("depmod"), "kernel modules of the virtual machine"),
    ("e2fsprogs", File("/sbin/mke2fs"), "the virtual machine's disk in a bench"),
    ("util-linux", Program("setpriv"), "ends the virtual machine with its caller"),
    ("xz-utils", Program("xz"), "unpacks kernel modules"),
    ("zstd", Program("zstd"), "unpacks kernel modules"),
];

/// Python packages, in a virtual environment under `target/`.
const PYTHON: &[(&str, &str)] = &[
    ("opentelemetry-proto==1.45.2", "reads what a collector gets"),
    ("regopy==1.5.2", "the second opinion on Rego policies"),
];

/// Installs what is missing, saying so first; without anything missing it says and changes nothing.
pub fn run() -> Result<()> {
    // What is named after the version of Python comes once there is one.
    let (named, later): (Vec<_>, Vec<_>) =
        PACKAGES.iter().partition(|(package, ..)| *package != PYTHON_TESTS);
    for packages in [named, later] {
        system(packages.into_iter().filter(|(_, sign, _)| !present(sign)).collect())?;
    }
    rust_components()?;
    python()
}

fn system(missing: Vec<&(&str, Sign, &str)>) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: installing with apt-get:");
    let names = missing.iter().map(|(package, ..)| name(package)).collect::<Result<Vec<_>>>()?;
    for (package, (_, _, purpose)) in names.iter().zip(&missing) {
        eprintln!("  {package:<22} {purpose}");
    }
    install(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let still: Vec<&str> =
        missing.iter().filter(|(_, sign, _)| !present(sign)).map(|(package, ..)| *package).collect();
    ensure!(still.is_empty(), "installed, but without effect: {}", still.join(", "));
    Ok(())
}

/// What the package is called here.
fn name(package: &str) -> Result<String> {
    if package != PYTHON_TESTS {
        return Ok(package.to_owned());
    }
    let program = fs::read_link("/usr/bin/python3").context("/usr/bin/python3 is no link to a version")?;
    let version = program.file_name().context("/usr/bin/python3 leads nowhere")?.to_string_lossy();
    Ok(format!("lib{version}-testsuite"))
}

/// The interpreter of the virtual environment; `agent/tests/rego_cross_check.rs` knows the place too.
fn python_program() -> PathBuf {
    project::target().join("venv/bin/python")
}

fn present(sign: &Sign) -> bool {
    match sign {
        Program(name) => program::find(name).is_some(),
        File(path) => Path::new(path).exists(),
        // Inside the machine there is no loader yet.
        StaticBusybox => program::find("busybox")
            .and_then(|file| fs::read(file).ok())
            .is_some_and(|bytes| !bytes.windows(9).any(|window| window == b"/ld-linux")),
        VenvModule => python_folders().any(|dir| dir.join("ensurepip").exists()),
        PythonTests => python_folders().any(|dir| dir.join("test/test_os.py").exists()),
    }
}

fn python_folders() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|dir| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3.")))
}

fn install(packages: &[&str]) -> Result<()> {
    let root = Command::new("id").arg("-u").output().context("cannot start id")?.stdout == b"0\n";
    let apt = |args: &[&str]| -> Result<()> {
        let mut command = if root {
            Command::new("env")
        } else if program::find("sudo").is_some() {
            let mut sudo = Command::new("sudo");
            sudo.arg("env");
            sudo
        } else {
            bail!(
                "neither root nor sudo here; as root: apt-get install --no-install-recommends {}",
                packages.join(" ")
            );
        };
        let status =
            command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]).args(args).status();
        ensure!(status.context("cannot start apt-get")?.success(), "apt-get {} failed", args.join(" "));
        Ok(())
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], packages].concat())
}

fn rust_components() -> Result<()> {
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if program::find(program).is_none() {
            eprintln!("xtask: installing with rustup: {component}");
            let status = Command::new("rustup").args(["component", "add", component]).status();
            let status = status.with_context(|| format!("{component} is missing and rustup too"))?;
            ensure!(status.success(), "rustup cannot add {component}");
        }
    }
    Ok(())
}

fn python() -> Result<()> {
    let venv = project::target().join("venv");
    let wanted: String = PYTHON.iter().map(|(package, _)| format!("{package}\n")).collect();
    let stamp = venv.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) && python_program().exists() {
        return Ok(());
    }
    eprintln!("xtask: installing with pip into {}:", venv.display());
    for (package, purpose) in PYTHON {
        eprintln!("  {package:<18} {purpose}");
    }
    // Debian's own interpreter: the virtual machine has no other.
    let made = Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv).status();
    ensure!(made.context("cannot start python3")?.success(), "python3 -m venv failed");
    let pip = Command::new(python_program())
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"])
        .args(PYTHON.iter().map(|(package, _)| package))
        .status();
    ensure!(pip.context("cannot start pip")?.success(), "pip failed");
    fs::write(stamp, wanted)?;
    Ok(())
}
