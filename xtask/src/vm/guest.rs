//! What runs inside: the initramfs of one machine.
use std::fs;

use anyhow::{Context, Result};

use super::{Request, cpio::Archive};
use crate::{program, project};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The initramfs for `request`: a static busybox, the modules of the boot, the two scripts and the command.
pub(super) fn initramfs(request: &Request) -> Result<Vec<u8>> {
    let busybox = program::find("busybox").context("busybox is missing: run `cargo xtask setup`")?;
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "proc", "sys", "modules", "vm"] {
        archive.dir(dir);
    }
    archive.file("bin/busybox", &fs::read(busybox)?);
    archive.file("init", include_bytes!("boot.sh"));
    for module in request.kernel.boot_modules()? {
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.file(&format!("modules/{name}"), &fs::read(&module)?);
    }
    archive.file("vm/run.sh", include_bytes!("run.sh"));
    archive.file("vm/conf", conf(request).as_bytes());
    let shares: Vec<String> = request
        .rw
        .iter()
        .enumerate()
        .map(|(number, dir)| format!("rw{number} {}\n", dir.display()))
        .collect();
    archive.file("vm/rw", shares.concat().as_bytes());
    archive.file("vm/command", command(request).as_bytes());
    Ok(archive.finish())
}

fn conf(request: &Request) -> String {
    let authz = request.authz.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let shell = if request.command.is_empty() { "yes" } else { "" };
    let project = project::root();
    format!(
        "PROJECT={}\nAUTHZ={}\nSHELL_WANTED={shell}\n",
        quote(&project.display().to_string()),
        quote(&authz)
    )
}

/// A script that becomes the command, with an environment of its own.
fn command(request: &Request) -> String {
    let base = [("PATH", PATH), ("HOME", "/root"), ("USER", "root"), ("LANG", "C.UTF-8")];
    let term = if request.command.is_empty() { std::env::var("TERM").ok() } else { None };
    let mut words: Vec<String> = base.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.push(format!("TERM={}", term.as_deref().unwrap_or("dumb")));
    words.extend(request.env.iter().map(|(key, value)| format!("{key}={value}")));
    if request.command.is_empty() {
        words.push("bash".into());
    }
    words.extend(request.command.iter().cloned());
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("exec /usr/bin/env -i {}\n", quoted.join(" "))
}

/// `word` as one word of a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_survive() {
        assert_eq!(super::quote("it's $x"), r"'it'\''s $x'");
    }
}
