//! What can be measured on the machine itself: `cargo bench --bench native`, as root; with
//! `-- --lookup` only the eBPF functions, which are as fast from an unoptimised build; with `-- --evaluation` only single
//! evaluations and first sights; with `-- --growth` only what grows with the work.
//! `cargo xtask bench` adds what needs a kernel that takes LSM programs.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement may panic

mod evaluate;
mod growth;
mod ledger;
mod lookup;
mod replay;
mod sight;

use serde::Serialize;

/// One figure and how it was got.
#[derive(Serialize)]
struct Row {
    what: String,
    unit: &'static str,
    median: f64,
    p10: f64,
    p90: f64,
    /// The best of all: the least for a time, the greatest for a rate.
    best: f64,
    p99: Option<f64>,
    target: Option<&'static str>,
    verdict: Option<&'static str>,
    method: String,
}

impl Row {
    /// A row of times; `samples` is sorted here.
    fn of(
        what: impl Into<String>,
        unit: &'static str,
        mut samples: Vec<f64>,
        method: impl Into<String>,
    ) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
        Self {
            what: what.into(),
            unit,
            median: at(0.5),
            p10: at(0.1),
            p90: at(0.9),
            best: at(0.0),
            p99: (samples.len() >= 500).then(|| at(0.99)),
            target: None,
            verdict: None,
            method: method.into(),
        }
    }

    /// With what the median is held against.
    fn against(mut self, target: &'static str, met: impl Fn(f64) -> bool) -> Self {
        self.target = Some(target);
        self.verdict = Some(if met(self.median) { "met" } else { "missed" });
        self
    }
}

fn main() {
    let only = |part: &str| std::env::args().any(|argument| argument == part);
    let mut rows = Vec::new();
    let all = !["--lookup", "--growth", "--evaluation"].iter().any(|part| only(part));
    // First, since it goes by the memory of this process.
    if all || only("--growth") {
        rows.extend(growth::rows());
    }
    if all || only("--evaluation") {
        rows.extend(evaluate::rows());
        match sight::rows() {
            Ok(more) => rows.extend(more),
            Err(error) => eprintln!("no figures of first sights: {error:#}"),
        }
    }
    if all {
        rows.extend(ledger::rows());
        rows.extend(replay::rows());
    }
    match (all || only("--lookup")).then(lookup::rows).transpose() {
        Ok(more) => rows.extend(more.into_iter().flatten()),
        Err(error) => eprintln!("no figures of the eBPF functions: {error:#}"),
    }
    let json = only("--json");
    for row in rows {
        if json {
            println!("{}", serde_json::to_string(&row).unwrap());
        } else {
            let (target, verdict) = (row.target.unwrap_or("-"), row.verdict.unwrap_or("-"));
            println!(
                "{}: {:.1} {} (p10 {:.1}, p90 {:.1}, best {:.1}); target {target}: {verdict}\n    {}",
                row.what, row.median, row.unit, row.p10, row.p90, row.best, row.method
            );
        }
    }
}
