//! A resource as a human names it: relative, by `~`, through links, by the name of a host. What the kernel would come
//! to is found by this process's own eyes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};

use crate::enforce::imagined::{FileFacts, Imagined};
use crate::event::Action;

/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// Larger programs are not read for their hash.
const HASHED_MAX: u64 = 512 << 20;

/// What a human named.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// In canonical form.
    pub imagined: Imagined,
    /// What leads there: the absolute path as it was written, or the name of the host; none: the same.
    pub through: Option<String>,
    /// What else should be known of it.
    pub note: Option<String>,
}

/// Where names begin that are not absolute.
pub struct Here {
    /// The current folder.
    pub folder: PathBuf,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
}

impl Here {
    /// Of this process.
    pub fn this() -> anyhow::Result<Self> {
        let folder = std::env::current_dir().context("cannot tell the current folder")?;
        Ok(Self { folder, home: std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from) })
    }
}

/// Finds out what is meant.
pub fn resource(action: Action, text: &str, here: &Here) -> anyhow::Result<Named> {
    let as_it_is = |id: String| Imagined { action, resource: id, file: None, sha256: None };
    match action.resource_type() {
        "file" | "executable" => {
            // Names that only policies and records have.
            if ["anon:", "foreign:", "unknown:"].iter().any(|begin| text.starts_with(begin)) {
                return Ok(Named { imagined: as_it_is(text.to_owned()), through: None, note: None });
            }
            path(action, text, here)
        }
        "address" => address(action, text, here),
        _ => Ok(Named { imagined: as_it_is(text.to_owned()), through: None, note: None }),
    }
}

fn path(action: Action, text: &str, here: &Here) -> anyhow::Result<Named> {
    let written = absolute(text, here)?;
    // A name that is made, removed, moved or linked is the link itself.
    let itself =
        matches!(action, Action::FileCreate | Action::FileDelete | Action::FileRename | Action::FileLink);
    let Resolved { path, hidden } =
        resolve(&written, !itself).with_context(|| format!("{}", written.display()))?;
    let resource = as_text(&path)?;
    let metadata = fs::symlink_metadata(&path).ok();
    let file = metadata.as_ref().map(|data| FileFacts { mode: data.mode(), nlink: data.nlink() as u32 });
    let program =
        metadata.filter(|data| action == Action::ProcessExec && data.is_file() && data.len() <= HASHED_MAX);
    let sha256 = program.and_then(|_| hash(&path).ok());
    let note = match (action, file) {
        _ if hidden => Some("part of the path cannot be looked at by you, and is taken as it is written"),
        (Action::FileCreate, Some(_)) => Some("it exists: to open it for writing is file.write"),
        (Action::FileWrite, None) => Some("it does not exist: to make it is file.create"),
        (Action::FileRename | Action::FileLink, _) => {
            Some("the new name is decided too; ask about it likewise")
        }
        _ => None,
    };
    let through = (written != path).then(|| as_text(&written)).transpose()?;
    let imagined = Imagined { action, resource, file, sha256 };
    Ok(Named { imagined, through, note: note.map(str::to_owned) })
}

fn as_text(path: &Path) -> anyhow::Result<String> {
    let text =
        path.to_str().with_context(|| format!("{}: not UTF-8, which cannot be asked about", path.display()));
    text.map(str::to_owned)
}

fn absolute(text: &str, here: &Here) -> anyhow::Result<PathBuf> {
    if text.is_empty() {
        bail!("the path is empty; name one");
    }
    if let Some(rest) = text.strip_prefix('~') {
        let home = here.home.as_deref().context("~ stands for nothing, since HOME is not set")?;
        if rest.is_empty() {
            return Ok(home.to_owned());
        }
        if let Some(rest) = rest.strip_prefix('/') {
            return Ok(home.join(rest));
        }
    }
    Ok(here.folder.join(text))
}

struct Resolved {
    path: PathBuf,
    /// Something on the way could not be looked at.
    hidden: bool,
}

/// What the kernel would come to. From where there is nothing on, names are taken as they are written.
fn resolve(path: &Path, follow_last: bool) -> io::Result<Resolved> {
    let mut left: VecDeque<OsString> = names(path).collect();
    let mut at = PathBuf::from("/");
    let (mut links, mut hidden) = (0, false);
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        match fs::symlink_metadata(&at) {
            Ok(data) if data.is_symlink() && (follow_last || !left.is_empty()) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(io::Error::from_raw_os_error(libc::ELOOP));
                }
                let target = fs::read_link(&at)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                } else {
                    at.pop();
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    left.push_front(name);
                }
            }
            Ok(_) => {}
            Err(error) => hidden |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    Ok(Resolved { path: at, hidden })
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn address(action: Action, text: &str, here: &Here) -> anyhow::Result<Named> {
    let named = |resource: String, through, file| Named {
        imagined: Imagined { action, resource, file, sha256: None },
        through,
        note: None,
    };
    let unix = text.strip_prefix("unix:").or_else(|| text.starts_with(['/', '@', '~', '.']).then_some(text));
    if let Some(name) = unix {
        if name.starts_with('@') {
            return Ok(named(format!("unix:{name}"), None, None));
        }
        let Named { imagined, through, .. } = path(Action::FileRead, name, here)?;
        let through = through.map(|path| format!("unix:{path}"));
        return Ok(named(format!("unix:{}", imagined.resource), through, imagined.file));
    }
    let (protocol, rest) = text.split_once("://").unwrap_or(("tcp", text));
    if let Ok(address) = rest.parse::<SocketAddr>() {
        return Ok(named(format!("{protocol}://{address}"), None, None));
    }
    let (host, port) = rest.rsplit_once(':').with_context(|| {
        format!("{text:?} is no address; write e.g. tcp://192.0.2.1:443 or unix:/run/docker.sock")
    })?;
    let port: u16 = port.parse().with_context(|| format!("{port:?} is no port"))?;
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let ip = known_host(&hosts, host).with_context(|| {
        format!(
            "{host:?} could be any address; name the one that is meant, as `getent ahosts {host}` lists them"
        )
    })?;
    let address = SocketAddr::new(ip, port);
    Ok(named(format!("{protocol}://{address}"), Some(format!("{protocol}://{host}:{port}")), None))
}

