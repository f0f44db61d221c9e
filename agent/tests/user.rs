//! What an ordinary user gets from every command that needs no session: an answer, or one clear line.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// A number that no account has.
const UID: u32 = 4_000_117;

/// A home folder, and the program where the user can execute it.
struct User {
    folder: tempfile::TempDir,
    uid: u32,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a descriptor for writing would be inherited by what the other test starts meanwhile,
        // and a program that is open for writing cannot be executed.
        let copied =
            Command::new("cp").arg(env!("CARGO_BIN_EXE_authz")).arg(folder.path().join("authz")).status();
        assert!(copied.unwrap().success());
        let user = Self { uid: nix::unistd::geteuid().as_raw(), folder };
        fs::create_dir(user.home()).unwrap();
        if user.uid != 0 {
            return user;
        }
        chown(user.home(), Some(UID), Some(UID)).unwrap();
        Self { uid: UID, ..user }
    }

    fn home(&self) -> std::path::PathBuf {
        self.folder.path().join("home")
    }

    fn authz(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.folder.path().join("authz"));
        command.args(arguments).env_clear().env("HOME", self.home()).env("PATH", "/usr/bin:/bin");
        if self.uid == UID {
            command.uid(UID).gid(UID);
        }
        command.current_dir("/").output().unwrap()
    }
}

/// What was said, after the check that it is no panic, and at most one line if it is an error.
fn said(output: &Output) -> (i32, String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(!err.contains("panicked"), "{err}");
    assert!(err.lines().count() <= 1, "{err}");
    (output.status.code().unwrap(), out, err)
}

#[test]
fn every_command_answers() {
    let user = User::new();
    for arguments in [
        &["sessions"][..],
        &["pending"],
        &["sessions", "--json"],
        &["policy", "check", "preset:coding-agent"],
        &["policy", "test", "preset:prod-readonly"],
        &["policy", "digest", "preset:observe-all"],
    ] {
        let (status, _, err) = said(&user.authz(arguments));
        assert_eq!((status, err.as_str()), (0, ""), "{arguments:?}");
    }
    for (arguments, expected) in [
        (&["ledger", "list"][..], "no ledger in "),
        (&["exec", "--backend", "bpf-lsm", "--", "true"], "no root: LSM programs need it"),
    ] {
        let (status, _, err) = said(&user.authz(arguments));
        assert_ne!(status, 0, "{arguments:?}");
        assert!(err.starts_with("authz: ") && err.contains(expected), "{arguments:?}: {err}");
    }
    // Sessions of root may be live on this machine, none of them this user's.
    let (status, _, err) = said(&user.authz(&["approve", "3f9a2c1d"]));
    let nothing = ["no session is live", "no operations of yours wait"].iter().any(|text| err.contains(text));
    assert!(status == 1 && nothing, "{err}");
    let (_, _, err) = said(&user.authz(&["ledger", "list"]));
    let state = user.home().join(".local/state/authz");
    assert!(err.contains(state.to_str().unwrap()), "{err}");
    assert!(!Path::new(&state).exists(), "reading makes nothing");
}

#[test]
fn doctor_tells_both_back_ends_and_the_choice() {
    let user = User::new();
    let (status, out, err) = said(&user.authz(&["doctor", "--json"]));
    assert_eq!(err, "");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let reason = report["backends"]["bpf-lsm"]["actions"][0]["missing"][0].as_str().unwrap();
    assert!(
        ["no root: LSM programs need it", "the kernel has no type information (BTF)"].contains(&reason),
        "{reason}"
    );
    let works = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .any(|check| check["name"] == "seccomp notify" && check["ok"] == true);
    assert_eq!(report["auto"]["backend"], if works { "seccomp" } else { "none" });
    assert_eq!(report["seccomp"], works);
    assert_eq!(status, 1, "less than full is a status of its own");
    let (_, text, _) = said(&user.authz(&["doctor"]));
    let expected = if works { "\n--backend auto picks seccomp (" } else { "\nnothing can be enforced here" };
    assert!(text.contains(expected), "{text}");
}
