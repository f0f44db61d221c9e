use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::{fs, thread};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::enforce::seccomp::calls::Features;
use crate::policy::{Bundle, Engine, Generated, PolicySource};

/// Runs on a thread of its own with the floor laid; a domain is a thread's until it starts others. `None` where the
/// kernel has no Landlock, which is said and not passed over: its own test is what such a kernel does instead.
fn under<T: Send>(floor: &Floor, action: impl FnOnce() -> T + Send) -> Option<(Laid, T)> {
    let prepared = floor.prepare().unwrap();
    if prepared.laid.abi == 0 {
        assert!(prepared.ruleset.is_none() && !prepared.laid.missing.is_empty());
        eprintln!("this kernel has no Landlock: {}", prepared.laid);
        return None;
    }
    let result = thread::scope(|scope| {
        let laid = || {
            prepared.restrict().unwrap();
            action()
        };
        scope.spawn(laid).join().unwrap()
    });
    Some((prepared.laid, result))
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn writes_stay_below_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
    let device = folder.path().join("device");
    for made in [&inside, &outside] {
        fs::create_dir(made).unwrap();
    }
    for file in [&outside.join("old"), &inside.join("move"), &device] {
        fs::write(file, "old").unwrap();
    }
    let gone = folder.path().join("gone");
    let write = Some(vec![inside.clone(), device.clone(), gone.clone()]);
    let Some((laid, ())) = under(&Floor { write, ..Floor::default() }, || {
        fs::write(inside.join("new"), "x").unwrap();
        fs::write(&device, "a file by its own name").unwrap();
        fs::remove_file(inside.join("new")).unwrap();
        assert_eq!(fs::read_to_string(outside.join("old")).unwrap(), "old", "reading is not restricted");
        let denied = Some(ErrorKind::PermissionDenied);
        assert_eq!(kind(fs::write(outside.join("old"), "x")), denied);
        assert_eq!(kind(fs::write(outside.join("new"), "x")), denied);
        assert_eq!(kind(fs::remove_file(outside.join("old"))), denied);
        assert_eq!(kind(fs::create_dir(outside.join("d"))), denied);
        assert_eq!(kind(std::os::unix::fs::symlink("x", outside.join("l"))), denied);
        assert!(fs::rename(inside.join("move"), outside.join("move")).is_err());
        assert!(fs::hard_link(outside.join("old"), inside.join("link")).is_err());
        fs::create_dir(&gone).unwrap_err();
        assert_eq!(
            shell("echo x > \"$1\"", &outside.join("old")),
            (false, "old".into()),
            "a child of it neither"
        );
        // The supervisor's descriptors, and those from before, are not its business.
        fs::read_dir(&outside).unwrap();
    }) else {
        return;
    };
    assert_eq!(laid.absent.len(), 1, "{:?}", laid.absent);
    assert!(laid.absent[0].starts_with(&format!("{}: No such file", gone.display())), "{:?}", laid.absent);
    assert!(laid.tracing && !laid.signals);
    assert_eq!(fs::read_to_string(outside.join("old")).unwrap(), "old");
    fs::write(outside.join("new"), "the parent is free").unwrap();
}

/// Runs a script with a file as its argument, and reads that file.
fn shell(script: &str, file: &Path) -> (bool, String) {
    let output =
        std::process::Command::new("/bin/sh").args(["-euc", script, "sh"]).arg(file).output().unwrap();
    (output.status.success(), fs::read_to_string(file).unwrap())
}

#[test]
fn an_agent_works_above_the_floor_of_the_preset() {
    let [workspace, home] = [(); 2].map(|()| tempfile::tempdir_in("/var/tmp").unwrap());
    let sources = [PolicySource::Preset("coding-agent".into())];
    let folder = |folder: &tempfile::TempDir| folder.path().to_str().unwrap().to_owned();
    let generated = Generated { workspace: vec![folder(&workspace)], ..Generated::default() };
    let mut floor = Engine::load(&Bundle::load(&sources, &generated).unwrap()).unwrap().floor().clone();
    // So that the home folder of this test is none of the temporary ones.
    floor.write.as_mut().unwrap().retain(|path| path != Path::new("/var/tmp"));
    let (file, profile) = (workspace.path().join("file"), home.path().join(".profile"));
    for file in [&file, &profile] {
        fs::write(file, "old").unwrap();
    }
    let work = r#"echo x > /dev/null; cat /etc/passwd > /dev/null; scratch=$(mktemp -d)
        mv "$1" "$scratch/moved"; printf new > "$scratch/moved"; mv "$scratch/moved" "$1"; chmod 700 "$1"
        mkdir "$1.d"; ln -s x "$1.l"; rm -r "$1.d" "$1.l" "$scratch"; : | cat > /dev/stdout
        sleep 60 & kill $!"#;
    under(&floor, || {
        assert_eq!(shell(work, &file), (true, "new".into()));
        assert_eq!(shell("echo new > \"$1\"", &profile), (false, "old".into()));
    });
}

