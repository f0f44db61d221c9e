//! The functions of the eBPF hooks, run by BPF_PROG_TEST_RUN: see ebpf/bench.bpf.c.
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use authz::abi::VerdictKey;
use authz::abi::raw::*;
use authz::enforce::verdicts::{Entry, Verdicts};
use authz::enforce::wire::verdict_key;
use authz::event::{Action, Key};
use authz::sys::{bpf, bpf_map, peer};
use aya::maps::{Array, Map, PerCpuArray};
use aya::programs::RawTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};

use super::Row;

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// Names looked up in turn; as in the object.
const NAMES: usize = 1024;
/// Operations of one run.
const OPERATIONS: u64 = 100_000;
const RUNS: usize = 41;
const DOMAIN: u32 = 1;

/// struct bench_run: rounds, nanoseconds, found.
type Runs = Array<aya::maps::MapData, [u64; 3]>;
/// struct bench_name: length and name.
type Name = [u32; 1 + AUTHZ_KEY_MAX as usize / 4];

struct Bench {
    ebpf: Ebpf,
    runs: Runs,
    table: Verdicts,
    /// What is in it, to be taken out again.
    entries: Vec<(u32, VerdictKey, u32)>,
    /// The program's own path, which the hooks' functions are run on.
    own: String,
}

pub(super) fn rows() -> Result<Vec<Row>> {
    let mut bench = Bench::load()?;
    let mut rows = Vec::new();
    let per = format!("{OPERATIONS} in a loop of one run, {RUNS} runs, in-kernel clock");

    let [loop_only, unmanaged] = bench.measure(["bench_empty", "bench_unmanaged"], OPERATIONS)?;
    let cost = minus(&unmanaged, &loop_only);
    rows.push(
        Row::of("hook body for an unmanaged process", "ns", cost, format!("the label lookup that ends every hook of an unmanaged process, less the empty loop; {per}; without the kernel's call of the hook; one operation may meet two or three hooks"))
            .against("<= 30 ns an operation", |median| median <= 30.0),
    );

    bench.label()?;
    let own = bench.own.clone();
    for entries in [10, 100, 1_000, 20_000] {
        bench.fill(entries, &own)?;
        let [prepare, lookup] = bench.measure(["bench_prepare", "bench_lookup"], OPERATIONS)?;
        let cost = minus(&lookup, &prepare);
        rows.push(Row::of(format!("table lookup, {entries} entries"), "ns", cost, format!("remembered() with label and session, hits on up to {NAMES} of the names in turn, less a loop that only puts the name there; {per}")));
    }

    let depth = std::env::current_exe()?.components().count() - 1;
    let per = format!(
        "{} in a loop of one run, {RUNS} runs, in-kernel clock, less the empty loop; without the kernel's call of the hook",
        OPERATIONS / 10
    );
    for entries in [10, 100, 1_000, 20_000] {
        bench.fill(entries, &own)?;
        let [decide, walked] = bench.measure(["bench_decide", "bench_walked"], OPERATIONS / 10)?;
        rows.push(
            Row::of(format!("remembered decision, {entries} entries"), "ns", minus(&decide, &loop_only), format!("what file_open does: label, inode, path ({depth} components, the folder's remembered), table, counters; the task's storage stands in for the inode's, which only LSM programs may use; {per}"))
                .against("<= 500 ns", |median| median <= 500.0),
        );
        if entries == 1_000 {
            rows.push(Row::of(format!("remembered decision with a walk, {entries} entries"), "ns", minus(&walked, &loop_only), format!("the same where the folder's path is not remembered, as after each rename on the system; {per}")));
        }
    }
    let folder = &own[..=own.rfind('/').context("a path without a slash")?];
    for entries in [10, 100, 1_000, 20_000] {
        bench.fill(entries, folder)?;
        // The first time it is learnt.
        drop(bench.run("bench_within", 1));
        let [within] = bench.measure(["bench_within"], OPERATIONS / 10)?;
        rows.push(
            Row::of(
                format!("decision remembered for the whole folder, {entries} entries"),
                "ns",
                minus(&within, &loop_only),
                format!("the same by the folder's inode alone; {per}"),
            )
            .against("<= 500 ns", |median| median <= 500.0),
        );
    }
    Ok(rows)
}

fn minus(whole: &[f64], part: &[f64]) -> Vec<f64> {
    let mut part = part.to_vec();
    part.sort_by(f64::total_cmp);
    let part = part[part.len() / 2];
    whole.iter().map(|ns| ns - part).collect()
}

