use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// A user whose folders are all below `root`, with the real number, since ownership is checked.
fn owner(root: &Path) -> Owner {
    Owner {
        uid: nix::unistd::geteuid().as_raw(),
        home: Some(root.join("home")),
        xdg_state: None,
        xdg_run: None,
        run_of_users: root.join("run"),
        temporary: root.join("tmp"),
    }
}

/// As `owner`, and another number than root's, whoever runs the test.
fn user(root: &Path) -> Owner {
    Owner { uid: 4_000_001, ..owner(root) }
}

#[test]
fn root_has_the_folders_of_the_system() {
    let set = Some(PathBuf::from("/home/dev/x"));
    let root = Owner { uid: 0, xdg_state: set.clone(), xdg_run: set, ..owner(Path::new("/nowhere")) };
    assert_eq!(root.state().unwrap(), Path::new("/var/lib/authz"));
    assert_eq!(root.run(), Path::new("/run/authz"));
    assert_eq!(root.run_roots(), [Path::new("/run/authz")]);
}

#[test]
fn a_user_has_folders_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let user = user(root.path());
    assert_eq!(user.state().unwrap(), root.path().join("home/.local/state/authz"));
    let state = Some(PathBuf::from("/s"));
    assert_eq!(Owner { xdg_state: state, ..user.clone() }.state().unwrap(), Path::new("/s/authz"));
    assert_eq!(user.run(), root.path().join("tmp/authz-4000001"));
    let foreign = Owner { xdg_run: Some(root.path().into()), ..user.clone() };
    assert_eq!(foreign.run(), user.run(), "XDG_RUNTIME_DIR of another user does not count");
    let homeless = Owner { home: None, ..user };
    assert!(homeless.state().unwrap_err().to_string().contains("--state"));
}

#[test]
fn the_run_folder_is_made_for_its_user_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut owner = owner(root.path());
    if owner.uid == 0 {
        // Root's is the system's: what is a user's is tried as that of a number that root can give away.
        owner.uid = 4_000_001;
        let path = owner.run();
        assert!(matches!(owner.make_run(), Err(PathError::Foreign { .. })), "root made it");
        std::os::unix::fs::chown(&path, Some(owner.uid), Some(owner.uid)).unwrap();
    }
    let path = owner.make_run().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(owner.make_run().unwrap(), path, "again");
    assert_eq!(owner.run_roots(), [Path::new("/run/authz"), &path]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = owner.make_run().unwrap_err().to_string();
    assert!(error.contains("alone"), "{error}");
    assert_eq!(owner.run_roots(), [Path::new("/run/authz")], "nor is it looked into");
}

#[test]
fn daemons_are_found_whatever_the_environment_was() {
    let root = tempfile::tempdir().unwrap();
    let mut owner = owner(root.path());
    let is_root = owner.uid == 0;
    if is_root {
        owner.uid = 4_000_001;
    }
    let give = |path: &Path, uid| {
        if is_root {
            std::os::unix::fs::chown(path, Some(uid), None).unwrap();
        }
    };
    let other = root.path().join("xdg");
    let login = root.path().join(format!("run/{}/authz", owner.uid));
    for folder in [&login, &owner.run(), &other.join("authz")] {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        give(folder, owner.uid);
    }
    give(&other, owner.uid);
    let temporary = owner.run();
    assert_eq!(owner.run_roots(), [Path::new("/run/authz"), &login, &temporary]);
    owner.xdg_run = Some(other.clone());
    assert_eq!(owner.run_roots(), [Path::new("/run/authz"), &login, &temporary, &other.join("authz")]);
}

#[test]
fn a_session_leaves_all_daemons_of_its_user_alone() {
    let owner = owner(Path::new("/r"));
    let of_root = ["/run/authz", "/var/lib/authz"].map(PathBuf::from);
    assert_eq!(owner.protected(0), of_root);
    let runs = ["/r/run/4000001/authz", "/r/tmp/authz-4000001"].map(PathBuf::from);
    assert_eq!(owner.protected(4_000_001), [of_root, runs].concat());
}

#[test]
fn a_link_is_not_a_run_folder() {
    let root = tempfile::tempdir().unwrap();
    let user = user(root.path());
    fs::create_dir_all(root.path().join("tmp")).unwrap();
    fs::create_dir(root.path().join("elsewhere")).unwrap();
    symlink(root.path().join("elsewhere"), user.run()).unwrap();
    assert!(matches!(user.make_run(), Err(PathError::Foreign { .. })));
    fs::remove_file(user.run()).unwrap();
    fs::write(user.run(), "").unwrap();
    assert!(matches!(user.make_run(), Err(PathError::Make { .. })));
}

#[test]
fn root_looks_into_the_folders_of_their_owners_only() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let folders = ["run/4000001/authz", "run/4000002/authz", "tmp/authz-4000003", "tmp/authz-x"];
    for folder in folders.map(|folder| root.path().join(folder)) {
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    for (folder, uid) in [(folders[0], 4_000_001), (folders[1], 4_000_001), (folders[2], 4_000_003)] {
        std::os::unix::fs::chown(root.path().join(folder), Some(uid), None).unwrap();
    }
    let found = Owner { uid: 0, ..owner(root.path()) }.run_roots();
    let expected = ["/run/authz".into(), root.path().join(folders[0]), root.path().join(folders[2])];
    assert_eq!(found, expected);
}

#[test]
fn state_is_private_and_named_by_its_real_path() {
    let root = tempfile::tempdir().unwrap();
    let real = root.path().canonicalize().unwrap();
    symlink(&real, real.join("link")).unwrap();
    let state = make_state(&real.join("link/a/state")).unwrap();
    assert_eq!(state, real.join("a/state"));
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}
