//! One start of QEMU: its command line, its channels, its end.
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Accel, Failure, Request, guest};
use crate::project;

/// Emulated on a busy machine, the slowest kernel boots in a fifth of this.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// From the command's end to the machine's.
const END_LIMIT: Duration = Duration::from_secs(20);

/// How much of the console a message carries.
const CONSOLE_LINES: usize = 30;

const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off lsm=landlock,lockdown,yama,integrity,bpf";

/// Boots once; `Ok` is the command's own status.
pub(super) fn run_once(
    request: &Request,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Result<u8, Failure> {
    let dir = Scratch::new().context("cannot make a folder for the machine")?;
    let listen = |name: &str| UnixListener::bind(dir.0.join(name)).context("cannot listen for the machine");
    let listeners = [listen("control")?, listen("out")?, listen("err")?];
    fs::write(dir.0.join("initramfs"), guest::initramfs(request)?).context("cannot write the initramfs")?;
    let mut machine =
        Machine(command(request, &dir.0)?.spawn().context("cannot start qemu: run `cargo xtask setup`")?);
    let console = dir.0.join("console");

    let mut streams = Vec::new();
    for listener in listeners {
        streams.push(
            accept(&listener, &mut machine).map_err(|e| Failure::Boot(format!("{e:#}{}", tail(&console))))?,
        );
    }
    let [control, from_out, from_err] = <[UnixStream; 3]>::try_from(streams).expect("one stream a listener");
    std::thread::scope(|scope| {
        let copies = [scope.spawn(|| copy(from_out, out)), scope.spawn(|| copy(from_err, err))];
        let result = follow(control, request, &mut machine, &console);
        machine.end(if result.is_ok() { END_LIMIT } else { Duration::ZERO });
        // The channels end with the machine.
        for done in copies {
            match done.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Err(Failure::Host(
                        anyhow::Error::new(error).context("cannot pass the output on"),
                    ));
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        result
    })
}

/// Reads `ready` and `exit N` from the machine, within their times.
fn follow(
    mut control: UnixStream,
    request: &Request,
    machine: &mut Machine,
    console: &Path,
) -> Result<u8, Failure> {
    control.set_read_timeout(Some(Duration::from_millis(200))).context("cannot set a time limit")?;
    let start = Instant::now();
    let mut ready = None;
    let mut text = String::new();
    loop {
        let mut buffer = [0; 256];
        let ended = match control.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                text += &String::from_utf8_lossy(&buffer[..count]);
                false
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                false
            }
            Err(_) => true,
        };
        if ready.is_none() && text.starts_with("ready\n") {
            ready = Some(Instant::now());
        }
        if let Some(status) =
            text.lines().filter(|_| text.ends_with('\n')).find_map(|line| line.strip_prefix("exit "))
        {
            return status.parse().map_err(|_| Failure::Died(format!("it reported the status {status:?}")));
        }
        if ended {
            machine.end(END_LIMIT);
            let why = format!("qemu ended{}", tail(console));
            return Err(if ready.is_some() { Failure::Died(why) } else { Failure::Boot(why) });
        }
        match ready {
            None if start.elapsed() > BOOT_LIMIT => {
                return Err(Failure::Boot(format!("nothing within {BOOT_LIMIT:?}{}", tail(console))));
            }
            Some(since) if since.elapsed() > request.timeout && !request.command.is_empty() => {
                eprintln!("xtask: time is up{}", tail(console));
                return Err(Failure::Timeout(request.timeout));
            }
            _ => {}
        }
    }
}

fn command(request: &Request, dir: &Path) -> Result<Command> {
    // setpriv: QEMU must not outlive us, however we end.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]);
    qemu.args(["-display", "none", "-machine", "q35", "-cpu", "max"]);
    qemu.args([
        "-accel",
        request.accel.option(),
        "-smp",
        &request.cpus.to_string(),
        "-m",
        &request.memory.to_string(),
    ]);
    if request.accel == Accel::Icount {
        // `sleep=off`: an idle machine's clock jumps to the next timer.
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    qemu.arg("-kernel").arg(request.kernel.image()).arg("-initrd").arg(dir.join("initramfs"));
    qemu.args(["-append", format!("{COMMAND_LINE} {}", request.append).trim()]);
    qemu.args([
        "-chardev",
        &format!("file,id=console,path={}", option(&dir.join("console"))),
        "-serial",
        "chardev:console",
    ]);

    qemu.args(["-device", "virtio-serial-pci"]);
    for (number, name) in ["control", "out", "err"].iter().enumerate() {
        qemu.args(["-chardev", &format!("socket,id={name},path={}", option(&dir.join(name)))]);
        qemu.args(["-device", &format!("virtserialport,nr={},chardev={name},name={name}", number + 1)]);
    }
    if request.command.is_empty() {
        qemu.args([
            "-chardev",
            "stdio,id=terminal,signal=off",
            "-device",
            "virtconsole,nr=0,chardev=terminal",
        ]);
    }

    let mut share = |tag: &str, path: &Path, more: &str| {
        let path = option(path);
        qemu.args([
            "-fsdev",
            &format!("local,id={tag},path={path},security_model=none,multidevs=remap{more}"),
        ]);
        qemu.args(["-device", &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}")]);
    };
    share("root", Path::new("/"), ",readonly=on");
    share("modules", &request.kernel.modules().canonicalize()?, ",readonly=on");
    for (number, path) in request.rw.iter().enumerate() {
        share(&format!("rw{number}"), path, "");
    }
    if let Some(disk) = &request.disk {
        let drive = format!("file={},id=disk,if=none,format=raw,snapshot=on", option(disk));
        qemu.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
    }
    if !request.command.is_empty() {
        qemu.stdin(Stdio::null());
    }
    qemu.current_dir(project::root());
    Ok(qemu)
}

/// A path inside a QEMU option: commas doubled.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// QEMU connects as it starts, or ends.
fn accept(listener: &UnixListener, machine: &mut Machine) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(status) = machine.0.try_wait()? {
            anyhow::bail!("qemu ended at once ({status})");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn copy(mut from: UnixStream, to: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => return Err(e),
        };
        to.write_all(&buffer[..count])?;
        to.flush()?;
    }
}

/// What the console says about the end: from the first sign of a crash, else its last lines.
fn tail(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let crash = |line: &&str| ["BUG:", "Oops", "Kernel panic", "vm: "].iter().any(|sign| line.contains(sign));
    let start = lines.iter().position(crash).unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    let last: Vec<&str> = lines[start..].iter().take(CONSOLE_LINES).copied().collect();
    if last.is_empty() { String::new() } else { format!("; its console:\n  {}", last.join("\n  ")) }
}

/// A QEMU that ends when dropped.
struct Machine(Child);

impl Machine {
    /// Waits up to `limit` for its own end, then kills it.
    fn end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.kill().ok();
        self.0.wait().ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// A folder that goes with its owner; in the system's temporary folder, as socket paths must be short.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let parent = std::env::temp_dir();
        // Left behind by one that was killed.
        for old in fs::read_dir(&parent)?.flatten() {
            let name = old.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix("authz-vm-").and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                fs::remove_dir_all(old.path()).ok();
            }
        }
        let dir = parent.join(format!("authz-vm-{}-{number}", std::process::id()));
        fs::create_dir(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
