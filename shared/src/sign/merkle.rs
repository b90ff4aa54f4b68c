//! A Merkle tree over hostnames, so that one signature names the exact set of a command's targets
//! and each server can check that it is among them, without seeing the others.
//!
//! Source: RFC 6962, section 2.1 (hashing and audit paths) and RFC 9162, section 2.1.3.2 (checking
//! one). A leaf is SHA-256(0x00 ‖ hostname), a node SHA-256(0x01 ‖ left ‖ right).

use super::dsse::sha256;
use crate::contract::envelope::Proof;

type Hash = [u8; 32];

/// The tree over a set of hostnames, all levels kept: building is linear, each proof logarithmic.
pub struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Builds the tree over `hostnames`, which must be sorted and unique.
    pub fn new<'a>(hostnames: impl IntoIterator<Item = &'a str>) -> Self {
        let mut levels = vec![hostnames.into_iter().map(leaf).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            // An odd last node moves up unchanged: the shape that RFC 6962's split at the largest
            // power of two gives.
            let above = below.chunks(2).map(|pair| pair.get(1).map_or(pair[0], |right| node(&pair[0], right)));
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// The root, in hexadecimal. The empty tree's is the hash of nothing.
    pub fn root(&self) -> String {
        let root = self.levels.last().and_then(|level| level.first());
        root.map_or_else(|| hex::encode(sha256(&[])), hex::encode)
    }

    /// The proof that the leaf at `index` belongs to the tree.
    pub fn proof(&self, index: usize) -> Proof {
        let siblings = self.levels.iter().enumerate().filter_map(|(height, level)| level.get((index >> height) ^ 1));
        Proof { index: index as u64, hashes: siblings.map(hex::encode).collect() }
    }
}

/// Whether `proof` shows that `hostname` is a leaf of the tree of `count` leaves with this `root`.
pub fn includes(hostname: &str, proof: &Proof, count: u64, root: &str) -> bool {
    climb(hostname, proof, count).is_some_and(|top| hex::encode(top) == root)
}

fn climb(hostname: &str, proof: &Proof, count: u64) -> Option<Hash> {
    let mut place = proof.index;
    let mut last = count.checked_sub(1).filter(|last| place <= *last)?;
    let mut hash = leaf(hostname);
    for sibling in &proof.hashes {
        (last > 0).then_some(())?;
        let mut other = Hash::default();
        hex::decode_to_slice(sibling, &mut other).ok()?;
        if place % 2 == 1 || place == last {
            hash = node(&other, &hash);
            while place.is_multiple_of(2) && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, &other);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

fn leaf(hostname: &str) -> Hash {
    sha256(&[&[0], hostname.as_bytes()])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962, section 2.1, written down as it stands there: split at the largest power of two.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => sha256(&[]),
            1 => leaves[0],
            n => {
                let split = n.next_power_of_two() / 2;
                node(&defined(&leaves[..split]), &defined(&leaves[split..]))
            }
        }
    }

    fn names(count: usize) -> Vec<String> {
        let mut names: Vec<_> = (0..count).map(|i| format!("host-{i:04}")).collect();
        names.sort();
        names
    }

    #[test]
    fn every_leaf_of_every_size_proves_itself_and_nobody_else() {
        for count in 0..=70 {
            let names = names(count);
            let tree = Tree::new(names.iter().map(String::as_str));
            let leaves: Vec<_> = names.iter().map(|name| leaf(name)).collect();
            assert_eq!(tree.root(), hex::encode(defined(&leaves)), "{count}");
            for (index, name) in names.iter().enumerate() {
                let proof = tree.proof(index);
                assert!(includes(name, &proof, count as u64, &tree.root()), "{index} of {count}");
                assert!(!includes("intruder", &proof, count as u64, &tree.root()));
                let mut wrong = proof.clone();
                wrong.index = (wrong.index + 1) % count as u64;
                assert!(count == 1 || !includes(name, &wrong, count as u64, &tree.root()));
            }
        }
    }

    #[test]
    fn a_proof_of_nonsense_is_refused() {
        let tree = Tree::new(["a", "b"]);
        let proof = |index, hashes: &[&str]| Proof { index, hashes: hashes.iter().map(|h| (*h).to_owned()).collect() };
        assert!(!includes("a", &proof(0, &[]), 2, &tree.root()));
        assert!(!includes("a", &proof(0, &["zz"]), 2, &tree.root()));
        assert!(!includes("a", &proof(u64::MAX, &[]), 2, &tree.root()));
        assert!(!includes("a", &proof(0, &[]), 0, &tree.root()));
    }
}
