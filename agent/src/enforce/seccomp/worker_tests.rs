//! What becomes of calls that cannot be decided: of real ones, of a thread with a filter of its own.

use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use nix::sys::eventfd::EventFd;
use nix::sys::stat::Mode;

use super::*;
use crate::abi::raw::authz_event;
use crate::enforce::seccomp::blocked::Blocked;
use crate::enforce::seccomp::{bound::Bound, facts, lineage::Lineage};
use crate::event::{Action, Event, EventKind};
use crate::sys::seccomp::{self, Listener};

/// Of mkdir(2) only, whichever of the two the C library takes.
fn filter() -> Vec<libc::sock_filter> {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    vec![
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, libc::SYS_mkdir as u32),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_mkdirat as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn session(listener: Listener, enforce: bool) -> Arc<Known> {
    Arc::new(Known {
        index: 7,
        listener,
        enforce: AtomicBool::new(enforce),
        generation: AtomicU32::new(0),
        domain: AtomicU64::new(0),
        one_domain: AtomicBool::new(true),
        reads_arguments: AtomicBool::new(false),
        audit_each: false,
        hold_timeout: Duration::from_secs(1),
        control: Vec::new(),
        moved: AtomicBool::new(false),
        calls: AtomicU32::new(0),
        had_calls: AtomicBool::new(false),
        names: RwLock::default(),
        lineage: Lineage::default(),
        bound: Bound::default(),
    })
}

/// What a thread's mkdir(2) comes to with this handler, and what is recorded.
fn mkdir(path: &Path, enforce: bool, handle: Handle) -> (nix::Result<()>, Vec<Event>) {
    let (to_thread, go) = sync_channel(0);
    let (number, listens) = channel();
    let path = path.to_owned();
    let thread = std::thread::spawn(move || {
        number.send(seccomp::install(&filter()).unwrap()).unwrap();
        let () = go.recv().unwrap();
        nix::unistd::mkdir(&path, Mode::S_IRWXU)
    });
    let number = listens.recv().unwrap();
    let listener = Listener::of_process(std::process::id() as i32, number).unwrap();
    nix::unistd::close(number).unwrap();
    let (sender, events) = channel();
    let wake = Arc::new(EventFd::new().unwrap());
    let judge = Arc::new(Judge::new(sender, wake, Blocked::start().unwrap()));
    Workers::start_with(handle, judge, session(listener, enforce)).unwrap();
    to_thread.send(()).unwrap();
    let result = thread.join().unwrap();
    (result, events.try_iter().collect())
}

/// Cause and resource of each failure; all that is recorded is of the thread's call.
fn failed(events: &[Event]) -> Vec<(&'static str, &str)> {
    let own = std::process::id() as i32;
    let mut failed = Vec::new();
    for Event { kind, session, task, operation, .. } in events {
        assert_eq!((operation.action, *session, task.tgid), (Action::FileCreate, 7, own));
        let syscall = operation.properties["syscall"].as_str().unwrap();
        assert!(syscall.starts_with("mkdir"), "{syscall}");
        if let EventKind::Failed { cause } = kind {
            failed.push((*cause, operation.resource.id.as_str()));
        }
    }
    failed
}

/// The causes alone.
fn failed_of(events: &[Event]) -> Vec<&'static str> {
    let cause = |event: &Event| if let EventKind::Failed { cause } = event.kind { Some(cause) } else { None };
    events.iter().filter_map(cause).collect()
}

fn panics(_: &Call<'_>) -> Result {
    panic!("on purpose")
}

fn panics_late(call: &Call<'_>) -> Result {
    let mut raw = call.record(Action::FileCreate);
    facts::put_file(&mut raw, b"/decided", None);
    call.decide(&raw)?;
    panic!("on purpose")
}

fn unreadable(call: &Call<'_>) -> Result {
    Err(call.target.cannot(fail::UNREADABLE))
}

/// A real one: no process can be in this group.
fn without_rights(call: &Call<'_>) -> Result {
    let mut target = Target::unknown(call.target.tid);
    target.identity.groups = vec![u32::MAX];
    let call = Call::new(call.judge, call.session, call.asked, target);
    call.finish(Some(call.act().map(|()| Outcome::Value(0))))
}

fn unknown(call: &Call<'_>) -> Result {
    let raw = authz_event { object: 77, ..*call.record(Action::FileCreate) };
    call.allow(&raw)?;
    Ok(Outcome::GoOn)
}

#[test]
fn what_cannot_be_decided_is_refused_or_goes_on_and_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let table: [(Handle, &str); 3] =
        [(panics, fail::FAULT), (unreadable, fail::UNREADABLE), (unknown, fail::RECORD)];
    for (handle, cause) in table {
        let path = folder.path().join("made");
        let (result, events) = mkdir(&path, true, handle);
        assert_eq!(result, Err(Errno::EACCES), "{cause}");
        assert!(!path.exists(), "{cause}");
        assert_eq!(failed(&events), [(cause, "unknown:path")]);
        assert!(events.iter().all(|event| !event.observe));
        let (result, events) = mkdir(&path, false, handle);
        assert_eq!(result, Ok(()), "{cause}");
        assert_eq!(failed(&events), [(cause, "unknown:path")]);
        assert!(events.iter().all(|event| event.observe));
        std::fs::remove_dir(path).unwrap();
    }
}

#[test]
fn without_the_rights_of_the_thread_nothing_is_done() {
    if !nix::unistd::getuid().is_root() {
        return; // who has one identity only takes on no other
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made");
    let (result, events) = mkdir(&path, true, without_rights);
    assert_eq!((result, path.exists()), (Err(Errno::EACCES), false));
    assert_eq!(failed_of(&events), [fail::RIGHTS]);
    let (result, events) = mkdir(&path, false, without_rights);
    assert_eq!((result, path.exists()), (Ok(()), true));
    assert_eq!(failed_of(&events), [fail::RIGHTS]);
}

#[test]
fn what_may_be_done_already_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made");
    let (result, events) = mkdir(&path, false, panics_late);
    assert_eq!((result, path.exists()), (Err(Errno::EACCES), false));
    assert_eq!(failed(&events), [(fail::FAULT, "unknown:path")]);
    assert_eq!(events.len(), 2, "the decision and the failure: {events:?}");
}

#[test]
fn an_error_of_the_call_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for enforce in [true, false] {
        let (result, events) = mkdir(&folder.path().join("made"), enforce, |_| Err(Errno::EFAULT));
        assert_eq!((result, events), (Err(Errno::EFAULT), Vec::new()));
    }
}
