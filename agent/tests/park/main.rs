//! Parking against real threads of real processes.
#![allow(clippy::unwrap_used)] // tests may panic

mod target;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use authz::enforce::park::{ParkError, Report, Tracer};
use nix::sys::signal::{Signal, kill};
use target::{Target, start, until};

/// Not a test: the body of the processes started by the tests.
#[test]
fn role() {
    target::role();
}

fn tracer() -> (Tracer, Receiver<Report>) {
    let (send, reports) = channel();
    let tracer = Tracer::spawn(move |report| send.send(report).unwrap_or(())).unwrap();
    (tracer, reports)
}

#[track_caller]
fn next(reports: &Receiver<Report>) -> Report {
    reports.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn one_thread_is_parked_the_others_run() {
    let target = Target::new(4);
    let (tracer, reports) = tracer();
    let tid = target.tids[1];
    for _ in 0..20 {
        tracer.park(tid);
        assert_eq!(next(&reports), Report::Parked { tid });
        assert!(tracer.is_parked(tid));
        tracer.park(tid);
        assert_eq!(next(&reports), Report::Parked { tid }, "asked again");
        tracer.release(tid);
        assert_eq!(next(&reports), Report::Released { tid });
        assert!(!tracer.is_parked(tid));
    }
    tracer.park(tid);
    assert_eq!(next(&reports), Report::Parked { tid });
    for other in &target.tids {
        assert_eq!(target.runs(*other), *other != tid);
    }
    tracer.release(tid);
    assert_eq!(next(&reports), Report::Released { tid });
    assert!(target.runs(tid));
    tracer.release(tid);
    tracer.release(i32::MAX);
    assert_eq!(reports.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
}

#[test]
fn release_may_overtake_the_stop() {
    let target = Target::new(1);
    let (tracer, reports) = tracer();
    let tid = target.tids[0];
    for _ in 0..200 {
        tracer.park(tid);
        tracer.release(tid);
        let mut report = next(&reports);
        if report == (Report::Parked { tid }) {
            report = next(&reports);
        }
        assert_eq!(report, Report::Released { tid });
    }
    assert!(target.runs(tid));
}

#[test]
fn sigkill_ends_a_parked_thread() {
    let target = Target::new(3);
    let (tracer, reports) = tracer();
    for tid in &target.tids[..2] {
        tracer.park(*tid);
        assert_eq!(next(&reports), Report::Parked { tid: *tid });
    }
    kill(target.pid(), Signal::SIGKILL).unwrap();
    let start = Instant::now();
    let mut gone = [next(&reports), next(&reports)];
    gone.sort_by_key(|report| format!("{report:?}"));
    assert_eq!(gone, [Report::Gone { tid: target.tids[0] }, Report::Gone { tid: target.tids[1] }]);
    println!("both gone {:?} after SIGKILL", start.elapsed());
    assert!(!tracer.is_parked(target.tids[0]));
}

#[test]
fn a_signal_with_a_handler_is_taken_while_parked() {
    let target = Target::new(1);
    let (tracer, reports) = tracer();
    let tid = target.tids[0];
    for (turn, signal) in [libc::SIGUSR1, libc::SIGRTMIN() + 3, libc::SIGUSR1].into_iter().enumerate() {
        tracer.park(tid);
        assert_eq!(next(&reports), Report::Parked { tid });
        target.signal(tid, signal);
        assert_eq!(next(&reports), Report::Signalled { tid });
        until("handler", || target.count(tid, 8) == turn as u64 + 1);
        assert!(target.runs(tid), "it runs on after the handler");
    }
}

#[test]
fn a_harmless_signal_does_not_let_it_go() {
    let target = Target::new(2);
    let (tracer, reports) = tracer();
    let tid = target.tids[0];
    tracer.park(tid);
    assert_eq!(next(&reports), Report::Parked { tid });
    for _ in 0..5 {
        for signal in [Signal::SIGCONT, Signal::SIGCHLD, Signal::SIGWINCH] {
            kill(target.pid(), signal).unwrap();
            target.signal(tid, signal as i32);
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(reports.try_recv().ok(), None);
    assert!(!target.runs(tid) && target.runs(target.tids[1]));
    tracer.release(tid);
    assert_eq!(next(&reports), Report::Released { tid });
    assert!(target.runs(tid));
}

#[test]
fn a_signal_under_way_is_not_lost() {
    let target = Target::new(1);
    let (tracer, reports) = tracer();
    let tid = target.tids[0];
    let rounds = 300;
    for round in 1..=rounds {
        tracer.park(tid);
        target.signal(tid, libc::SIGUSR1);
        tracer.release(tid);
        loop {
            match next(&reports) {
                Report::Parked { .. } => {}
                Report::Released { .. } | Report::Signalled { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        until("handler", || target.count(tid, 8) == round);
    }
    assert!(target.runs(tid));
}

/// Job control: the stop completes although a thread is parked, and it goes on as before.
#[test]
fn stop_and_continue_from_outside() {
    let target = Target::of("parent", 3);
    let (tracer, reports) = tracer();
    let tid = target.tids[0];
    let seen = || std::fs::read_to_string(target.dir.path().join("parent")).unwrap_or_default();
    for round in 1..=10 {
        tracer.park(tid);
        assert_eq!(next(&reports), Report::Parked { tid });
        kill(target.pid(), Signal::SIGSTOP).unwrap();
        until("the parent sees the stop", || seen().matches("Stopped").count() == round);
        assert!(!target.runs(target.tids[1]));
        kill(target.pid(), Signal::SIGCONT).unwrap();
        until("the parent sees it continue", || seen().matches("Continued").count() == round);
        assert!(target.runs(target.tids[1]));
        assert!(!target.runs(tid), "still parked");
        tracer.release(tid);
        assert_eq!(next(&reports), Report::Released { tid });
        assert!(target.runs(tid));
    }
    // Released while stopped it stays stopped.
    tracer.park(tid);
    assert_eq!(next(&reports), Report::Parked { tid });
    kill(target.pid(), Signal::SIGSTOP).unwrap();
    until("the parent sees the stop", || seen().matches("Stopped").count() == 11);
    tracer.release(tid);
    assert_eq!(next(&reports), Report::Released { tid });
    assert!(!target.runs(tid));
    // Parked while stopped, likewise.
    tracer.park(tid);
    assert_eq!(next(&reports), Report::Parked { tid });
    kill(target.pid(), Signal::SIGCONT).unwrap();
    until("the parent sees it continue", || seen().matches("Continued").count() == 11);
    assert!(!target.runs(tid) && target.runs(target.tids[1]));
    tracer.release(tid);
    assert_eq!(next(&reports), Report::Released { tid });
    assert!(target.runs(tid));
}

/// All threads parked: SIGSTOP finds nobody to take it, so they are let go to take it.
#[test]
fn a_wholly_parked_process_can_still_be_stopped_and_interrupted() {
    let target = Target::of("parent", 3);
    let (tracer, reports) = tracer();
    let all: Vec<i32> = std::fs::read_dir(format!("/proc/{}/task", target.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    for tid in &all {
        tracer.park(*tid);
        assert_eq!(next(&reports), Report::Parked { tid: *tid });
    }
    let seen = || std::fs::read_to_string(target.dir.path().join("parent")).unwrap_or_default();
    kill(target.pid(), Signal::SIGTSTP).unwrap();
    until("stopped", || seen().contains("Stopped"));
    kill(target.pid(), Signal::SIGCONT).unwrap();
    until("continued", || seen().contains("Continued"));
    kill(target.pid(), Signal::SIGINT).unwrap();
    until("ended", || seen().contains("SIGINT"));
}

#[test]
fn the_parent_sees_nothing() {
    let target = Target::of("parent", 3);
    let (tracer, reports) = tracer();
    for _ in 0..50 {
        for tid in &target.tids {
            tracer.park(*tid);
            assert_eq!(next(&reports), Report::Parked { tid: *tid });
        }
        for tid in &target.tids {
            tracer.release(*tid);
            assert_eq!(next(&reports), Report::Released { tid: *tid });
        }
    }
    assert!(!target.dir.path().join("parent").exists());
    kill(target.pid(), Signal::SIGTERM).unwrap();
    until("the parent", || target.dir.path().join("parent").exists());
    let seen = std::fs::read_to_string(target.dir.path().join("parent")).unwrap();
    assert!(seen.contains("SIGTERM") && seen.lines().count() == 1, "{seen}");
}

#[test]
fn a_thread_that_is_traced_already_or_gone_fails() {
    let target = Target::new(2);
    let (one, reports_of_one) = tracer();
    let (two, reports_of_two) = tracer();
    let tid = target.tids[0];
    one.park(tid);
    assert_eq!(next(&reports_of_one), Report::Parked { tid });
    two.park(tid);
    let Report::Failed { tid: failed, why: ParkError::Traced(by) } = next(&reports_of_two) else { panic!() };
    assert!(
        failed == tid && Path::new(&format!("/proc/self/task/{by}")).exists(),
        "{by} is a thread of ours"
    );
    two.park(i32::MAX);
    assert_eq!(next(&reports_of_two), Report::Failed { tid: i32::MAX, why: ParkError::Exited });
    two.park(-1);
    assert_eq!(next(&reports_of_two), Report::Failed { tid: -1, why: ParkError::Exited });
    // Dropping a tracer lets go what it holds, and another may take it.
    drop(one);
    assert!(target.runs(tid));
    two.park(tid);
    assert_eq!(next(&reports_of_two), Report::Parked { tid });
}

#[test]
fn a_zombie_fails_and_stays_its_parents() {
    let (tracer, reports) = tracer();
    let mut child = Command::new("true").spawn().unwrap();
    let tid = child.id() as i32;
    std::thread::sleep(Duration::from_millis(200));
    tracer.park(tid);
    assert_eq!(next(&reports), Report::Failed { tid, why: ParkError::Exited });
    let target = Target::new(1);
    tracer.park(target.tids[0]);
    assert_eq!(next(&reports), Report::Parked { tid: target.tids[0] });
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.wait().unwrap().success(), "the tracer does not reap the process's own children");
}

#[test]
fn a_hundred_threads_at_once() {
    let target = Target::new(100);
    let (tracer, reports) = tracer();
    let start = Instant::now();
    target.tids.iter().for_each(|tid| tracer.park(*tid));
    for _ in &target.tids {
        assert!(matches!(next(&reports), Report::Parked { .. }));
    }
    println!("100 parked after {:?}", start.elapsed());
    let before: Vec<u64> = target.tids.iter().map(|tid| target.count(*tid, 0)).collect();
    let ticks = cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    println!("one second of 100 parked: {} clock ticks of the whole test process", cpu_ticks() - ticks);
    let after: Vec<u64> = target.tids.iter().map(|tid| target.count(*tid, 0)).collect();
    assert_eq!(before, after);
    let start = Instant::now();
    target.tids.iter().for_each(|tid| tracer.release(*tid));
    for _ in &target.tids {
        assert!(matches!(next(&reports), Report::Released { .. }));
    }
    println!("100 released after {:?}", start.elapsed());
    until("all run", || target.tids.iter().zip(&after).all(|(tid, n)| target.count(*tid, 0) > n + 1));
}

fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Each hold of a sibling sends SIGCONT; a parked thread must neither run nor keep the tracer busy.
#[test]
fn kicks_of_siblings_do_not_disturb() {
    let target = Target::new(8);
    let (tracer, reports) = tracer();
    for tid in &target.tids[1..] {
        tracer.park(*tid);
        assert_eq!(next(&reports), Report::Parked { tid: *tid });
    }
    let before: Vec<u64> = target.tids[1..].iter().map(|tid| target.count(*tid, 0)).collect();
    let start = Instant::now();
    let mut kicks = 0;
    while start.elapsed() < Duration::from_secs(1) {
        target.signal(target.tids[0], libc::SIGCONT);
        kicks += 1;
    }
    println!("{kicks} kicks");
    let after: Vec<u64> = target.tids[1..].iter().map(|tid| target.count(*tid, 0)).collect();
    assert_eq!(before, after);
    assert_eq!(reports.try_recv().ok(), None);
    assert!(target.runs(target.tids[0]));
    for tid in &target.tids[1..] {
        tracer.release(*tid);
        assert_eq!(next(&reports), Report::Released { tid: *tid });
        assert!(target.runs(*tid));
    }
}

#[test]
fn the_death_of_the_tracers_process_resumes() {
    let target = Target::new(2);
    let tid = target.tids[0];
    let mut tracer = start(&format!("tracer {} {tid}", target.dir.path().display()));
    until("parked", || {
        std::fs::read_to_string(target.dir.path().join("tracer")).is_ok_and(|text| text.contains("Parked"))
    });
    assert!(!target.runs(tid));
    tracer.kill().unwrap();
    tracer.wait().unwrap();
    assert!(target.runs(tid));
}
