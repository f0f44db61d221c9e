//! Project tasks: `cargo xtask --help`.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use xtask::{bench, codegen, demo, kernels, setup, test, vm};

/// Builds, tests and demonstrates authz.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Vm(VmArgs),
    /// Installs what a fresh Debian or Ubuntu machine lacks, naming it first; does nothing where nothing is missing
    #[command(after_help = "Examples:
  cargo xtask setup")]
    Setup,
    Test(TestArgs),
    Demo(DemoArgs),
    Bench(BenchArgs),
    Kernels(KernelsArgs),
    Codegen(CodegenArgs),
}

/// Runs a command in a virtual machine with a kernel that takes LSM programs.
///
/// The machine sees this machine's own files; what it writes is thrown away, except in --rw folders. /tmp and /run
/// start empty. `authz` is built first and is in PATH. The command's output and status are passed on; 69 means that
/// the machine itself failed three times or that time ran out.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask vm -- uname -a
  cargo xtask vm --kernel 6.1 -- authz doctor
  cargo xtask vm --cpus 1 --append 'lsm=landlock,bpf' -- cat /sys/kernel/security/lsm
  cargo xtask vm --rw target/results -- sh -c 'bpftool prog > target/results/programs'
  cargo xtask vm                           a shell on this terminal")]
struct VmArgs {
    /// A kernel of tests/kernels.toml, fetched if it is not there yet
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Emulation or not
    #[arg(long, value_enum, default_value_t)]
    accel: vm::Accel,
    /// Processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Megabytes of memory
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(256..))]
    memory: u32,
    /// Added to the kernel's command line (of two `lsm=` the last counts)
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// A folder of this machine that the command may change, at the same path
    #[arg(long, value_name = "HOSTDIR")]
    rw: Vec<PathBuf>,
    /// An image that the command finds as /dev/vda, once the module virtio_blk is loaded; writes are thrown away
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// A variable for the command
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Seconds that the command may take
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Do not build authz; what an earlier build left is used
    #[arg(long)]
    no_build: bool,
    /// Program and arguments; none: a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs every check and closes with one line `N passed, N failed`.
///
/// Steps: setup, fmt, clippy, unit (cargo test), codegen (generated files), native (tests/native/run, on this machine),
/// vm (tests/vm/run, once on each kernel).
/// A machine that fails, a suite without its closing line and a suite that passes nothing are failures.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --only fmt --only clippy
  cargo xtask test --only vm --kernel 6.1")]
struct TestArgs {
    /// Only this kernel of tests/kernels.toml
    #[arg(long)]
    kernel: Vec<String>,
    /// Only this step
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// Sets up and runs the demonstration, tests/demo/run.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --place vm --kernel 6.1")]
struct DemoArgs {
    /// Where it runs
    #[arg(long, value_enum, default_value = "auto")]
    place: demo::Place,
    /// The virtual machine's kernel
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Arguments of the demonstration
    #[arg(last = true)]
    args: Vec<String>,
}

/// Sets up, measures, and prints every figure with its method and its target.
///
/// Four parts: native (evaluation, ledger and the functions of the eBPF hooks; the last take root), landlock (for
/// comparison), seccomp (operations and builds bare and supervised) and kernel (tests/bench/run, operations bare,
/// beside a session and inside one). Never fails because a target is missed.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench
  cargo xtask bench --only seccomp
  cargo xtask bench --kernel newest --only kernel
  cargo xtask bench --json > figures.json")]
struct BenchArgs {
    /// Where the kernel part runs
    #[arg(long, value_enum, default_value = "vm")]
    place: demo::Place,
    /// The virtual machine's kernel
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Only this part; may be repeated
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<bench::Part>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Fetches kernels of tests/kernels.toml that are not there yet, and lists them.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask kernels
  cargo xtask kernels 6.1 newest

AUTHZ_KERNELS names a folder shared by several checkouts. To fetch a kernel again, delete its folder.")]
struct KernelsArgs {
    /// Names; none: all
    names: Vec<String>,
}

/// Writes agent/src/abi/raw.rs from ebpf/include/authz_abi.h.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask codegen
  cargo xtask codegen --check")]
struct CodegenArgs {
    /// Write nothing; fail if the file would change
    #[arg(long)]
    check: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.into(), v.into())).ok_or_else(|| "KEY=VALUE is wanted".into())
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Vm(args) => run_vm(args),
        Task::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Task::Test(args) => test::run(&args.only, &args.kernel)
            .map(|good| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Task::Demo(args) => {
            demo::run("tests/demo/run", &args.args, args.place, &args.kernel).map(ExitCode::from)
        }
        Task::Bench(args) => bench::run(&args.only, args.place, &args.kernel, args.json).map(ExitCode::from),
        Task::Kernels(args) => list_kernels(&args.names).map(|()| ExitCode::SUCCESS),
        Task::Codegen(args) => {
            if args.check { codegen::check() } else { codegen::write() }.map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_vm(args: VmArgs) -> Result<ExitCode> {
    let prepare = || -> Result<vm::Request> {
        let authz = if args.no_build { vm::built_authz() } else { Some(vm::build_authz()?) };
        let mut request = vm::Request::new(kernels::get(&args.kernel)?, args.command);
        request.accel = args.accel;
        request.cpus = args.cpus;
        request.memory = args.memory;
        request.append = args.append;
        request.env = args.env;
        request.timeout = Duration::from_secs(args.timeout);
        request.authz = authz;
        for dir in args.rw {
            request.rw.push(dir.canonicalize().with_context(|| format!("--rw {}", dir.display()))?);
        }
        let absolute =
            |disk: PathBuf| disk.canonicalize().with_context(|| format!("--disk {}", disk.display()));
        request.disk = args.disk.map(absolute).transpose()?;
        Ok(request)
    };
    let request = match prepare() {
        Ok(request) => request,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            return Ok(vm::UNAVAILABLE.into());
        }
    };
    match vm::run(&request, &mut std::io::stdout(), &mut std::io::stderr()) {
        Ok(status) => Ok(status.into()),
        Err(failure) => {
            eprintln!("xtask: {failure}");
            Ok(vm::UNAVAILABLE.into())
        }
    }
}

fn list_kernels(names: &[String]) -> Result<()> {
    let all: Vec<String> = kernels::entries()?.into_iter().map(|entry| entry.name).collect();
    for name in if names.is_empty() { &all } else { names } {
        let kernel = kernels::get(name)?;
        println!("{:<8} {:<28} {}", kernel.name, kernel.release, kernel.image().display());
    }
    Ok(())
}
