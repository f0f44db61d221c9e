use std::convert::Infallible;

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

/// Tiles of entries held in memory, by the definition: a hash of level L is the root of 256^L entries.
struct Memory(Vec<Hash>);

impl Tiles for Memory {
    type Error = Infallible;

    fn tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, Infallible> {
        let each = WIDTH.pow(level.into()) as usize;
        let first = (index * WIDTH) as usize * each;
        let nodes = self.0[first..].chunks_exact(each).take(width as usize);
        let nodes: Vec<Hash> = nodes.map(root).collect();
        assert_eq!(nodes.len() as u64, width, "asked beyond the tree");
        Ok(nodes)
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf(n.to_string().as_bytes())).collect()
}

fn edge(leaves: &[Hash]) -> Edge {
    let mut edge = Edge::default();
    leaves.iter().for_each(|leaf| drop(edge.push(*leaf)));
    edge
}

#[test]
fn the_published_tree_comes_out() {
    // The eight inputs that certificate transparency's implementations test themselves with.
    let inputs =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = Edge::default();
    assert_eq!(
        HEXLOWER.encode(&edge.root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    for (input, root) in inputs.iter().zip(roots) {
        edge.push(leaf(&HEXLOWER.decode(input.as_bytes()).unwrap()));
        assert_eq!(HEXLOWER.encode(&edge.root()), root, "of {} entries", edge.size());
    }
}

#[test]
fn tiles_and_edges_are_those_of_the_definition() {
    let leaves = leaves(66_000);
    let memory = Memory(leaves.clone());
    let mut edge = Edge::default();
    for (index, leaf) in leaves.iter().enumerate() {
        for full in edge.push(*leaf) {
            assert_eq!(Ok(full.hashes), memory.tile(full.level, full.index, WIDTH));
        }
        let size = index as u64 + 1;
        if size.is_multiple_of(977) || (65_530..65_600).contains(&size) || size < 300 {
            assert_eq!(edge.root(), root(&leaves[..=index]), "{size}");
            assert_eq!(Ok(edge.root()), range(&memory, 0, size));
            let again = Edge::new(size, |level, index| {
                memory.tile(level, index, tile_width(size, level, index).unwrap())
            });
            assert_eq!(again, Ok(edge.clone()));
        }
    }
    assert_eq!(tile_width(70_000, 0, 273), Some(112));
    assert_eq!(tile_width(70_000, 1, 1), Some(17));
    assert_eq!(tile_width(70_000, 2, 0), Some(1));
    assert_eq!(tile_width(70_000, 2, 1), None);
    assert_eq!(tile_width(70_000, 9, 0), None);
}

#[test]
fn every_proof_of_small_trees_holds_and_no_other() {
    let leaves = leaves(40);
    let memory = Memory(leaves.clone());
    for size in 1..=40u64 {
        let whole = root(&leaves[..size as usize]);
        for index in 0..size {
            let leaf = leaves[index as usize];
            let Ok(proof) = prove_inclusion(&memory, index, size);
            assert!(check_inclusion(&proof, index, size, leaf, &whole));
            assert!(!check_inclusion(&proof, index, size, leaves[(index as usize + 1) % 40], &whole));
            assert!(!check_inclusion(&proof, index ^ 1, size, leaf, &whole) || size == 1 && index == 1);
            assert!(!check_inclusion(&proof, size, size, leaf, &whole));
            for cut in 0..proof.len() {
                assert!(!check_inclusion(&proof[..cut], index, size, leaf, &whole));
                let mut other = proof.clone();
                other[cut][7] ^= 1;
                assert!(!check_inclusion(&other, index, size, leaf, &whole));
            }
            assert!(!check_inclusion(&[&proof[..], &[leaf]].concat(), index, size, leaf, &whole));
        }
        for old in 0..=size {
            let before = root(&leaves[..old as usize]);
            let Ok(proof) = prove_consistency(&memory, old, size);
            assert!(check_consistency(&proof, (old, &before), (size, &whole)), "{old} {size}");
            let wrong = node(&before, &whole);
            assert!(!check_consistency(&proof, (old, &wrong), (size, &whole)), "{old} {size}");
            assert!(!check_consistency(&proof, (old, &before), (size, &wrong)) || old == 0);
            for cut in 0..proof.len() {
                assert!(!check_consistency(&proof[..cut], (old, &before), (size, &whole)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn proofs_of_large_trees_hold(size in 1..70_000u64, a: prop::sample::Index, b: prop::sample::Index) {
        let leaves = leaves(size);
        let memory = Memory(leaves.clone());
        let (index, old) = (a.index(size as usize) as u64, b.index(size as usize) as u64 + 1);
        let whole = edge(&leaves).root();
        let Ok(proof) = prove_inclusion(&memory, index, size);
        prop_assert!(check_inclusion(&proof, index, size, leaves[index as usize], &whole));
        let Ok(proof) = prove_consistency(&memory, old, size);
        prop_assert!(check_consistency(&proof, (old, &edge(&leaves[..old as usize]).root()), (size, &whole)));
    }
}
