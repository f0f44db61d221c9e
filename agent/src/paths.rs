//! Where authz keeps things: state (ledgers and policy bundles) and run folders (a daemon's socket and lock), for
//! root and for an ordinary user. Nobody else decides on a folder.
//!
//! | | state | run |
//! |---|---|---|
//! | root | `/var/lib/authz` | `/run/authz` |
//! | others | `$XDG_STATE_HOME/authz`, else `~/.local/state/authz` | `$XDG_RUNTIME_DIR/authz`, else `/tmp/authz-UID` |
//!
//! A user's folders are for that user only (0700); root's run folder can be entered by all, since who owns a
//! session may answer for it.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Name of the socket that controls a daemon.
pub const CONTROL: &str = "control.sock";

/// Name of the socket where the gates inside a session ask about tool calls.
pub const ASK: &str = "ask.sock";
/// Where other gates ask (AuthZEN): beside the two.
pub const AUTHZEN: &str = "authzen.sock";

/// Root's state.
const STATE_OF_ROOT: &str = "/var/lib/authz";
/// Root's run folder.
const RUN_OF_ROOT: &str = "/run/authz";

/// Why there is no folder.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// An ordinary user without a home folder.
    #[error("user {0} has no home folder to keep state in; set HOME, or name a folder with --state")]
    Homeless(u32),
    /// A folder that could not be made or looked at.
    #[error("cannot make {}: {source}", path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else could put things there.
    #[error("{} is not a folder of user {uid} alone; remove it, or set XDG_RUNTIME_DIR", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Who asks.
        uid: u32,
    },
}

/// Who keeps things, and what the environment says about it.
#[derive(Debug, Clone)]
pub struct Owner {
    uid: u32,
    home: Option<PathBuf>,
    xdg_state: Option<PathBuf>,
    xdg_run: Option<PathBuf>,
    /// Where users' folders are, for those who look into all.
    run_of_users: PathBuf,
    temporary: PathBuf,
}

impl Owner {
    /// The user of this process.
    pub fn this() -> Self {
        let uid = nix::unistd::geteuid();
        let home = || nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.dir);
        Self {
            uid: uid.as_raw(),
            home: folder_of("HOME").or_else(home),
            xdg_state: folder_of("XDG_STATE_HOME"),
            xdg_run: folder_of("XDG_RUNTIME_DIR"),
            run_of_users: "/run/user".into(),
            temporary: "/tmp".into(),
        }
    }

    /// Where ledgers and policy bundles are unless told otherwise. Nothing is made.
    pub fn state(&self) -> Result<PathBuf, PathError> {
        if self.uid == 0 {
            // Not root's environment: it may be that of whoever called sudo.
            return Ok(STATE_OF_ROOT.into());
        }
        let xdg = self.xdg_state.as_ref().map(|folder| folder.join("authz"));
        xdg.or_else(|| self.home.as_ref().map(|home| home.join(".local/state/authz")))
            .ok_or(PathError::Homeless(self.uid))
    }

    /// The folder of this user's daemons. Nothing is made.
    pub fn run(&self) -> PathBuf {
        if self.uid == 0 {
            return RUN_OF_ROOT.into();
        }
        // After su it may be another user's.
        let own = |folder: &&PathBuf| {
            fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == self.uid)
        };
        match self.xdg_run.as_ref().filter(own) {
            Some(folder) => folder.join("authz"),
            None => self.temporary.join(format!("authz-{}", self.uid)),
        }
    }

    /// Makes the folder of this user's daemons, and gives its real path. A user's own is refused if anyone else
    /// could have put something there.
    pub fn make_run(&self) -> Result<PathBuf, PathError> {
        let path = self.run();
        let failed = |source| PathError::Make { path: path.clone(), source };
        make(&path, if self.uid == 0 { 0o755 } else { 0o700 }).map_err(failed)?;
        let found = fs::symlink_metadata(&path).map_err(failed)?;
        if self.uid != 0 && !private(&found, self.uid) {
            return Err(PathError::Foreign { path, uid: self.uid });
        }
        path.canonicalize().map_err(failed)
    }

    /// Folders in which daemons may live that this user can speak with: root's and the own ones, whatever the
    /// environment was when they started; for root, those of all users.
    pub fn run_roots(&self) -> Vec<PathBuf> {
        let mut users = if self.uid == 0 {
            let by_login = numbered(&self.run_of_users, "").map(|(uid, path)| (uid, path.join("authz")));
            by_login.chain(numbered(&self.temporary, "authz-")).collect()
        } else {
            self.usual_runs(self.uid).map(|path| (self.uid, path)).to_vec()
        };
        if self.uid != 0 && !users.iter().any(|(_, path)| *path == self.run()) {
            users.push((self.uid, self.run()));
        }
        std::iter::once(RUN_OF_ROOT.into()).chain(users.into_iter().filter_map(own)).collect()
    }

    /// What a session must leave alone, besides what its own daemon uses: the folders of root's daemons and of those
    /// of the session's user, which take answers from that user.
    pub fn protected(&self, session: u32) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = vec![RUN_OF_ROOT.into(), STATE_OF_ROOT.into()];
        if session != 0 {
            let user = nix::unistd::User::from_uid(session.into()).ok().flatten();
            let home = user.map(|user| user.dir).filter(|home| home.is_absolute());
            folders.extend(self.usual_runs(session));
            folders.extend(home.map(|home| home.canonicalize().unwrap_or(home).join(".local/state/authz")));
        }
        folders
    }

    /// The run folders of an ordinary user, unless the environment says otherwise.
    fn usual_runs(&self, uid: u32) -> [PathBuf; 2] {
        let by_login = self.run_of_users.join(uid.to_string()).join("authz");
        [by_login, self.temporary.join(format!("authz-{uid}"))]
    }
}

/// Makes the folder that was named for state, or the default one, and gives its real path: a policy protects it by
/// that.
pub fn make_state(path: &Path) -> Result<PathBuf, PathError> {
    let failed = |source| PathError::Make { path: path.to_owned(), source };
    make(path, 0o700).map_err(failed)?;
    path.canonicalize().map_err(failed)
}

/// Makes a folder and what is above it, which is as usual.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

/// A real folder of that user, which nobody else can enter.
fn private(found: &Metadata, uid: u32) -> bool {
    found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0
}

fn own((uid, path): (u32, PathBuf)) -> Option<PathBuf> {
    fs::symlink_metadata(&path).is_ok_and(|found| private(&found, uid)).then_some(path)
}

/// The entries of a folder that are named by a user's number.
fn numbered(folder: &Path, prefix: &'static str) -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let uid = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((uid, entry.path()))
    })
}

/// A folder named by the environment; one that is not absolute counts as not set, as the XDG specification has it.
fn folder_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests;
