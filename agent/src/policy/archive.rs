//! A bundle as OPA loads it: a gzip-compressed tar file. The files are small, so they are stored as they
//! are; the same bundle always gives the same bytes.

use serde_json::json;

use super::bundle::Bundle;

const BLOCK: usize = 512;

/// The bytes of an OPA bundle (`.tar.gz`), its revision the digest.
pub fn opa_bundle(bundle: &Bundle) -> Vec<u8> {
    let manifest = json!({"revision": bundle.digest(), "rego_version": 1});
    let mut tar = Vec::new();
    entry(&mut tar, "/.manifest", manifest.to_string().as_bytes());
    for (path, text) in bundle.files() {
        entry(&mut tar, &format!("/{path}"), text.as_bytes());
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    gzip(&tar)
}

/// One file in the ustar format; a path that does not fit its fields is preceded by a long-name entry.
fn entry(tar: &mut Vec<u8>, path: &str, content: &[u8]) {
    if path.len() > 100 {
        member(tar, "././@LongLink", b'L', &[path.as_bytes(), b"\0"].concat());
    }
    member(tar, path, b'0', content);
}

fn member(tar: &mut Vec<u8>, path: &str, kind: u8, content: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path.as_bytes()[..path.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// RFC 1952, with the stored blocks of RFC 1951.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks: Vec<&[u8]> = content.chunks(0xffff).collect();
    for (index, block) in blocks.iter().enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(index + 1 == blocks.len()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend(crc32(content).to_le_bytes());
    out.extend(u32::try_from(content.len() % (1 << 32)).unwrap_or_default().to_le_bytes());
    out
}

fn crc32(content: &[u8]) -> u32 {
    !content.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Generated, PolicySource};
    use std::process::Command;

    #[test]
    fn the_check_sum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn tar_unpacks_what_was_packed() {
        let bundle =
            Bundle::load(&[PolicySource::Preset("coding-agent".into())], &Generated::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.tar.gz");
        std::fs::write(&file, opa_bundle(&bundle)).unwrap();
        let tar = Command::new("tar").arg("-xzf").arg(&file).current_dir(folder.path()).output().unwrap();
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        for (path, text) in bundle.files() {
            assert_eq!(std::fs::read_to_string(folder.path().join(&path)).unwrap(), text, "{path}");
        }
        let manifest = std::fs::read_to_string(folder.path().join(".manifest")).unwrap();
        assert!(manifest.contains(&bundle.digest()));
    }

    #[test]
    fn a_long_path_is_kept() {
        let mut tar = Vec::new();
        entry(&mut tar, &format!("/{}", "x".repeat(150)), b"content");
        assert_eq!(tar.len(), 4 * BLOCK);
    }
}
