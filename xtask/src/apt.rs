//! Debian packages without touching the machine: a private apt state, fed from the mirror apt already uses.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::program::run;

/// Names the mirror where the machine's own apt configuration has none of Debian (Ubuntu).
pub(crate) const MIRROR_VARIABLE: &str = "AUTHZ_DEBIAN_MIRROR";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private apt state below one folder.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Opens (or makes) the state in `dir` for `suites`, and fetches their package lists.
    pub(crate) fn update(dir: &Path, suites: &[String]) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(dir.join(part))?;
        }
        std::fs::write(dir.join("status"), "")?; // as if nothing were installed
        let options = if Path::new(KEYRING).exists() {
            format!("[arch=amd64 signed-by={KEYRING}]")
        } else {
            "[arch=amd64]".into()
        };
        let mut list = String::new();
        for suite in suites {
            list += &format!("deb {options} {} {suite} main\n", mirror(suite)?);
        }
        std::fs::write(dir.join("sources.list"), list)?;
        let apt = Apt { dir: dir.canonicalize()? };
        run(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    /// The packages of a kernel: what `metapackage` depends on, and what that does, as far as it is named after
    /// the kernel's release (newer suites split the modules off).
    pub(crate) fn kernel_packages(&self, metapackage: &str) -> Result<Vec<String>> {
        let mut found: Vec<String> = Vec::new();
        let mut open = vec![metapackage.to_owned()];
        while let Some(package) = open.pop() {
            let text = run(self.command("apt-cache").args([
                "depends",
                "--no-recommends",
                "--no-suggests",
                "--important",
                &package,
            ]))?;
            for name in
                text.lines().filter_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("Depends: "))
            {
                let of_a_release =
                    ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"].iter().any(|prefix| {
                        name.strip_prefix(prefix)
                            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
                    });
                if of_a_release && !found.iter().any(|f| f == name) {
                    found.push(name.to_owned());
                    open.push(name.to_owned());
                }
            }
        }
        ensure!(!found.is_empty(), "{metapackage} names no kernel in these suites");
        Ok(found)
    }

    /// Downloads `packages` into `to` and unpacks them into `root`.
    pub(crate) fn unpack(&self, packages: &[String], to: &Path, root: &Path) -> Result<()> {
        std::fs::create_dir_all(to)?;
        run(self.command("apt-get").args(["-q", "download"]).args(packages).current_dir(to))?;
        for entry in std::fs::read_dir(to)? {
            run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(root))?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in
            [("Dir::State", "state"), ("Dir::State::status", "status"), ("Dir::Cache", "cache")]
        {
            command.arg("-o").arg(format!("{option}={}", self.dir.join(value).display()));
        }
        command.arg("-o").arg(format!("Dir::Etc::sourcelist={}", self.dir.join("sources.list").display()));
        for option in ["Dir::Etc::sourceparts=-", "Dir::Etc::preferences=-", "Dir::Etc::preferencesparts=-"] {
            command.args(["-o", option]);
        }
        // The folders are the caller's own: apt's unprivileged user could not write there.
        for option in [
            "APT::Architecture=amd64",
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
        ] {
            command.args(["-o", option]);
        }
        command
    }
}

/// Downloads packages of the machine's own suite, as its apt knows them, into `to`, and unpacks them into `root`.
/// Nothing is installed.
pub(crate) fn unpack_own(packages: &[&str], to: &Path, root: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    run(Command::new("apt-get")
        .args(["-q", "download", "-o", "APT::Sandbox::User=root"])
        .args(packages)
        .current_dir(to))?;
    for entry in std::fs::read_dir(to)? {
        run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(root))?;
    }
    Ok(())
}

/// The mirror that has `suite`, from the machine's own apt configuration.
fn mirror(suite: &str) -> Result<String> {
    if let Ok(uri) = std::env::var(MIRROR_VARIABLE) {
        return Ok(if suite.ends_with("-security") {
            format!("{}-security", uri.trim_end_matches('/'))
        } else {
            uri
        });
    }
    let text = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value =
        |key: &str| release.lines().find_map(|line| line.strip_prefix(key)).map(|v| v.trim_matches('"'));
    if value("ID=") != Some("debian") {
        bail!(
            "this is no Debian, so its apt names no Debian mirror: set {MIRROR_VARIABLE} to the URI of one"
        );
    }
    let codename = value("VERSION_CODENAME=").unwrap_or("sid");
    let own = if suite.ends_with("-security") { format!("{codename}-security") } else { codename.to_owned() };
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    rows.iter()
        .find(|row| matches!(row[..], [_, release, "main"] if release == own))
        .map(|row| row[0].to_owned())
        .with_context(|| {
            format!("apt's configuration names no mirror for {own}: set {MIRROR_VARIABLE} to the URI of one")
        })
}
