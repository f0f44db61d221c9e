//! The README says what is: its links lead somewhere, its policy loads and passes its tests, its commands exist.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use authz::cli::Cli;
use authz::policy::testing::{self, Outcome};
use authz::policy::{Bundle, Generated, PolicySource};
use clap::CommandFactory;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, mark)| text[at + mark.len()..].split(')').next())
}

#[test]
fn links_lead_to_files() {
    // The suites of the virtual machine come as one folder, by a change of their own.
    let suites = root().join("tests/vm").exists();
    let missing = |target: &&str| {
        let expected = suites || !target.starts_with("tests/vm/");
        expected && !target.contains("://") && !root().join(target).exists()
    };
    for file in ["README.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let missing: Vec<&str> = links(&text).filter(missing).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
}

#[test]
fn the_policy_shown_is_the_one_tested() {
    let readme = readme();
    let (_, rest) = readme.split_once("```rego\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert_eq!(shown, fs::read_to_string(root().join("tests/docs/mine.rego")).unwrap());
}

#[test]
fn the_policies_of_documentation_and_demonstration_pass() {
    for folder in ["tests/docs", "tests/demo"] {
        let source: PolicySource = root().join(folder).to_str().unwrap().parse().unwrap();
        let results = testing::run(&Bundle::load(&[source], &Generated::default()).unwrap()).unwrap();
        assert!(!results.is_empty(), "{folder}");
        for result in results {
            assert_eq!(result.outcome, Outcome::Pass, "{folder}: {}", result.name);
        }
    }
}

/// The commands of indented lines, without `sudo`, without a comment.
fn commands(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    lines.filter_map(|line| {
        let line = line.split(" #").next()?.split(" > ").next()?;
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        line.starts_with("authz ").then(|| words(line))
    })
}

/// As a shell splits a line that has single quotes at most.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

#[test]
fn every_command_shown_is_understood_and_every_command_is_shown() {
    let readme = readme();
    let mut shown = Vec::new();
    for command in commands(&readme) {
        if let Err(error) = Cli::command().try_get_matches_from(&command) {
            panic!("{command:?}: {error}");
        }
        shown.push(command[1]);
        shown.push(command[2..].first().copied().unwrap_or_default());
    }
    let cli = Cli::command();
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(shown.contains(&command.get_name()), "{} is not shown", command.get_name());
        for inner in command.get_subcommands() {
            assert!(
                shown.contains(&inner.get_name()),
                "{} {} is not shown",
                command.get_name(),
                inner.get_name()
            );
        }
    }
}
