//! The kernels of `tests/kernels.toml`, fetched when first asked for.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::apt::Apt;
use crate::program::{find, run};
use crate::project;

/// Names a folder of kernels shared by several checkouts, in place of `target/kernels`.
pub const CACHE_VARIABLE: &str = "AUTHZ_KERNELS";

/// The modules that the guest loads before it has a file system, dependencies aside.
const BOOT_MODULES: [&str; 5] = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

/// One entry of `tests/kernels.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What `--kernel` takes.
    pub name: String,
    /// The metapackage that depends on the kernel.
    pub package: String,
    /// The suites of the mirror that have it.
    pub suites: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    kernel: Vec<Entry>,
}

/// A kernel on disk.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its entry's name.
    pub name: String,
    /// What `uname -r` will say.
    pub release: String,
    dir: PathBuf,
}

impl Kernel {
    /// The image to boot.
    pub fn image(&self) -> PathBuf {
        let newer = self.modules().join("vmlinuz");
        if newer.exists() { newer } else { self.dir.join(format!("boot/vmlinuz-{}", self.release)) }
    }

    /// The whole tree of modules, as /lib/modules/RELEASE wants it.
    pub fn modules(&self) -> PathBuf {
        modules_of(&self.dir).join(&self.release)
    }

    /// Uncompressed modules that the boot needs, in loading order.
    pub fn boot_modules(&self) -> Result<Vec<PathBuf>> {
        let mut files = fs::read_dir(self.dir.join("boot-modules"))?
            .map(|e| Ok(e?.path()))
            .collect::<Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    }
}

/// All entries of `tests/kernels.toml`.
pub fn entries() -> Result<Vec<Entry>> {
    let file = project::root().join("tests/kernels.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(toml::from_str::<Table>(&text).with_context(|| format!("in {}", file.display()))?.kernel)
}

/// The folder that kernels are kept in.
pub fn cache() -> PathBuf {
    std::env::var_os(CACHE_VARIABLE).map_or_else(|| project::target().join("kernels"), PathBuf::from)
}

/// The kernel called `name`, fetched if it is not there yet.
pub fn get(name: &str) -> Result<Kernel> {
    let entries = entries()?;
    let Some(entry) = entries.iter().find(|e| e.name == name) else {
        let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        bail!("no kernel {name:?} in tests/kernels.toml; there are {}", names.join(", "));
    };
    let cache = cache();
    let dir = cache.join(name);
    if let Some(kernel) = load(name, &dir) {
        return Ok(kernel);
    }
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the kernel cache")?;
    if load(name, &dir).is_none() {
        fetch(entry, &cache, &dir).with_context(|| format!("cannot fetch kernel {name}"))?;
    }
    load(name, &dir)
        .with_context(|| format!("kernel {name} was unpacked, but {} is incomplete", dir.display()))
}

fn load(name: &str, dir: &Path) -> Option<Kernel> {
    let release = fs::read_to_string(dir.join("release")).ok()?.trim().to_owned();
    Some(Kernel { name: name.into(), release, dir: dir.into() })
}

fn fetch(entry: &Entry, cache: &Path, dir: &Path) -> Result<()> {
    eprintln!("xtask: kernel {}: reading the package lists of {}", entry.name, entry.suites.join(", "));
    let apt = Apt::update(&cache.join("apt").join(entry.suites.join("+")), &entry.suites)?;
    let packages = apt.kernel_packages(&entry.package)?;
    eprintln!("xtask: kernel {}: downloading {} (about 100 MB)", entry.name, packages.join(", "));
    let unfinished = cache.join(format!("{}.unfinished", entry.name));
    for old in [&unfinished, &dir.to_path_buf()] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let packages_dir = unfinished.join("packages");
    apt.unpack(&packages, &packages_dir, &unfinished)?;
    fs::remove_dir_all(packages_dir)?;
    prepare(&unfinished)?;
    fs::rename(&unfinished, dir)?;
    Ok(())
}

/// Makes the unpacked packages bootable: module dependencies, the modules of the boot, the release's name.
fn prepare(dir: &Path) -> Result<()> {
    let modules = modules_of(dir);
    let mut releases = fs::read_dir(&modules)?
        .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<String>>>()?;
    let (Some(release), true) = (releases.pop(), releases.is_empty()) else {
        bail!("{} does not hold exactly one kernel", modules.display());
    };
    let base = modules.parent().and_then(Path::parent).context("modules without a root")?;
    let kmod = |name: &str| find(name).with_context(|| format!("{name} is missing: run `cargo xtask setup`"));
    run(Command::new(kmod("depmod")?).arg("-b").arg(base).arg(&release))?;

    let mut order: Vec<PathBuf> = Vec::new();
    for module in BOOT_MODULES {
        let lines = run(Command::new(kmod("modprobe")?).arg("-d").arg(base).args([
            "-S",
            &release,
            "--show-depends",
            module,
        ]))?;
        for file in lines.lines().filter_map(|l| l.strip_prefix("insmod ")).map(|f| PathBuf::from(f.trim())) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    let boot = dir.join("boot-modules");
    fs::create_dir(&boot)?;
    for (number, file) in order.iter().enumerate() {
        let name = file.file_name().context("a module without a name")?.to_string_lossy();
        let stem = name.split(".ko").next().unwrap_or(&name);
        let out = File::create(boot.join(format!("{number:02}-{stem}.ko")))?;
        let unpacker = match file.extension().and_then(|e| e.to_str()) {
            Some("xz") => "xz",
            Some("zst") => "zstd",
            Some("gz") => "gzip",
            _ => "cat",
        };
        let args: &[&str] = if unpacker == "cat" { &[] } else { &["-dcq"] };
        let status = Command::new(unpacker).args(args).arg(file).stdout(out).status();
        if !status.with_context(|| format!("cannot start {unpacker}"))?.success() {
            bail!("{unpacker} cannot read {}", file.display());
        }
    }
    fs::write(dir.join("release"), release)?;
    Ok(())
}

/// Older packages say lib/modules, newer ones usr/lib/modules.
fn modules_of(dir: &Path) -> PathBuf {
    ["usr/lib/modules", "lib/modules"]
        .map(|m| dir.join(m))
        .into_iter()
        .find(|m| m.exists())
        .unwrap_or_else(|| dir.join("lib/modules"))
}
