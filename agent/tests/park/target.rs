//! The processes that are parked: this test binary started again with a role. What their threads do is
//! seen through counters in files.
#![allow(unsafe_code)] // a signal handler, and tgkill

use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authz::enforce::park::Tracer;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, killpg, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};

const ROLE: &str = "AUTHZ_TEST_ROLE";
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: i32) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// What the processes started by the tests do; returns in the test process itself.
pub(crate) fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let dir = PathBuf::from(words[1]);
    match words[0] {
        "threads" => threads(&dir, words[2].parse().unwrap()),
        "parent" => parent(&dir),
        "tracer" => {
            let at = dir.join("tracer");
            let tracer =
                Tracer::spawn(move |report| std::fs::write(&at, format!("{report:?}")).unwrap()).unwrap();
            tracer.park(words[2].parse().unwrap());
            std::thread::sleep(Duration::from_secs(60));
        }
        role => panic!("{role}"),
    }
}

fn threads(dir: &Path, count: usize) {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler only adds to an atomic.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let plain: libc::sighandler_t = handler as *const () as usize;
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGRTMIN() + 3, plain) };
    for _ in 0..count {
        let dir = dir.to_owned();
        std::thread::spawn(move || {
            let file = std::fs::File::create(dir.join(format!("t{}", gettid()))).unwrap();
            for turn in 1u64.. {
                file.write_all_at(&turn.to_ne_bytes(), 0).unwrap();
                file.write_all_at(&HANDLED.load(Ordering::SeqCst).to_ne_bytes(), 8).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
        });
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// A parent that looks for every change of its child, as a shell does.
fn parent(dir: &Path) {
    #[allow(clippy::zombie_processes)] // waited for below, by number
    let child = start(&format!("threads {} 3", dir.display()));
    let mut seen = String::new();
    loop {
        let status =
            waitpid(Pid::from_raw(child.id() as i32), Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED));
        seen += &format!("{status:?}\n");
        std::fs::write(dir.join("parent"), &seen).unwrap();
        if matches!(status, Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_)) {
            return;
        }
    }
}

pub(crate) fn start(role: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A process of looping threads, and what is known about them. Everything ends with it.
pub(crate) struct Target {
    pub(crate) dir: tempfile::TempDir,
    group: Child,
    pub(crate) tids: Vec<i32>,
}

impl Target {
    pub(crate) fn new(count: usize) -> Self {
        Self::of("threads", count)
    }

    pub(crate) fn of(role: &str, count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "role", "--nocapture", "--test-threads=1"]).process_group(0);
        command.env(ROLE, format!("{role} {} {count}", dir.path().display()));
        let group = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut target = Self { dir, group, tids: Vec::new() };
        until("threads run", || {
            target.tids = tids(target.dir.path());
            target.tids.len() == count && target.tids.iter().all(|tid| target.count(*tid, 0) > 0)
        });
        target
    }

    pub(crate) fn count(&self, tid: i32, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let file = std::fs::File::open(self.dir.path().join(format!("t{tid}"))).unwrap();
        file.read_exact_at(&mut bytes, at).map(|()| u64::from_ne_bytes(bytes)).unwrap_or(0)
    }

    /// Whether the thread does anything in a tenth of a second.
    pub(crate) fn runs(&self, tid: i32) -> bool {
        let before = self.count(tid, 0);
        std::thread::sleep(Duration::from_millis(100));
        self.count(tid, 0) > before + 1
    }

    /// Sends a signal to one thread.
    pub(crate) fn signal(&self, tid: i32, signal: i32) {
        // SAFETY: three numbers, no memory.
        assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, self.pid().as_raw(), tid, signal) }, 0);
    }

    pub(crate) fn pid(&self) -> Pid {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.tids[0])).unwrap();
        let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:")).unwrap();
        Pid::from_raw(tgid.trim().parse().unwrap())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        killpg(Pid::from_raw(self.group.id() as i32), Signal::SIGKILL).ok();
        self.group.wait().unwrap();
    }
}

fn tids(dir: &Path) -> Vec<i32> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut tids: Vec<i32> =
        names.filter_map(|name| name.to_str()?.strip_prefix('t')?.parse().ok()).collect();
    tids.sort();
    tids
}

#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
