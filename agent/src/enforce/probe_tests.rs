use super::*;
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
        landlock: Ok(5),
        notify: Ok(()),
        uid: 0,
        capabilities: u64::MAX,
        cgroup: Cgroup::V2,
    }
}

#[test]
fn a_good_machine_enforces_everything() {
    let probe = good();
    assert!(probe.checks().iter().all(|check| check.ok && check.fix.is_none()));
    let enforcement = probe.enforcement();
    assert_eq!(enforcement.backend, Backend::BpfLsm);
    assert_eq!(enforcement.below(Level::Full).count(), 0);
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
    assert_eq!(unlisted.enforcement().backend, Backend::None);
    let unread = Probe { modules: Err("no".into()), ..good() };
    assert!(fix(&unread, "lsm list").contains("securityfs"));
    assert_eq!(unread.enforcement().backend, Backend::BpfLsm, "not knowing is not absence");
    let refused = Probe { load: Err(Errno::EPERM), ..good() };
    assert!(fix(&refused, "lsm program").contains("host forbids"));
    assert!(refused.enforcement().actions[0].missing[0].contains("EPERM"));
    let user = Probe { load: Err(Errno::EPERM), capabilities: 0, uid: 1000, ..good() };
    assert!(fix(&user, "lsm program").contains("daemon") && fix(&user, "user").contains("daemon"));
    let locked = Probe { lockdown: Lockdown::Confidentiality, ..good() };
    assert!(fix(&locked, "lockdown").contains("integrity"));
    assert_eq!(locked.enforcement().of(Action::FileRead), Level::None);
    let blind = Probe { hooks: Err("no such file".into()), load: Err(Errno::ENOENT), ..good() };
    assert!(fix(&blind, "btf").contains("CONFIG_DEBUG_INFO_BTF"));
    assert!(blind.enforcement().actions[0].missing[0].starts_with("btf: "));
    let bare = Probe { landlock: Err(Errno::EOPNOTSUPP), notify: Err(Errno::EINVAL), ..good() };
    assert!(fix(&bare, "landlock").contains("lsm=lockdown,yama,bpf,landlock\""));
    assert!(fix(&bare, "seccomp notify").contains("CONFIG_SECCOMP_FILTER"));
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
    assert_eq!(probe.enforcement().below(Level::Full).count(), 0, "older hooks cover it");
    probe.hooks.as_mut().unwrap().remove("userns_create");
    assert_eq!(probe.enforcement().of(Action::SystemUserns), Level::None);
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
    assert_eq!(probe.enforcement().actions.len(), crate::event::ACTIONS.len());
    for check in probe.checks() {
        println!("{check:?}");
    }
}
