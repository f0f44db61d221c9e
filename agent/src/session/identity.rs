//! Facts about who acts and what is executed, read from the kernel, and only those that the policy
//! reads. The thread is held meanwhile, so the facts stay true until it is answered.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::event::{FileIdentity, Task};
use crate::policy::Reads;
use crate::policy::input::SubjectProperties;

/// How far up parents are followed.
const PARENTS_MAX: usize = 64;

/// The file's clock may stand still for so long while it is written.
const CLOCK_GRAIN: Duration = Duration::from_millis(20);

/// What the policy reads of the acting process.
pub fn subject(reads: &Reads, task: &Task, first_pid: i32) -> SubjectProperties {
    let needs = |field: &str| reads.needs(&format!("subject.properties.{field}"));
    SubjectProperties {
        uid: Some(task.uid),
        user: needs("user").then(|| user_name(task.uid)).flatten(),
        pid: Some(task.tgid as u32),
        exe: needs("exe").then(|| exe_of(task.tgid)).flatten(),
        comm: Some(task.comm.clone()),
        parents: needs("parents").then(|| parents_of(task.tgid, first_pid)),
        ..SubjectProperties::default()
    }
}

fn user_name(uid: u32) -> Option<String> {
    nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
}

/// The program of a process; the kernel marks a removed one itself.
fn exe_of(pid: i32) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

fn parents_of(pid: i32, first: i32) -> Vec<String> {
    let mut parents = Vec::new();
    let mut pid = pid;
    while pid != first && parents.len() < PARENTS_MAX {
        let Some(parent) = parent_of(pid).filter(|parent| *parent > 1) else { break };
        parents.extend(exe_of(parent));
        pid = parent;
    }
    parents
}

/// Field 4 of /proc/PID/stat; the name before it may hold anything, so it is skipped from the end.
pub fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Hashes of programs, by what the kernel said they were when they were hashed.
#[derive(Default)]
pub struct Hashes {
    known: HashMap<(String, FileIdentity), String>,
}

/// Why a program could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It could not be read.
    #[error("cannot read {0} to hash it: {1}")]
    Read(String, std::io::Error),
    /// It is not what the kernel is about to execute.
    #[error("{0} is not the file that is executed: it was replaced, or is in another mount namespace")]
    Changed(String),
}

impl Hashes {
    /// SHA-256 of the file that is about to be executed, in hexadecimal. Bound to its inode, size and
    /// change time, which the hook compares again when the call restarts.
    pub fn sha256(&mut self, path: &str, identity: FileIdentity) -> Result<String, HashError> {
        let key = (path.to_owned(), identity);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let hash = hash_file(Path::new(path), path, identity)?;
        // Bounded: an agent can make any number of programs.
        if self.known.len() >= 4096 {
            self.known.clear();
        }
        self.known.insert(key, hash.clone());
        Ok(hash)
    }
}

fn hash_file(file: &Path, name: &str, identity: FileIdentity) -> Result<String, HashError> {
    let read = |error| HashError::Read(name.to_owned(), error);
    let mut file = File::open(file).map_err(read)?;
    check(&file, name, identity)?;
    // A write within the same grain of the file's clock would leave the change time as it is.
    let changed =
        SystemTime::UNIX_EPOCH + Duration::new(identity.ctime_sec.max(0) as u64, identity.ctime_nsec);
    let age = SystemTime::now().duration_since(changed).unwrap_or_default();
    if age < CLOCK_GRAIN {
        std::thread::sleep(CLOCK_GRAIN - age);
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(read)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    check(&file, name, identity)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn check(file: &File, name: &str, identity: FileIdentity) -> Result<(), HashError> {
    let now = file.metadata().map_err(|error| HashError::Read(name.to_owned(), error))?;
    let same = now.ino() == identity.ino
        && now.size() == identity.size
        && now.ctime() == identity.ctime_sec
        && now.ctime_nsec() == i64::from(identity.ctime_nsec);
    if same { Ok(()) } else { Err(HashError::Changed(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(path: &Path) -> FileIdentity {
        let meta = path.metadata().unwrap();
        FileIdentity {
            ino: meta.ino(),
            size: meta.size(),
            ctime_sec: meta.ctime(),
            ctime_nsec: meta.ctime_nsec() as u32,
        }
    }

    #[test]
    fn a_hash_is_of_the_file_the_kernel_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, b"abc").unwrap();
        let before = identity(&path);
        let name = path.to_str().unwrap();
        let mut hashes = Hashes::default();
        assert_eq!(
            hashes.sha256(name, before).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"abd").unwrap();
        let after = FileIdentity { size: 99, ..identity(&path) };
        assert!(matches!(hashes.sha256(name, after), Err(HashError::Changed(_))));
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of(std::process::id() as i32), Some(nix::unistd::getppid().as_raw()));
        assert_eq!(parent_of(-1), None);
    }
}
