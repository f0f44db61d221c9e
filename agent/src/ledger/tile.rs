//! The files of the C2SP tlog-tiles layout below a ledger's folder: `checkpoint`, `tile/<L>/<N>[.p/<W>]` of hashes
//! and `tile/entries/<N>[.p/<W>]` of entries, each with its length in 16 bits before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::LedgerError;
use super::tree::{self, Hash, Tiles, WIDTH};

/// The signed note that says how many entries there are, and their root.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// How a tile is named: below it are hashes of a level, or entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Hashes(u8),
    Entries,
}

/// `tile/0/x001/x234/067`, and `.p/12` behind it unless it is full.
pub(super) fn name(row: Row, index: u64, width: u64) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
    match row {
        Row::Hashes(level) => format!("tile/{level}/{number}{partial}"),
        Row::Entries => format!("tile/entries/{number}{partial}"),
    }
}

/// The folder of a tile's partial forms.
pub(super) fn partials(row: Row, index: u64) -> String {
    format!("{}.p", name(row, index, WIDTH))
}

/// The widths of the partial forms that are there, in order.
pub(super) fn widths(folder: &Path, row: Row, index: u64) -> Result<Vec<u64>, LedgerError> {
    let path = folder.join(partials(row, index));
    let items = match fs::read_dir(&path) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LedgerError::io("read folder", &path)(error)),
    };
    let number =
        |name: &str| name.parse::<u64>().ok().filter(|n| n.to_string() == name && (1..WIDTH).contains(n));
    let mut widths: Vec<u64> =
        items.flatten().filter_map(|item| number(item.file_name().to_str()?)).collect();
    widths.sort_unstable();
    Ok(widths)
}

/// The bytes of a tile that is at least so wide: full, or the narrowest partial one that does. None: not there.
pub(super) fn read(
    folder: &Path,
    row: Row,
    index: u64,
    width: u64,
) -> Result<Option<(PathBuf, Vec<u8>)>, LedgerError> {
    let widths = widths(folder, row, index)?;
    for candidate in widths.into_iter().filter(|w| *w >= width).chain([WIDTH]) {
        let path = folder.join(name(row, index, candidate));
        match fs::read(&path) {
            Ok(bytes) => return Ok(Some((path, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LedgerError::io("read", &path)(error)),
        }
    }
    Ok(None)
}

/// The hashes of a tile's bytes.
pub(super) fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks();
    rest.is_empty().then(|| hashes.to_vec())
}

/// A tile's bytes.
pub(super) fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// The tiles of a ledger on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a>(pub(super) &'a Path);

impl Tiles for Files<'_> {
    type Error = LedgerError;

    fn tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, LedgerError> {
        let wanted = || self.0.join(name(Row::Hashes(level), index, width));
        let (path, bytes) = read(self.0, Row::Hashes(level), index, width)?
            .ok_or_else(|| LedgerError::damaged(&wanted(), "the tile is missing"))?;
        let mut hashes = hashes(&bytes)
            .filter(|hashes| hashes.len() as u64 >= width)
            .ok_or_else(|| LedgerError::damaged(&path, "the tile is not of whole hashes, or too short"))?;
        hashes.truncate(width as usize);
        Ok(hashes)
    }
}

/// Adds an entry to a bundle. It is at most 65,535 bytes.
pub(super) fn add_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bundle.extend(length.to_be_bytes());
    bundle.extend(&entry[..usize::from(length)]);
}

/// The entries of a bundle; none if it is cut off.
pub(super) fn entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry);
        bundle = rest;
    }
    Some(entries)
}

/// A bundle that has at least `width` entries, and where it was. None: not there.
pub(super) fn read_bundle(
    folder: &Path,
    index: u64,
    width: u64,
) -> Result<Option<(PathBuf, Vec<u8>)>, LedgerError> {
    let Some((path, bytes)) = read(folder, Row::Entries, index, width)? else { return Ok(None) };
    let count = entries(&bytes).map_or(0, |entries| entries.len() as u64);
    if !(width..=WIDTH).contains(&count) {
        return Err(LedgerError::damaged(&path, format!("not a bundle of {width} to {WIDTH} entries")));
    }
    Ok(Some((path, bytes)))
}

/// The hash of entry `index`, from the tile that has it.
pub(super) fn leaf(folder: &Path, index: u64) -> Result<Hash, LedgerError> {
    let hashes = Files(folder).tile(0, index / WIDTH, index % WIDTH + 1)?;
    Ok(hashes[(index % WIDTH) as usize])
}

/// The right edge of the tree of `size` entries.
pub(super) fn edge(folder: &Path, size: u64) -> Result<tree::Edge, LedgerError> {
    tree::Edge::new(size, |level, index| {
        Files(folder).tile(level, index, tree::level_size(size, level) % WIDTH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_layout() {
        assert_eq!(name(Row::Hashes(0), 1_234_067, WIDTH), "tile/0/x001/x234/067");
        assert_eq!(name(Row::Entries, 273, 112), "tile/entries/273.p/112");
        assert_eq!(name(Row::Hashes(2), 1000, 1), "tile/2/x001/000.p/1");
        assert_eq!(partials(Row::Hashes(1), 0), "tile/1/000.p");
    }

    #[test]
    fn bundles_come_back_and_cut_ones_do_not() {
        let mut bundle = Vec::new();
        for entry in [&b""[..], b"a", &[7; 65_535]] {
            add_entry(&mut bundle, entry);
        }
        assert_eq!(entries(&bundle).unwrap(), [&b""[..], b"a", &[7; 65_535]]);
        for cut in [1, 3, 4, 6, bundle.len() - 1] {
            assert_eq!(entries(&bundle[..cut]), None, "{cut}");
        }
    }
}
