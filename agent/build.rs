//! Builds the eBPF object into `OUT_DIR`.
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("..");
    println!("cargo:rerun-if-changed={}", root.join("ebpf").display());
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("authz.bpf.o");
    xtask::bpf::build(&root, &out)?;
    Ok(())
}