/// The address that /etc/hosts has of a name: what is known without asking the network.
fn known_host(hosts: &str, host: &str) -> Option<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut listed = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
    });
    let local = || host.eq_ignore_ascii_case("localhost").then_some(IpAddr::from([127, 0, 0, 1]));
    listed.next().or_else(local)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn here(folder: &Path) -> Here {
        Here { folder: folder.to_owned(), home: Some(folder.join("home")) }
    }

    #[test]
    fn links_are_followed_as_the_kernel_would() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("home/real/deep")).unwrap();
        fs::write(top.join("home/real/file"), "text").unwrap();
        symlink("real", top.join("home/link")).unwrap();
        symlink(top.join("home/link/file"), top.join("last")).unwrap();
        symlink("home/gone", top.join("dangling")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let found = |action, text: &str| resource(action, text, &here(&top)).unwrap();
        let id = |action, text: &str| {
            found(action, text).imagined.resource.strip_prefix(top.to_str().unwrap()).unwrap().to_owned()
        };
        assert_eq!(id(Action::FileRead, "home/real/file"), "/home/real/file");
        assert_eq!(id(Action::FileRead, "~/link/file"), "/home/real/file");
        assert_eq!(id(Action::FileRead, "./last"), "/home/real/file");
        assert_eq!(id(Action::FileDelete, "last"), "/last", "the link itself");
        assert_eq!(id(Action::FileDelete, "home/link/file"), "/home/real/file");
        assert_eq!(id(Action::FileRead, "home/link/deep/../file"), "/home/real/file");
        assert_eq!(id(Action::FileWrite, "dangling"), "/home/gone");
        assert_eq!(id(Action::FileCreate, "home/link/new/x"), "/home/real/new/x");
        assert!(resource(Action::FileRead, "loop", &here(&top)).is_err());
        let direct = found(Action::FileRead, "home/real/file");
        assert_eq!(direct.through, None);
        assert_eq!(direct.imagined.file.unwrap().nlink, 1);
        let through = found(Action::FileRead, "last").through.unwrap();
        assert_eq!(through, top.join("last").to_str().unwrap());
        assert!(found(Action::FileWrite, "home/new").note.unwrap().contains("file.create"));
        assert!(found(Action::FileCreate, "home/real/file").note.unwrap().contains("file.write"));
        let program = found(Action::ProcessExec, "last").imagined;
        assert_eq!(program.sha256.unwrap().len(), 64);
    }

    #[test]
    fn names_of_no_path_are_left_alone() {
        for (action, text) in [
            (Action::FileWrite, "anon:pipe"),
            (Action::SystemSocket, "netlink:0"),
            (Action::ProcessSignal, "1"),
        ] {
            assert_eq!(resource(action, text, &here(Path::new("/"))).unwrap().imagined.resource, text);
        }
    }

    #[test]
    fn addresses_need_no_network() {
        let id = |text: &str| {
            let named = resource(Action::NetConnect, text, &here(Path::new("/nowhere")));
            named.map(|named| named.imagined.resource).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(id("tcp://192.0.2.1:443").unwrap(), "tcp://192.0.2.1:443");
        assert_eq!(id("[::1]:80").unwrap(), "tcp://[::1]:80");
        assert_eq!(id("udp://10.0.0.1:53").unwrap(), "udp://10.0.0.1:53");
        assert_eq!(id("unix:@x").unwrap(), "unix:@x");
        assert_eq!(id("unix:/nowhere/x").unwrap(), "unix:/nowhere/x");
        assert_eq!(id("./sock").unwrap(), "unix:/nowhere/sock");
        assert!(id("tcp://nowhere.invalid:443").unwrap_err().contains("getent ahosts nowhere.invalid"));
        assert!(id("nonsense").is_err() && id("host:port").is_err());
    }

    #[test]
    fn hosts_that_are_listed_are_known() {
        let hosts = "127.0.0.1 localhost\n# 9.9.9.9 no\n192.0.2.7\tbuild Build.example # x\nbad line\n";
        assert_eq!(known_host(hosts, "build.EXAMPLE").unwrap(), IpAddr::from([192, 0, 2, 7]));
        assert_eq!(known_host(hosts, "no"), None);
        assert_eq!(known_host("", "localhost").unwrap(), IpAddr::from([127, 0, 0, 1]));
    }
}
