//! An ext4 image of some of this machine's folders, for a virtual machine that is to have them on a disk of its own.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::project;

/// Megabytes of an image beside what lies in it.
const SPARE: u64 = 256;

/// An image with copies of `folders` at the same paths, and the file `folders` that names them, one a line.
pub fn image(folders: &[PathBuf]) -> Result<PathBuf> {
    let place = project::target().join("disk");
    let (staged, image) = (place.join("staged"), place.join("image"));
    for old in [&staged, &image] {
        remove(old)?;
    }
    for folder in folders {
        let to = staged.join(folder.strip_prefix("/")?);
        let parent = to.parent().context("/ is no folder to copy")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        run(Command::new("cp").args(["-a", "--reflink=auto", "--"]).arg(folder).arg(&to))?;
    }
    let names: String = folders.iter().map(|folder| format!("{}\n", folder.display())).collect();
    fs::write(staged.join("folders"), names).context("cannot write the list of folders")?;
    let size = format!("{}M", megabytes(&staged)? + SPARE);
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).args([&staged, &image]).arg(size))?;
    remove(&staged)?;
    Ok(image)
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn megabytes(folder: &Path) -> Result<u64> {
    let output = Command::new("du").args(["-sm", "--"]).arg(folder).output().context("cannot start du")?;
    ensure!(output.status.success(), "du: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().next().and_then(|size| size.parse().ok()).context("du printed no size")
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    // mke2fs is in /sbin, which not everybody's PATH has.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let status = command.env("PATH", path).status().with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}
