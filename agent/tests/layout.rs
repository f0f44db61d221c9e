//! The source keeps the layout that `src/lib.rs` describes: modules in flow order, files of a readable size, and
//! `unsafe` in two places only.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules in flow order. A module may use those of earlier rows, never a later one or its own row's others.
const ORDER: &[&[&str]] = &[
    &["abi", "sys", "text", "clock", "paths"],
    &["event"],
    &["policy"],
    &["hold"],
    &["ledger"],
    &["session"],
    &["pipeline"],
    &["enforce", "replay", "learn", "trace"],
    &["control"],
    &["web"],
    &["authzen", "adapters", "otlp"],
    &["daemon"],
    &["mcp"],
    &["cli"],
];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["abi", "sys"];

/// Lines a file may have; what has more is two files.
const LINES: usize = 600;

struct Source {
    /// Below `src/`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// `policy` for `policy/engine.rs` and `policy.rs`.
    fn module(&self) -> &str {
        let first = Path::new(self.path.iter().next().unwrap());
        first.file_stem().unwrap().to_str().unwrap()
    }

    /// Lines without comments, numbered from one.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = |line| str::split(line, "//").next().unwrap_or_default();
        self.text.lines().enumerate().map(move |(index, line)| (index + 1, code(line)))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(found.len() > 10, "the sources were not found");
    found
}

fn row(module: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&module))
}

/// The modules of this crate that a line names as `crate::NAME`; `crate::{a, b}` would hide them and is refused.
fn named(code: &str) -> Vec<&str> {
    let end =
        |rest: &str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    code.match_indices("crate::")
        .map(|(at, word)| &code[at + word.len()..])
        .map(|rest| &rest[..end(rest)])
        .collect()
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn modules_only_use_earlier_ones() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let Some(own) = row(module) else {
            wrong.push(format!("{}: {module} has no place in the order", source.path.display()));
            continue;
        };
        for (number, code) in source.code() {
            for name in named(code) {
                let fine = name == module || row(name).is_some_and(|other| other < own);
                if !fine {
                    wrong.push(format!("{}:{number}: {module} must not use {name:?}", source.path.display()));
                }
            }
        }
    }
    report(&wrong);
}

#[test]
fn the_crate_lists_its_modules_in_that_order() {
    let source = sources().into_iter().find(|source| source.module() == "lib").unwrap();
    let listed: Vec<&str> =
        source.code().filter_map(|(_, code)| code.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let rows: Vec<usize> =
        listed.iter().map(|module| row(module).unwrap_or_else(|| panic!("{module}"))).collect();
    assert!(rows.is_sorted(), "{listed:?}");
    assert_eq!(listed.len(), ORDER.concat().len(), "{listed:?}");
}

#[test]
fn files_are_of_a_readable_size() {
    let too_long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > LINES).then(|| format!("{}: {lines} lines, more than {LINES}", source.path.display()))
    };
    report(&sources().iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn unsafe_code_has_its_two_places() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|source| !UNSAFE.contains(&source.module())) {
        for (number, code) in source.code() {
            let opens = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"];
            if opens.iter().any(|open| code.contains(open)) {
                wrong.push(format!("{}:{number}: unsafe code", source.path.display()));
            }
        }
    }
    report(&wrong);
}

#[test]
fn names_are_found_in_a_line() {
    assert_eq!(named("use crate::event::{Action, Mode};"), ["event"]);
    assert_eq!(named("let x = crate::abi::f(crate::sys::g());"), ["abi", "sys"]);
    assert_eq!(named("use crate::{abi, sys};"), [""]);
    assert!(named("use std::path::Path;").is_empty());
}