impl Bench {
    fn load() -> Result<Self> {
        let btf = Btf::from_sys_fs().context("/sys/kernel/btf/vmlinux")?;
        let mut last = None;
        // Where the kernel hides the two sequence counters, any readable word with an even value costs the same.
        for address in sequence_addresses()? {
            let mut ebpf = EbpfLoader::new()
                .btf(Some(&btf))
                .allow_unsupported_maps()
                .override_global("rename_lock_addr", &address[0], true)
                .override_global("mount_lock_addr", &address[1], true)
                .load(OBJECT)?;
            for name in [
                "bench_empty",
                "bench_prepare",
                "bench_lookup",
                "bench_unmanaged",
                "bench_decide",
                "bench_within",
                "bench_walked",
            ] {
                let program: &mut RawTracePoint = ebpf.program_mut(name).context(name)?.try_into()?;
                program.load().with_context(|| format!("cannot load {name}"))?;
            }
            let runs = Array::try_from(ebpf.take_map("runs").context("runs")?)?;
            let [regions, verdicts] = ["regions", "verdicts"].map(|name| ebpf.take_map(name).context(name));
            let table = Verdicts::new(regions?, verdicts?)?;
            let own = std::env::current_exe()?.to_string_lossy().into_owned();
            let mut bench = Self { ebpf, runs, table, entries: Vec::new(), own };
            bench.label()?;
            bench.fill(0, &bench.own.clone())?;
            match bench.run("bench_decide", 10).and_then(|_| bench.counter(AUTHZ_COUNT_RETRIES)) {
                Ok(0) => {
                    let pidfd = peer::pidfd_open(std::process::id() as i32)?;
                    bench.unlabel(pidfd.as_fd())?;
                    return Ok(bench);
                }
                Ok(_) => last = Some(anyhow::anyhow!("no word stands in for the sequence counters")),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("/proc/kallsyms shows no address")))
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))
    }

    fn tasks(&mut self) -> Result<&aya::maps::MapData> {
        match self.map("tasks")? {
            Map::Unsupported(tasks) => Ok(tasks),
            _ => anyhow::bail!("tasks is no task storage"),
        }
    }

    /// Makes this process one of a session; nothing is attached, so nothing else notices.
    fn label(&mut self) -> Result<()> {
        let session =
            authz_session { mode: AUTHZ_MODE_ENFORCE, generation: 1, hold_ns: 1, ..authz_session::default() };
        Array::<_, authz_session>::try_from(self.map("sessions")?)?.set(1, session, 0)?;
        let pidfd = peer::pidfd_open(std::process::id() as i32)?;
        let task = authz_task { session: 1, generation: 1, domain: DOMAIN, ..authz_task::default() };
        bpf_map::task_storage_set(self.tasks()?.fd().as_fd(), pidfd.as_fd(), &task)?;
        Ok(())
    }

    fn unlabel(&mut self, pidfd: std::os::fd::BorrowedFd<'_>) -> Result<()> {
        Ok(bpf_map::task_storage_delete(self.tasks()?.fd().as_fd(), pidfd)?)
    }

    fn insert(&mut self, name: &[u8]) -> Result<()> {
        let object = AUTHZ_OBJ_PATH as u8;
        let key = Key { action: Action::FileRead, object, role: 0, names: 0, name: name.to_vec() };
        // As far as the name is given: a folder's name ends with its slash.
        let bits = name.len() * 8 + if name.ends_with(b"/") { 0 } else { 8 };
        let (bits, key) = verdict_key(DOMAIN, &key, bits);
        let place = self.table.place().context("the table is full")?;
        let entry = Entry { effect: AUTHZ_EFFECT_ALLOW, evaluation: 1, expires_ns: 0 };
        self.table.insert(place, bits, key, entry)?;
        self.entries.push((bits, key, place));
        Ok(())
    }

    /// Has the table hold a region for the program, and `entries` names, of which those to look up are spread over all.
    fn fill(&mut self, entries: usize, own: &str) -> Result<()> {
        for (bits, key, place) in std::mem::take(&mut self.entries) {
            self.table.remove(bits, key, place);
        }
        self.insert(own.as_bytes())?;
        for number in 0..entries {
            self.insert(name(number).as_bytes())?;
        }
        if entries == 0 {
            return Ok(());
        }
        let mut names: Array<_, Name> = Array::try_from(self.map("names")?)?;
        for index in 0..NAMES {
            let name = name(index * 7919 % entries);
            let mut bytes = [0; size_of::<Name>()];
            bytes[..4].copy_from_slice(&(name.len() as u32).to_ne_bytes());
            bytes[4..4 + name.len()].copy_from_slice(name.as_bytes());
            names.set(index as u32, bytemuck::cast::<_, Name>(bytes), 0)?;
        }
        Ok(())
    }

    /// Nanoseconds an operation, of each run of each program; the programs take turns.
    fn measure<const N: usize>(&mut self, programs: [&str; N], operations: u64) -> Result<[Vec<f64>; N]> {
        let mut all = [const { Vec::new() }; N];
        for run in 0..RUNS + 3 {
            for (program, samples) in programs.iter().zip(&mut all) {
                let ns = self.run(program, operations)?;
                if run >= 3 {
                    samples.push(ns);
                }
            }
        }
        Ok(all)
    }

    fn run(&mut self, program: &str, operations: u64) -> Result<f64> {
        self.runs.set(0, [operations, 0, 0], 0)?;
        let loaded: &RawTracePoint = self.ebpf.program(program).context("no program")?.try_into()?;
        bpf::test_run(loaded.fd()?.as_fd()).context("BPF_PROG_TEST_RUN")?;
        let [_, ns, found] = self.runs.get(&0, 0)?;
        ensure!(found == operations, "{program}: {found} of {operations} did what they should");
        Ok(ns as f64 / operations as f64)
    }

    fn counter(&mut self, which: u32) -> Result<u64> {
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map("counters")?)?;
        Ok(counters.get(&which, 0)?.iter().sum())
    }
}

fn name(number: usize) -> String {
    format!("/home/dev/project/module_{}/src/part_{}/file_{number}.rs", number % 37, number % 11)
}

/// Addresses to try for the two sequence counters of path lookup, the right ones first.
fn sequence_addresses() -> Result<Vec<[u64; 2]>> {
    let text = std::fs::read_to_string("/proc/kallsyms").context("/proc/kallsyms")?;
    let find = |symbol: &str| {
        let line = text.lines().find(|line| line.split_ascii_whitespace().nth(2) == Some(symbol))?;
        u64::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok().filter(|address| *address != 0)
    };
    let mut all = Vec::new();
    if let (Some(rename), Some(mount)) = (find("rename_lock"), find("mount_lock")) {
        all.push([rename, mount]);
    }
    if let Some(text) = find("_stext") {
        all.extend((0..16).map(|at| [text + at; 2]));
    }
    Ok(all)
}
