use super::*;
use crate::enforce::choice::Wanted;
use crate::enforce::level::{Backend, Level};
use crate::event::Action;

/// A machine on which everything works.
fn good() -> Probe {
    Probe {
        kernel: "6.12.0".into(),
        hooks: Ok(level::hooks().into_iter().map(|hook| (hook.to_owned(), 1)).collect()),
        modules: Ok(parse_modules("capability,lockdown,yama,bpf")),
        lockdown: Lockdown::None,
        load: Ok(()),
        restart: None,
        landlock: Ok(5),
        supervise: Ok(()),
        uid: 0,
        capabilities: u64::MAX,
        cgroup: Cgroup::V2,
    }
}

#[test]
fn a_good_machine_enforces_everything() {
    let probe = good();
    assert!(probe.checks().iter().all(|check| check.ok && check.fix.is_none()));
    let enforcement = probe.by_lsm();
    assert_eq!(enforcement.backend, Backend::BpfLsm);
    assert_eq!(enforcement.below(Level::Full).count(), 0);
}

fn refused_at(step: Step, errno: Errno) -> Result<(), Refused> {
    Err(Refused { step, errno })
}

#[test]
fn the_strongest_that_works_is_picked_and_the_reason_given() {
    let words =
        |probe: &Probe, wanted| probe.choose(wanted).map_or_else(|e| e.to_string(), |c| c.to_string());
    let auto = |probe: &Probe| words(probe, Wanted::Auto);
    let user = Probe { load: Err(Errno::EPERM), capabilities: 0, uid: 1000, ..good() };
    assert_eq!(auto(&good()), "bpf-lsm");
    assert_eq!(auto(&user), "seccomp (no root: LSM programs need it)");
    assert_eq!(words(&user, Wanted::Seccomp), "seccomp");
    assert_eq!(words(&good(), Wanted::Seccomp), "seccomp");
    assert_eq!(
        words(&user, Wanted::BpfLsm),
        "--backend bpf-lsm cannot be used here (no root: LSM programs need it); seccomp can"
    );
    let bare = Probe { capabilities: 0, load: Err(Errno::EPERM), ..good() };
    assert_eq!(auto(&bare), "seccomp (root has no CAP_BPF and CAP_PERFMON here)");
    let unlisted = Probe { modules: Ok(parse_modules("capability,landlock,yama")), ..good() };
    assert_eq!(auto(&unlisted), "seccomp (bpf is not in the kernel's list of LSMs)");
    let host = Probe { load: Err(Errno::EPERM), ..good() };
    assert_eq!(auto(&host), "seccomp (the host forbids LSM programs)");
    let locked = Probe { lockdown: Lockdown::Confidentiality, ..good() };
    assert_eq!(auto(&locked), "seccomp (lockdown=confidentiality forbids LSM programs)");
    let blind = Probe { hooks: Err("no such file".into()), load: Err(Errno::ENOENT), ..good() };
    assert_eq!(auto(&blind), "seccomp (the kernel has no type information (BTF))");
    let unbuilt = Probe { hooks: Ok(Hooks::default()), load: Err(Errno::ENOENT), ..good() };
    assert_eq!(auto(&unbuilt), "seccomp (the kernel is built without BPF LSM)");
    let neither = Probe { supervise: refused_at(Step::Filter, Errno::EBUSY), ..user };
    let nothing = auto(&neither);
    assert!(nothing.starts_with("nothing can be enforced here: bpf-lsm (no root"), "{nothing}");
    assert!(
        nothing.contains("seccomp (refused: a filter with a listener: Device or resource busy"),
        "{nothing}"
    );
    assert_eq!(neither.by(Backend::Seccomp).backend, Backend::None);
    assert_eq!(neither.by_seccomp().of(Action::FileRead), Level::None);
    assert_eq!(good().by(Backend::Seccomp).backend, Backend::Seccomp);
}

#[test]
fn what_loads_in_part_falls_back_only_where_that_was_left_open() {
    let again = |probe: &Probe, wanted, require| {
        let chosen = probe.choose_without_lsm(wanted, require, "no memory");
        chosen.map_or_else(|error| error.to_string(), |choice| choice.to_string())
    };
    let why = "not all LSM programs load: no memory";
    assert_eq!(again(&good(), Wanted::Auto, Level::Partial), format!("seccomp ({why})"));
    assert_eq!(again(&good(), Wanted::Auto, Level::Full), format!("--require full cannot be met: {why}"));
    assert_eq!(
        again(&good(), Wanted::BpfLsm, Level::None),
        format!("--backend bpf-lsm cannot be used here ({why})")
    );
    let neither = Probe { supervise: refused_at(Step::Filter, Errno::EBUSY), ..good() };
    let nothing = again(&neither, Wanted::Auto, Level::None);
    assert!(nothing.starts_with(&format!("nothing can be enforced here: bpf-lsm ({why})")), "{nothing}");
}

