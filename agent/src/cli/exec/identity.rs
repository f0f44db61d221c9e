//! Whom a command runs as.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use nix::unistd::{Uid, User};

use crate::sys::spawn::Credentials;

/// Whom the command runs as.
pub struct Identity {
    /// Who may answer for it.
    pub uid: Uid,
    name: Option<String>,
    home: Option<PathBuf>,
    /// None: as who calls.
    pub credentials: Option<Credentials>,
}

impl Identity {
    /// As `user`; without one as who called sudo, else as who calls.
    pub fn of(user: Option<&str>) -> anyhow::Result<Self> {
        let name = user.map(str::to_owned).or_else(|| {
            // sudo sets these; a login shell of root has neither.
            std::env::var("SUDO_USER").ok().filter(|_| std::env::var_os("SUDO_UID").is_some())
        });
        let Some(name) = name else {
            return Ok(Identity { uid: Uid::effective(), name: None, home: None, credentials: None });
        };
        let user = match name.parse::<u32>() {
            Ok(uid) => User::from_uid(uid.into()),
            Err(_) => User::from_name(&name),
        }
        .with_context(|| format!("cannot look up user {name}"))?
        .with_context(|| format!("there is no user {name}; see getent passwd"))?;
        let c_name = std::ffi::CString::new(user.name.clone()).context("a user name with a NUL byte")?;
        let groups = nix::unistd::getgrouplist(&c_name, user.gid)
            .with_context(|| format!("cannot look up the groups of {name}"))?;
        let credentials = Credentials {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.iter().map(|group| group.as_raw()).collect(),
        };
        Ok(Identity {
            uid: user.uid,
            name: Some(user.name),
            home: Some(user.dir),
            credentials: Some(credentials),
        })
    }

    /// Its home folder, as the command's environment has it.
    pub fn home(&self) -> Option<PathBuf> {
        self.home.clone().or_else(std::env::home_dir)
    }

    /// The command with the environment of whom it runs as.
    pub fn prepare(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(name) = &self.name {
            command.env("USER", name).env("LOGNAME", name);
            if let Some(home) = &self.home {
                command.env("HOME", home);
            }
        }
        command
    }
}
