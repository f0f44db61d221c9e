//! `cargo xtask codegen`: the Rust side of `ebpf/include/authz_abi.h`.
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::{program, project};

const HEADER: &str = "ebpf/include/authz_abi.h";
const OUTPUT: &str = "agent/src/abi/raw.rs";

/// Writes the generated file.
pub fn write() -> Result<()> {
    let file = output();
    fs::create_dir_all(file.parent().context("a file in no folder")?)?;
    fs::write(&file, generate()?).with_context(|| format!("cannot write {OUTPUT}"))
}

/// Fails unless the generated file is what would be generated now.
pub fn check() -> Result<()> {
    let have = fs::read_to_string(output()).with_context(|| format!("cannot read {OUTPUT}"))?;
    ensure!(
        have == generate()?,
        "{OUTPUT} is not what {HEADER} gives: run `cargo xtask codegen` and commit the result"
    );
    Ok(())
}

fn output() -> PathBuf {
    project::root().join(OUTPUT)
}

fn generate() -> Result<String> {
    let root = project::root();
    let header = root.join(HEADER);
    ensure!(header.is_file(), "{HEADER} is missing");
    let bindings = bindgen::Builder::default()
        .header(header.display().to_string())
        .clang_args(["-I", &root.join("ebpf/include").display().to_string()])
        .allowlist_file(r".*/authz_abi\.h")
        .raw_line(ALLOWED)
        .prepend_enum_name(false)
        .derive_default(true)
        .use_core()
        .disable_header_comment()
        .formatter(bindgen::Formatter::None)
        .generate()
        .with_context(|| format!("bindgen refused {HEADER}"))?;
    let text =
        format!("//! Generated from `{HEADER}` by `cargo xtask codegen`; not to be edited.\n{bindings}");
    format(&text)
}

const ALLOWED: &str = r#"#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, reason = "generated")]
#![allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block, reason = "generated")]"#;

/// As `cargo fmt` wants it.
fn format(text: &str) -> Result<String> {
    let dir = project::target().join("codegen");
    fs::create_dir_all(&dir)?;
    let file = dir.join("raw.rs");
    fs::write(&file, text)?;
    program::run(std::process::Command::new("rustfmt").arg("--config-path").arg(project::root()).arg(&file))?;
    Ok(fs::read_to_string(&file)?)
}
