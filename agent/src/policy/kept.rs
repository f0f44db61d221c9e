//! Bundles kept under their digest, so that what was decided can be decided again: `<folder>/<DIGEST>.json`, an object
//! of each file's path to its text.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::error::PolicyError;

/// Why a bundle cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// A system call failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A record names something else than a digest.
    #[error("{0:?} is no digest of a policy")]
    NoDigest(String),
    /// No bundle has this digest.
    #[error("{}: the policy was not kept; copy it there from where it was recorded", .0.display())]
    Missing(PathBuf),
    /// What is kept is not what the digest names.
    #[error("{}: the kept policy was changed: {why}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        why: String,
    },
    /// It is no bundle.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
}

/// Keeps a bundle, on the disk when this returns.
pub fn keep(folder: &Path, bundle: &Bundle) -> Result<(), KeptError> {
    let digest = bundle.digest();
    let path = file(folder, &digest)?;
    if read(folder, &digest).is_ok() {
        return Ok(());
    }
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| KeptError::Io { what, path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make", folder))?;
    let temporary = folder.join(format!("{digest}.{}.tmp", std::process::id()));
    let bytes = serde_json::to_vec(&bundle.files())
        .map_err(|error| failed("write", &temporary)(io::Error::other(error)))?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .map_err(failed("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(failed("rename to", &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// The bundle of a digest; its files are those that the digest was made of.
pub fn read(folder: &Path, digest: &str) -> Result<Bundle, KeptError> {
    let path = file(folder, digest)?;
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeptError::Missing(path)),
        result => result.map_err(|source| KeptError::Io { what: "read", path: path.clone(), source })?,
    };
    let files: BTreeMap<String, String> = serde_json::from_slice(&bytes)
        .map_err(|error| KeptError::Changed { path: path.clone(), why: error.to_string() })?;
    let bundle =
        Bundle::from_files(files).map_err(|source| KeptError::Policy { path: path.clone(), source })?;
    let found = bundle.digest();
    if found != digest {
        return Err(KeptError::Changed { path, why: format!("its digest is {found}") });
    }
    Ok(bundle)
}

/// A digest comes from a record: it must not lead elsewhere.
fn file(folder: &Path, digest: &str) -> Result<PathBuf, KeptError> {
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(KeptError::NoDigest(digest.chars().take(80).collect()));
    }
    Ok(folder.join(format!("{digest}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Engine, Generated, PolicySource};

    fn bundle() -> Bundle {
        let generated = Generated {
            protected: vec!["/run/authz".into()],
            workspace: vec!["/work".into()],
            ..Generated::default()
        };
        Bundle::load(&[PolicySource::Preset("coding-agent".into())], &generated).unwrap()
    }

    #[test]
    fn what_is_kept_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, bundle) = (folder.path().join("bundles"), bundle());
        keep(&folder, &bundle).unwrap();
        keep(&folder, &bundle).unwrap();
        let back = read(&folder, &bundle.digest()).unwrap();
        assert_eq!((back.files(), back.data()), (bundle.files(), bundle.data()));
        assert_eq!(back.data()["authz"]["protected"], serde_json::json!(["/run/authz"]));
        assert_eq!(Engine::load(&back).unwrap().digest(), bundle.digest());
    }

    #[test]
    fn what_was_changed_is_refused_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let digest = bundle().digest();
        assert!(matches!(read(folder.path(), &digest), Err(KeptError::Missing(_))));
        keep(folder.path(), &bundle()).unwrap();
        let path = folder.path().join(format!("{digest}.json"));
        for text in ["", "{}", "[]", &fs::read_to_string(&path).unwrap().replace("/work", "/wirk")] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(folder.path(), &digest), Err(KeptError::Changed { .. })), "{text}");
        }
        keep(folder.path(), &bundle()).unwrap();
        assert!(read(folder.path(), &digest).is_ok());
        for name in ["", "../x", &"/".repeat(64), &"é".repeat(32)] {
            assert!(matches!(read(folder.path(), name), Err(KeptError::NoDigest(_))));
        }
    }
}
