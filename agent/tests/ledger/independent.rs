//! The same files, read by a program that shares nothing with this one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use authz::ledger::*;
use data_encoding::HEXLOWER;

use super::{ledger, small, verified};

fn other(state: &Path) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/ledger_verify.py");
    let done =
        Command::new("python3").arg(script).arg(state.join("ledger")).arg(state.join("key.pub")).output();
    let done = done.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

fn agrees(state: &Path) {
    let found = verified(state).unwrap().checkpoint.unwrap();
    let expected = format!("{} {} {}", found.origin, found.size, HEXLOWER.encode(&found.root));
    assert_eq!(other(state), Ok(expected));
}

#[test]
fn another_implementation_agrees() {
    for size in [1, 2, 255, 256, 257, 511, 512, 700] {
        let dir = tempfile::tempdir().unwrap();
        ledger(dir.path(), size);
        agrees(dir.path());
    }
    // Three levels of tiles, in several sittings with many checkpoints.
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let options = Options { checkpoint: Duration::from_millis(5), ..Options::default() };
        let store = Store::open(dir.path(), options).unwrap();
        (0..22_000).for_each(|n| assert!(store.append(small(&n.to_string())).is_ok()));
    }
    assert!(dir.path().join("ledger/tile/2/000.p/1").exists());
    agrees(dir.path());
}

#[test]
fn another_implementation_finds_changes_too() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path(), 300);
    for name in ["checkpoint", "tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/1/000.p/1"] {
        let path = dir.path().join("ledger").join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(other(dir.path()).is_err(), "{name}");
        assert!(verified(dir.path()).is_err(), "{name}");
        fs::write(&path, &whole).unwrap();
    }
    agrees(dir.path());
}

/// Go's own implementation, whose code checks go.sum; it also checks what `prove --from` writes.
#[test]
#[ignore = "by name: needs Debian's golang-go and golang-golang-x-mod-dev"]
fn go_agrees() {
    let built = tempfile::tempdir().unwrap();
    let program = built.path().join("ledger_verify");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/ledger_verify.go");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(source);
    let status = go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").status();
    assert!(status.unwrap().success());
    let go = |state: &Path, more: &[&Path]| {
        let done =
            Command::new(&program).args([state.join("ledger"), state.join("key.pub")]).args(more).output();
        let done = done.unwrap();
        done.status.success().then(|| String::from_utf8(done.stdout).unwrap().trim_end().to_owned())
    };

    let dir = tempfile::tempdir().unwrap();
    let (kept, proof) = (built.path().join("checkpoint"), built.path().join("proof"));
    let mut size = 0;
    for next in [1, 2, 255, 256, 257, 511, 512, 700, 66_000] {
        let before = verified(dir.path()).ok().and_then(|found| found.checkpoint);
        if before.is_some() {
            fs::copy(dir.path().join("ledger/checkpoint"), &kept).unwrap();
        }
        let store = Store::open(dir.path(), Options::default()).unwrap();
        (size..next).for_each(|n| assert!(store.append(small(&n.to_string())).is_ok()));
        drop(store);
        size = next;
        let found = verified(dir.path()).unwrap().checkpoint.unwrap();
        let expected = format!("{} {} {}", found.origin, found.size, HEXLOWER.encode(&found.root));
        assert_eq!(go(dir.path(), &[]), Some(expected.clone()));
        let Some(before) = before else { continue };
        let key = key::public(&dir.path().join("key.pub")).unwrap();
        let grown = consistency::prove(&dir.path().join("ledger"), &key, &before).unwrap();
        fs::write(&proof, grown.to_text()).unwrap();
        assert_eq!(go(dir.path(), &[&kept, &proof]), Some(expected), "from {} to {next}", before.size);
        let mut other = grown;
        if let Some(hash) = other.path.last_mut() {
            hash[0] ^= 1;
            fs::write(&proof, other.to_text()).unwrap();
            assert_eq!(go(dir.path(), &[&kept, &proof]), None);
        }
    }
    for name in ["checkpoint", "tile/entries/000", "tile/0/000"] {
        let path = dir.path().join("ledger").join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(go(dir.path(), &[]), None, "{name}");
        fs::write(&path, &whole).unwrap();
    }
}