#[test]
fn every_gap_has_its_line() {
    let fix = |probe: &Probe, name| {
        let check = probe.checks().into_iter().find(|check| check.name == name).unwrap();
        assert!(!check.ok, "{check:?}");
        check.fix.unwrap()
    };
    let unlisted = Probe { modules: Ok(parse_modules("capability,landlock,yama")), ..good() };
    assert!(fix(&unlisted, "lsm list").contains("\"lsm=landlock,yama,bpf\""));
    assert_eq!(unlisted.by_lsm().backend, Backend::None);
    let unread = Probe { modules: Err("no".into()), ..good() };
    assert!(fix(&unread, "lsm list").contains("securityfs"));
    assert_eq!(unread.by_lsm().backend, Backend::BpfLsm, "not knowing is not absence");
    let realtime = Probe { restart: Some("a real-time kernel".into()), ..good() };
    assert!(fix(&realtime, "held on 9p").contains("real-time"));
    let refused = Probe { load: Err(Errno::EPERM), ..good() };
    assert!(fix(&refused, "lsm program").contains("host forbids"));
    assert_eq!(refused.by_lsm().actions[0].missing[0], "the host forbids LSM programs");
    let user = Probe { load: Err(Errno::EPERM), capabilities: 0, uid: 1000, ..good() };
    assert!(fix(&user, "lsm program").contains("root") && fix(&user, "user").contains("root"));
    let locked = Probe { lockdown: Lockdown::Confidentiality, ..good() };
    assert!(fix(&locked, "lockdown").contains("integrity"));
    assert_eq!(locked.by_lsm().of(Action::FileRead), Level::None);
    let blind = Probe { hooks: Err("no such file".into()), load: Err(Errno::ENOENT), ..good() };
    assert!(fix(&blind, "btf").contains("CONFIG_DEBUG_INFO_BTF"));
    assert!(blind.by_lsm().actions[0].missing[0].contains("BTF"));
    let bare = Probe {
        landlock: Err(Errno::EOPNOTSUPP),
        supervise: refused_at(Step::Filter, Errno::EINVAL),
        ..good()
    };
    assert!(fix(&bare, "landlock").contains("lsm=lockdown,yama,bpf,landlock\""));
    assert!(fix(&bare, "seccomp notify").contains("CONFIG_SECCOMP_FILTER"));
    let busy = Probe { supervise: refused_at(Step::Filter, Errno::EBUSY), ..good() };
    assert!(fix(&busy, "seccomp notify").contains("another supervisor"));
    let boxed = Probe { supervise: refused_at(Step::Filter, Errno::EPERM), ..good() };
    assert!(fix(&boxed, "seccomp notify").contains("container"));
    let apart = Probe { supervise: refused_at(Step::Memory, Errno::EPERM), ..good() };
    assert!(fix(&apart, "seccomp notify").contains("ptrace_scope"));
}

#[test]
fn an_older_kernel_is_told_apart() {
    let mut probe = good();
    let hooks = probe.hooks.as_mut().unwrap();
    for newer in
        ["file_truncate", "inode_set_acl", "inode_remove_acl", "inode_file_setattr", "file_ioctl_compat"]
    {
        hooks.remove(newer);
    }
    assert_eq!(probe.by_lsm().below(Level::Full).count(), 0, "older hooks cover it");
    probe.hooks.as_mut().unwrap().remove("userns_create");
    assert_eq!(probe.by_lsm().of(Action::SystemUserns), Level::None);
    assert_eq!(
        probe.hooks_present(&["file_open", "userns_create"]),
        [("file_open", true), ("userns_create", false)]
    );
}

#[test]
fn kernel_texts_are_parsed() {
    assert_eq!(parse_modules("capability,yama,bpf\n"), ["capability", "yama", "bpf"]);
    for empty in ["", "\n", ",,", " , "] {
        assert!(parse_modules(empty).is_empty(), "{empty:?}");
    }
    assert_eq!(parse_lockdown("[none] integrity confidentiality\n"), Lockdown::None);
    assert_eq!(parse_lockdown("none [integrity] confidentiality"), Lockdown::Integrity);
    assert_eq!(parse_lockdown("none integrity [confidentiality]"), Lockdown::Confidentiality);
    for bad in ["", "[]", "[", "none", "[none", "none]", "[new]", "[[none]]"] {
        assert_eq!(parse_lockdown(bad), Lockdown::Unknown, "{bad:?}");
    }
    assert_eq!(parse_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
    for bad in ["", "CapEff:", "CapEff: xyz", "CapPrm:\tff"] {
        assert_eq!(parse_capabilities(bad), 0, "{bad:?}");
    }
    assert_eq!(parse_cgroup("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"), Cgroup::V2);
    let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0";
    assert_eq!(parse_cgroup(hybrid), Cgroup::V1);
    assert_eq!(parse_cgroup("/dev/x / ext4 rw 0 0\nbad\n"), Cgroup::None);
    assert_eq!([module_name(109), module_name(99), module_name(u64::MAX)][0], "bpf");
    assert_eq!(module_name(99), "module-99");
}

#[test]
fn the_running_machine_answers() {
    let probe = Probe::run();
    assert!(!probe.kernel.is_empty());
    assert_eq!(probe.by_lsm().actions.len(), crate::event::ACTIONS.len());
    for check in probe.checks() {
        println!("{check:?}");
    }
}
