//! Compiles `ebpf/*.bpf.c` with clang.
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why the object could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// clang is missing or could not be started.
    #[error(
        "cannot start {clang}: {source}; install it (Debian: apt-get install clang libbpf-dev) or set CLANG"
    )]
    Clang {
        /// The command that was tried.
        clang: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// clang refused the source; its own messages are on standard error.
    #[error("clang refused {0}; its messages are above")]
    Compile(PathBuf),
}

/// Compiles `<root>/ebpf/authz.bpf.c` to the object file `out`.
///
/// The object is CO-RE: one file serves every supported kernel.
pub fn build(root: &Path, out: &Path) -> Result<(), Error> {
    build_source(root, "authz.bpf.c", out)
}

/// Compiles `<root>/ebpf/<source>`, another object of the same headers.
pub fn build_source(root: &Path, source: &str, out: &Path) -> Result<(), Error> {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let source = root.join("ebpf").join(source);
    let status = Command::new(&clang)
        // v3: 32-bit and fetching atomics, which clang 14 does not enable by itself.
        .args(["--target=bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-unused-parameter", "-Wno-missing-declarations"])
        .arg("-I")
        .arg(root.join("ebpf/include"))
        .arg("-c")
        .arg(&source)
        .arg("-o")
        .arg(out)
        .status()
        .map_err(|source| Error::Clang { clang: clang.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Compile(source)) }
}