#[test]
fn an_empty_list_allows_nothing_and_an_absent_one_everything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    under(&Floor { read: Some(Vec::new()), ..Floor::default() }, || {
        assert_eq!(kind(fs::read(&file)), Some(ErrorKind::PermissionDenied));
        fs::write(&file, "y").unwrap();
    });
    let floor = Floor::default().prepare().unwrap();
    assert!(floor.ruleset.is_none() && floor.laid.missing.is_empty() && !floor.laid.tracing);
    floor.restrict().unwrap();
}

#[test]
fn programs_are_executed_from_below_the_floor_only() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("true");
    fs::copy("/bin/true", &copy).unwrap();
    let system = ["/usr", "/bin", "/lib", "/lib64"].iter().map(PathBuf::from).filter(|path| path.exists());
    let execute = Some(system.collect());
    under(&Floor { execute, ..Floor::default() }, || {
        let run = |program: &Path| std::process::Command::new(program).status();
        assert!(run(Path::new("/bin/true")).unwrap().success());
        assert_eq!(kind(run(&copy)), Some(ErrorKind::PermissionDenied));
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::rename(&copy, folder.path().join("d/moved")).unwrap();
        fs::hard_link(folder.path().join("d/moved"), &copy).unwrap();
    });
}

#[test]
fn ports_signals_and_nothing_else() {
    let [open, shut] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let mut outsider = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_raw(outsider.id() as i32);
    let floor = Floor {
        connect_ports: Some(vec![port(&open)]),
        bind_ports: Some(Vec::new()),
        scope: vec![Scope::Signals],
        ..Floor::default()
    };
    let seen = under(&floor, || {
        let connect = |listener| kind(TcpStream::connect(("127.0.0.1", port(listener))));
        let mut insider = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let inside = kill(Pid::from_raw(insider.id() as i32), Signal::SIGKILL);
        insider.wait().unwrap();
        (connect(&open), connect(&shut), kind(TcpListener::bind("127.0.0.1:0")), inside, kill(pid, None))
    });
    outsider.kill().unwrap();
    outsider.wait().unwrap();
    let Some((laid, (open, shut, bound, inside, outside))) = seen else { return };
    assert_eq!((open, inside), (None, Ok(())));
    if laid.abi >= PORTS {
        let denied = Some(ErrorKind::PermissionDenied);
        assert_eq!((shut, bound), (denied, denied));
    }
    assert_eq!(outside, if laid.abi >= SCOPES { Err(Errno::EPERM) } else { Ok(()) });
    assert_eq!(laid.signals, laid.abi >= SCOPES);
}

#[test]
fn a_floor_closes_what_it_refuses_by_itself() {
    let levels = |tracing, signals| {
        let laid = Laid { tracing, signals, ..Laid::default() };
        let enforcement = Enforcement::by_seccomp(Features { exec_checked: false }).with_floor(&laid);
        [Action::ProcessPtrace, Action::ProcessSignal].map(|action| enforcement.of(action))
    };
    assert_eq!(levels(false, false), [Level::Partial, Level::Partial]);
    assert_eq!(levels(true, false), [Level::Full, Level::Partial]);
    assert_eq!(levels(true, true), [Level::Full, Level::Full]);
}

#[test]
fn what_an_interface_lacks_is_named() {
    let all = Floor {
        write: Some(vec!["/tmp".into()]),
        connect_ports: Some(vec![443]),
        scope: vec![Scope::Signals, Scope::AbstractSockets],
        ..Floor::default()
    };
    let missing = |abi| all.missing(abi).join(", ");
    assert_eq!(missing(0), "all of files, TCP ports, signals, abstract sockets");
    assert!(missing(1).starts_with("truncation, moves between folders, which are refused everywhere, TCP"));
    assert_eq!(missing(2), "truncation, TCP ports, signals, abstract sockets");
    assert_eq!(missing(5), "signals, abstract sockets");
    assert_eq!(missing(6), "");
    assert!((0..9).all(|abi| Floor::default().missing(abi).is_empty()));
    let laid = Laid { abi: 5, missing: all.missing(5), absent: vec!["/x: no".into()], ..Laid::default() };
    assert_eq!(laid.to_string(), "Landlock 5, not signals, abstract sockets; cannot be opened: /x: no");
}
