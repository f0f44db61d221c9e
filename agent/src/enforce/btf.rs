//! What the running kernel has by its type information (BTF): LSM hooks, which are the functions `bpf_lsm_*`, and
//! other functions and types by name.
//!
//! Read directly and not with aya: all names are found in one pass over the 6 MB without building a type
//! table, and a program's attach point needs the type's number, which aya does not give out.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const FUNC: u32 = 12;

/// The hooks by name, without `bpf_lsm_`, with their type ids.
pub type Hooks = HashMap<String, u32>;

/// Why the type information cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It ends too early or points outside of itself.
    #[error("BTF is cut short")]
    Short,
    /// It does not begin as BTF does.
    #[error("not BTF")]
    Magic,
    /// A kind of type that came after this version of authz.
    #[error("BTF has a type of unknown kind {0}; use a newer authz")]
    Kind(u32),
}

/// Where the running kernel has it.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The type information of the running kernel, read once: the kernel gives out a page a read.
pub struct Vmlinux(Vec<u8>);

impl Vmlinux {
    /// Reads it.
    pub fn read() -> Result<Self, String> {
        std::fs::read(VMLINUX).map(Self).map_err(|error| format!("{VMLINUX}: {error}"))
    }

    /// Its hooks.
    pub fn hooks(&self) -> Result<Hooks, String> {
        parse(&self.0).map_err(|error| format!("{VMLINUX}: {error}"))
    }

    /// Which of these functions and types it has; no program can follow what it has no type of.
    pub fn has(&self, names: &[&str]) -> Result<Vec<bool>, String> {
        let mut has = vec![false; names.len()];
        let mark = |_, name: &str, _| {
            if let Some(index) = names.iter().position(|wanted| *wanted == name) {
                has[index] = true;
            }
        };
        types(&self.0, mark).map_err(|error| format!("{VMLINUX}: {error}"))?;
        Ok(has)
    }
}

/// Reads the hooks of the running kernel.
pub fn of_kernel() -> Result<Hooks, String> {
    Vmlinux::read()?.hooks()
}

/// Finds the hooks in BTF in the machine's byte order.
pub fn parse(data: &[u8]) -> Result<Hooks, BtfError> {
    let mut hooks = Hooks::new();
    types(data, |kind, name, id| {
        if kind == FUNC
            && let Some(hook) = name.strip_prefix("bpf_lsm_")
        {
            hooks.insert(hook.to_owned(), id);
        }
    })?;
    Ok(hooks)
}

/// Calls `found` with kind, name and number of each type.
fn types(data: &[u8], mut found: impl FnMut(u32, &str, u32)) -> Result<(), BtfError> {
    let magic = data.first_chunk::<2>().ok_or(BtfError::Short)?;
    if u16::from_ne_bytes(*magic) != MAGIC {
        return Err(BtfError::Magic);
    }
    let header = number(data, 4)? as usize;
    let section = |at: usize| {
        let (start, length) = (number(data, at)? as usize, number(data, at + 4)? as usize);
        let start = header.checked_add(start).ok_or(BtfError::Short)?;
        let end = start.checked_add(length).ok_or(BtfError::Short)?;
        data.get(start..end).ok_or(BtfError::Short)
    };
    let (types, strings) = (section(8)?, section(16)?);
    let (mut at, mut id) = (0, 0);
    while at < types.len() {
        id += 1;
        let (name, info) = (number(types, at)?, number(types, at + 4)?);
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if let Some(name) = string(strings, name as usize) {
            found(kind, name, id);
        }
        at += 12 + trailer(kind, members)?;
    }
    Ok(())
}

/// How many bytes follow a type's 12 (linux/btf.h).
fn trailer(kind: u32, members: usize) -> Result<usize, BtfError> {
    Ok(match kind {
        // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        // integer, variable, declaration tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        // enum, function prototype
        6 | 13 => 8 * members,
        // struct, union, data section, 64-bit enum
        4 | 5 | 15 | 19 => 12 * members,
        kind => return Err(BtfError::Kind(kind)),
    })
}

fn number(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(BtfError::Short)?;
    Ok(u32::from_ne_bytes(*bytes))
}

fn string(strings: &[u8], at: usize) -> Option<&str> {
    let rest = strings.get(at..)?;
    std::str::from_utf8(&rest[..rest.iter().position(|b| *b == 0)?]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let words =
            [0x0001_eb9f, 24, 0, 4 * types.len() as u32, 4 * types.len() as u32, strings.len() as u32];
        let words = words.iter().chain(types).flat_map(|word| word.to_ne_bytes());
        words.chain(strings.iter().copied()).collect()
    }

    /// An integer, a struct of one member and two functions, one of them a hook.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0bpf_lsm_file_open\0other\0";
        let types = [1, 1 << 24, 4, 32, 0, 4 << 24 | 1, 4, 1, 1, 0, 5, 12 << 24, 1, 23, 12 << 24, 1];
        btf(&types, strings)
    }

    #[test]
    fn hooks_are_found_with_their_numbers() {
        assert_eq!(parse(&small()), Ok(Hooks::from([("file_open".into(), 3)])));
    }

    #[test]
    fn cut_anywhere_it_is_an_error() {
        let whole = small();
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Err(BtfError::Short), "{end}");
        }
        assert_eq!(parse(b"\x7fELF"), Err(BtfError::Magic));
        assert_eq!(parse(&btf(&[0, 30 << 24, 0], b"\0")), Err(BtfError::Kind(30)));
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(tail: Vec<u8>, at in 0usize..120, byte: u8) {
            let mut data = small();
            if let Some(slot) = data.get_mut(at) {
                *slot = byte;
            }
            data.extend(tail);
            let _parsed = parse(&data);
        }
    }

    #[test]
    fn the_running_kernel() {
        match Vmlinux::read() {
            Ok(btf) => {
                let hooks = btf.hooks().unwrap();
                assert!(hooks.contains_key("file_open") && hooks.len() > 100, "{}", hooks.len());
                assert_eq!(btf.has(&["task_struct", "no such type"]), Ok(vec![true, false]));
            }
            Err(error) => println!("not run: {error}"),
        }
    }
}
