//! The executable suites under `tests/`, run in a virtual machine, and what their output must look like.
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::{kernels, project, vm};

/// What a suite or a step counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Cases that passed.
    pub passed: u64,
    /// Cases that failed.
    pub failed: u64,
    /// Cases that could not run here.
    pub skipped: u64,
}

impl Count {
    /// Reads the line `N passed, N failed, N skipped`, which has to stand alone.
    pub fn closing_line(text: &str) -> Option<Count> {
        text.lines().rev().find_map(|line| {
            let mut parts = line.trim_end().split(", ");
            let mut number = |word: &str| parts.next()?.strip_suffix(word)?.parse().ok();
            let count = Count {
                passed: number(" passed")?,
                failed: number(" failed")?,
                skipped: number(" skipped")?,
            };
            parts.next().is_none().then_some(count)
        })
    }

    /// What a suite amounts to: a failure unless it closed with its line, passed something, failed nothing, and
    /// its status says the same.
    pub fn judge(status: u8, text: &str) -> Result<Count, (Count, String)> {
        let Some(count) = Count::closing_line(text) else {
            return Err((Count::default(), format!("no closing line (status {status})")));
        };
        match (count, status) {
            (Count { failed: 0, passed: 1.., .. }, 0) => Ok(count),
            (Count { failed: 1.., .. }, _) => Err((count, format!("{} failed", count.failed))),
            (Count { passed: 0, .. }, _) => Err((count, "nothing passed".into())),
            (_, status) => Err((count, format!("status {status} though nothing failed"))),
        }
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Passes on what is written, and keeps it.
pub struct Tee<W> {
    to: W,
    /// All that was written.
    pub kept: Vec<u8>,
}

impl<W> Tee<W> {
    /// A tee to `to`.
    pub fn new(to: W) -> Self {
        Tee { to, kept: Vec::new() }
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.kept.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Passes on whole lines, each after a mark: of several machines at once it is told which one speaks.
pub struct Marked<W: Write> {
    to: W,
    mark: String,
    line: Vec<u8>,
}

impl<W: Write> Marked<W> {
    /// Lines to `to`, as `mark| LINE`; as they are for an empty mark.
    pub fn new(to: W, mark: &str) -> Self {
        let mark = if mark.is_empty() { String::new() } else { format!("{mark}| ") };
        Marked { to, mark, line: Vec::new() }
    }
}

impl<W: Write> Write for Marked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            if part.ends_with(b"\n") {
                // In one piece, so that no other line comes between.
                self.to.write_all(&[self.mark.as_bytes(), &self.line].concat())?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write> Drop for Marked<W> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.write_all(b"\n").ok();
        }
    }
}

/// A machine for the executable `suite` (relative to the project's folder) on `kernel`.
///
/// It gets `AUTHZ_KERNEL`, the kernel's name, and `AUTHZ_RESULTS`, a folder that outlives the machine.
pub fn request(suite: &str, args: &[String], kernel: &str, authz: PathBuf) -> Result<vm::Request> {
    let file = project::root().join(suite);
    ensure!(file.is_file(), "{suite} is missing");
    let results = project::target().join("results").join(kernel);
    std::fs::create_dir_all(&results).with_context(|| format!("cannot make {}", results.display()))?;
    let results = results.canonicalize()?;
    let command = [vec![file.display().to_string()], args.to_vec()].concat();
    let mut request = vm::Request::new(kernels::get(kernel)?, command);
    request.env.push(("AUTHZ_KERNEL".into(), kernel.into()));
    request.env.push(("AUTHZ_RESULTS".into(), results.display().to_string()));
    request.rw.push(results);
    request.authz = Some(authz);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Count, Marked};

    #[test]
    fn lines_are_marked_whole() {
        let mut out = Vec::new();
        let mut marked = Marked::new(&mut out, "6.1");
        for part in ["ok a", "\nok", " b\n\nlast"] {
            marked.write_all(part.as_bytes()).expect("written");
        }
        drop(marked);
        assert_eq!(String::from_utf8(out).expect("text"), "6.1| ok a\n6.1| ok b\n6.1| \n6.1| last\n");
    }

    #[test]
    fn only_a_suite_that_passed_something_and_says_so_passes() {
        let good = Count { passed: 3, failed: 0, skipped: 1 };
        assert_eq!(Count::judge(0, "ok a\n3 passed, 0 failed, 1 skipped\n"), Ok(good));
        for (status, text) in [
            (0, "ok a\n"),
            (0, ""),
            (0, "0 passed, 0 failed, 4 skipped\n"),
            (0, "3 passed, 1 failed, 0 skipped\n"),
            (1, "3 passed, 0 failed, 0 skipped\n"),
            (0, "say 3 passed, 0 failed, 0 skipped\n"),
            (0, "3 passed, 0 failed\n"),
            (0, "3 passed, 0 failed, 0 skipped, 1 more\n"),
        ] {
            assert!(Count::judge(status, text).is_err(), "{status} {text:?}");
        }
    }
}
