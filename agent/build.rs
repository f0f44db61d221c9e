//! Builds the eBPF objects into `OUT_DIR`: what is shipped, and what `benches/` measures.
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("..");
    println!("cargo:rerun-if-changed={}", root.join("ebpf").display());
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    xtask::bpf::build(&root, &out.join("authz.bpf.o"))?;
    xtask::bpf::build_source(&root, "bench.bpf.c", &out.join("bench.bpf.o"))?;
    Ok(())
}
