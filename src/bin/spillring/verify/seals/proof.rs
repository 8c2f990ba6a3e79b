//! The proof of an entry, from the hashes of the tree, kept from its first known peaks on.

use std::collections::HashMap;

use data_encoding::BASE64;
use spillring::event::Position;
use spillring::seal::{Hash, Leaf, Tree};
use tlog_tiles::tlog::{Error, Hash as TlogHash, HashReader, prove_record, stored_hash_index};

/// The first line of a proof, see <https://c2sp.org/tlog-proof>.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The proof that an entry is in a trail.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    /// A C2SP tlog-proof. Its extra data is the leaf.
    pub(crate) text: String,
    /// The key that signed its checkpoint.
    pub(crate) key: String,
}

/// The hashes that were kept. Empty unless a proof was asked for.
#[derive(Debug, Default)]
pub(super) struct KeptHashes {
    wanted: Option<Position>,
    /// Its index in the tree, and its leaf.
    found: Option<(u64, Vec<u8>)>,
    size: u64,
    hashes: Hashes,
}

/// The hashes of full subtrees, by tlog's stored-hash index.
#[derive(Debug, Default)]
struct Hashes(HashMap<u64, TlogHash>);

impl KeptHashes {
    pub(super) fn of(entry: Option<Position>) -> Self {
        Self {
            wanted: entry,
            ..Self::default()
        }
    }

    /// The tree goes on from here.
    pub(super) fn begin(&mut self, tree: &Tree) {
        if self.wanted.is_none() {
            return;
        }
        self.found = None;
        self.hashes.0.clear();
        self.size = tree.size();
        let levels = (0..64).rev().filter(|level| tree.size() >> level & 1 == 1);
        let mut leaves = 0;
        for (level, peak) in levels.zip(tree.peaks()) {
            self.hashes.put(level, leaves >> level, TlogHash(*peak));
            leaves += 1 << level;
        }
    }

    pub(super) fn push(&mut self, leaf: &Leaf<'_>, hash: Hash) {
        let Some(wanted) = self.wanted else { return };
        if leaf.id == wanted {
            self.found = Some((self.size, leaf.to_bytes()));
        }
        let (mut hash, mut at, mut level) = (TlogHash(hash), self.size, 0);
        self.hashes.put(level, at, hash);
        while at & 1 == 1 {
            let Some(left) = self.hashes.get(level, at - 1) else {
                break;
            };
            hash = tlog_tiles::tlog::node_hash(left, hash);
            (level, at) = (level + 1, at >> 1);
            self.hashes.put(level, at, hash);
        }
        self.size += 1;
    }

    /// The proof that the entry is in the tree of this signed checkpoint.
    pub(super) fn prove(&self, size: u64, note: &str) -> Result<String, &'static str> {
        let Some((index, leaf)) = &self.found else {
            return Err("it is not in the trail");
        };
        if *index >= size {
            return Err("no checkpoint covers it yet: try again in a moment");
        }
        let proof = prove_record(size, *index, &self.hashes);
        let proof = proof.map_err(|_| "entries around it do not match what was signed")?;
        let mut text = format!("{HEADER}\nextra {}\nindex {index}\n", BASE64.encode(leaf));
        for hash in proof {
            text += &BASE64.encode(&hash.0);
            text.push('\n');
        }
        Ok(text + "\n" + note)
    }
}

impl Hashes {
    fn put(&mut self, level: u8, at: u64, hash: TlogHash) {
        self.0.insert(stored_hash_index(level, at), hash);
    }

    fn get(&self, level: u8, at: u64) -> Option<TlogHash> {
        self.0.get(&stored_hash_index(level, at)).copied()
    }
}

impl HashReader for Hashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<TlogHash>, Error> {
        let read = indexes.iter().map(|index| self.0.get(index).copied());
        let read: Option<Vec<_>> = read.collect();
        read.ok_or(Error::IndexesNotInTree)
    }
}
