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
