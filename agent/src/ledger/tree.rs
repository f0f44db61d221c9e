//! The Merkle tree of RFC 6962 over the entries: hashes, the growing right edge, proofs and their checks.
//! Nothing here knows of files.

use sha2::{Digest, Sha256};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;

/// A node of the tree.
pub type Hash = [u8; 32];

/// The hash of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of an inner node.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over nodes of one height; the last may be a smaller tree. Of nothing: the hash of nothing.
pub fn root(nodes: &[Hash]) -> Hash {
    match nodes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        _ => {
            let (left, right) = nodes.split_at(split(nodes.len() as u64) as usize);
            node(&root(left), &root(right))
        }
    }
}

/// The greatest power of two below `size`, which is more than one.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// How many hashes level `level` of tiles has in a tree of `size` entries.
pub fn level_size(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// How wide tile `index` of `level` is in a tree of `size` entries; none: there is no such tile.
pub fn tile_width(size: u64, level: u8, index: u64) -> Option<u64> {
    let width = level_size(size, level).checked_sub(index.checked_mul(WIDTH)?)?.min(WIDTH);
    (width > 0).then_some(width)
}

/// A tile that has become full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// 0: of entries' hashes.
    pub level: u8,
    /// Among the tiles of its level.
    pub index: u64,
    /// [`WIDTH`] of them.
    pub hashes: Vec<Hash>,
}

/// A tree that only grows: the tiles at its right edge, of each level the one that is not full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of `size` entries, from the unfinished tile of each level, if it has one.
    pub fn new<E>(size: u64, mut tile: impl FnMut(u8, u64) -> Result<Vec<Hash>, E>) -> Result<Self, E> {
        let mut levels = Vec::new();
        let mut level = 0;
        while level_size(size, level) > 0 {
            let (index, width) = (level_size(size, level) / WIDTH, level_size(size, level) % WIDTH);
            levels.push(if width == 0 { Vec::new() } else { tile(level, index)? });
            level += 1;
        }
        Ok(Self { size, levels })
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The unfinished tile of each level; may be empty.
    pub fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Adds an entry's hash; hands out the tiles that are full now, the lowest level first.
    pub fn push(&mut self, leaf: Hash) -> Vec<FullTile> {
        let mut full = Vec::new();
        let mut hash = leaf;
        self.size += 1;
        for level in 0u8.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::new());
            }
            let tile = &mut self.levels[usize::from(level)];
            tile.push(hash);
            if (tile.len() as u64) < WIDTH {
                break;
            }
            let hashes = std::mem::take(tile);
            hash = root(&hashes);
            full.push(FullTile { level, index: level_size(self.size, level) / WIDTH - 1, hashes });
        }
        full
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        let mut below = None;
        for level in &self.levels {
            let nodes: Vec<Hash> = level.iter().copied().chain(below).collect();
            below = if nodes.is_empty() { None } else { Some(root(&nodes)) };
        }
        below.unwrap_or_else(|| root(&[]))
    }
}

/// Where proofs get their hashes from.
pub trait Tiles {
    /// What may go wrong.
    type Error;
    /// The first `width` hashes of a tile.
    fn tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, Self::Error>;
}

/// The root over the entries from `from` to below `to`, where `from` is a multiple of the least power of two that
/// holds that many, as in every proof.
pub fn range<T: Tiles>(tiles: &T, from: u64, to: u64) -> Result<Hash, T::Error> {
    let size = to - from;
    if size == 0 {
        return Ok(root(&[]));
    }
    if !size.is_power_of_two() {
        let middle = from + split(size);
        return Ok(node(&range(tiles, from, middle)?, &range(tiles, middle, to)?));
    }
    // A whole subtree is a power of two of neighbours in one tile.
    let level = (size.trailing_zeros() / 8) as u8;
    let (first, count) = (from >> (8 * level), size >> (8 * level));
    let offset = first % WIDTH;
    let hashes = tiles.tile(level, first / WIDTH, offset + count)?;
    Ok(root(&hashes[offset as usize..(offset + count) as usize]))
}

/// The hashes beside the way from entry `index` to the root of the first `size` entries, the lowest first.
pub fn prove_inclusion<T: Tiles>(tiles: &T, index: u64, size: u64) -> Result<Vec<Hash>, T::Error> {
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range(tiles, middle, to)?);
            to = middle;
        } else {
            proof.push(range(tiles, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `leaf` is entry `index` of the tree of `size` entries with that root.
pub fn check_inclusion(proof: &[Hash], index: u64, size: u64, leaf: Hash, root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node(beside, &hash);
            // Levels where this subtree is the last and has no neighbour leave no hash.
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, beside);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// What shows that the first `old` of `new` entries are those of an older root.
pub fn prove_consistency<T: Tiles>(tiles: &T, old: u64, new: u64) -> Result<Vec<Hash>, T::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut from, mut to, mut whole) = (0, new, true);
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range(tiles, middle, to)?);
            to = middle;
        } else {
            proof.push(range(tiles, from, middle)?);
            (from, whole) = (middle, false);
        }
    }
    if !whole {
        proof.push(range(tiles, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether the tree of `old` entries is the beginning of that of `new` entries.
pub fn check_consistency(proof: &[Hash], old: (u64, &Hash), new: (u64, &Hash)) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 {
        return proof.is_empty() && *old_root == root(&[]);
    }
    if old_size >= new_size {
        return old_size == new_size && old_root == new_root && proof.is_empty();
    }
    let mut rest = proof.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut place, mut last) = (old_size - 1, new_size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for beside in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            (of_old, of_new) = (node(beside, &of_old), node(beside, &of_new));
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node(&of_new, beside);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
