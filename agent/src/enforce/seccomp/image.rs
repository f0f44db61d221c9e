//! What the first bytes of a program say about how it is executed.

/// Bytes that suffice: a script's first line (BINPRM_BUF_SIZE is 256), an ELF file's header and program headers.
pub const HEAD: u64 = 8192;

/// Where a script's first line ends at the latest.
const LINE: usize = 256;

/// Kinds of programs.
#[derive(Debug, PartialEq, Eq)]
pub enum Image {
    /// `#!`: the interpreter and its one argument.
    Script {
        /// Its path.
        interpreter: Vec<u8>,
        /// What stands after it.
        argument: Option<Vec<u8>>,
    },
    /// A native program; with the path of its loader, if it has one.
    Elf {
        /// PT_INTERP.
        loader: Option<Vec<u8>>,
    },
    /// An ELF file of another kind of system calls.
    Foreign,
    /// Anything else.
    Unknown,
}

const ELF64_LE: &[u8] = b"\x7fELF\x02\x01";
const EM_X86_64: u16 = 62;
const PT_INTERP: u32 = 3;

/// Looks at the first bytes of a file.
pub fn of(head: &[u8]) -> Image {
    if let Some(line) = head.strip_prefix(b"#!") {
        return script(&line[..line.len().min(LINE - 2)]);
    }
    if head.starts_with(b"\x7fELF") {
        return if head.starts_with(ELF64_LE) && half(head, 18) == Some(EM_X86_64) {
            elf(head)
        } else {
            Image::Foreign
        };
    }
    Image::Unknown
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// As fs/binfmt_script.c reads it.
fn script(line: &[u8]) -> Image {
    let end = line.iter().position(|byte| *byte == b'\n' || *byte == 0).unwrap_or(line.len());
    let line = line[..end].trim_ascii();
    let name = line.split(is_blank).next().unwrap_or_default();
    if name.is_empty() {
        return Image::Unknown;
    }
    let rest = line[name.len()..].trim_ascii();
    Image::Script { interpreter: name.to_vec(), argument: (!rest.is_empty()).then(|| rest.to_vec()) }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
}

/// The loader that the program headers name. One that cannot be read is none: then the image that comes of it is
/// compared all the same.
fn elf(head: &[u8]) -> Image {
    let find = || {
        let (start, size, count) =
            (long(head, 32)?, usize::from(half(head, 54)?), usize::from(half(head, 56)?));
        for index in 0..count {
            let header = head.get(start.checked_add(index * size)?..)?;
            if word(header, 0)? == PT_INTERP {
                let (offset, length) = (long(header, 8)?, long(header, 32)?);
                let path = head.get(offset..offset.checked_add(length)?)?;
                return Some(path.strip_suffix(b"\0").unwrap_or(path).to_vec());
            }
        }
        None
    };
    Image::Elf { loader: find() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_does() {
        let script = |interpreter: &str, argument: Option<&str>| Image::Script {
            interpreter: interpreter.into(),
            argument: argument.map(Into::into),
        };
        assert_eq!(of(b"#!/bin/sh\necho"), script("/bin/sh", None));
        assert_eq!(of(b"#! \t/usr/bin/env  python3 -u \n"), script("/usr/bin/env", Some("python3 -u")));
        assert_eq!(of(b"#!\n"), Image::Unknown);
        assert_eq!(of(b"plain text"), Image::Unknown);
        assert_eq!(of(b""), Image::Unknown);
    }

    #[test]
    fn a_program_names_its_loader() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let Image::Elf { loader: Some(loader) } = of(&own[..own.len().min(HEAD as usize)]) else { panic!() };
        assert!(std::path::Path::new(std::str::from_utf8(&loader).unwrap()).exists());
        let mut foreign = own[..64].to_vec();
        foreign[4] = 1;
        assert_eq!(of(&foreign), Image::Foreign);
        assert_eq!(of(b"\x7fELF\x02\x01"), Image::Foreign, "cut off");
        for length in 0..own.len().min(1024) {
            of(&own[..length]);
        }
    }
}
