//! The tree against the vectors of Certificate Transparency, the keys on disk, and which seals of a sink a signer
//! accepts.

mod sealed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

use super::keys::{KEYS, Keys};
use super::*;
use crate::event::{Position, PublisherId, RunId};

const PUBLISHER: PublisherId = PublisherId(Uuid::from_u128(7));
const AGE: Duration = Duration::from_secs(60);

/// Leaves and roots of the trees of one to eight leaves, from the tests of Google's implementation of RFC 6962.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn leaf(bytes: &[u8]) -> Hash {
    Sha256::digest([&[0], bytes].concat()).into()
}

fn tree(leaves: u8) -> Tree {
    let mut tree = Tree::default();
    tree.extend((0..leaves).map(|n| leaf(&[n])));
    tree
}

fn position(n: u64) -> Position {
    let run = RunId(Uuid::from_u128(9));
    Position { run, n }
}

#[test]
fn trees_have_the_roots_of_rfc_6962_and_go_on_from_their_peaks() {
    let mut tree = Tree::default();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(HEXLOWER.encode(&tree.root()), empty);
    for (data, root) in LEAVES.iter().zip(ROOTS) {
        let again = Tree::from_peaks(tree.size(), tree.peaks().to_vec());
        tree = again.unwrap();
        tree.push(leaf(&HEXLOWER.decode(data.as_bytes()).unwrap()));
        assert_eq!(HEXLOWER.encode(&tree.root()), root);
    }
    assert_eq!(
        Tree::from_peaks(6, vec![[0; 32]]),
        None,
        "six has two peaks"
    );
}

#[test]
fn a_leaf_has_a_line_for_each_header_that_there_is() {
    let id = position(3);
    let leaf = Leaf {
        id,
        lost: 2,
        requeued: Some(position(1)),
        opening: None,
        subject: Some("a.b"),
        bytes: b"{}",
    };
    let bytes = String::from_utf8(leaf.to_bytes()).unwrap();
    let run = id.run;
    let expected =
        format!("Audit-Id: {run}.3\nAudit-Lost: 2\nAudit-Requeued: {run}.1\nSubject: a.b\n\n{{}}");
    assert_eq!(bytes, expected);
}

fn signer(dir: &TempDir) -> Signer {
    Signer::open(dir.path(), PUBLISHER, None, AGE).unwrap()
}

/// Signs a tree, and notes it as stored.
fn stored(signer: &Signer, size: u8) -> Seal {
    let seal = signer
        .seal(&tree(size), Some(position(size.into())))
        .unwrap();
    signer.stored(&seal);
    seal
}

#[test]
fn keys_are_their_owners_alone_and_a_new_one_takes_the_old_ones_place() {
    let dir = tempfile::tempdir().unwrap();
    let first = signer(&dir);
    let file = dir.path().join(KEYS);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read_to_string(&file).unwrap();
    let old = PublicKeys::read(dir.path()).unwrap().unwrap();
    assert_eq!(old.first, old.current);
    first.keep();
    let same = fs::read_to_string(&file).unwrap();
    assert_eq!(
        same, before,
        "nothing is stored yet: there is nothing to go on from"
    );
    stored(&first, 5);
    first.keep();
    let new = PublicKeys::read(dir.path()).unwrap().unwrap();
    assert_ne!(new.current, old.current);
    assert_eq!(new.first, old.first);
    let certificate = Checkpoint::open(&new.certificates[0], &old.current).unwrap();
    assert_eq!((certificate.size, certificate.root), (5, tree(5).root()));
    assert_eq!(certificate.next.as_deref(), Some(new.current.as_str()));
    let secret = |text: &str| {
        let keys: serde_json::Value = serde_json::from_str(text).unwrap();
        keys["private"].as_str().unwrap().to_owned()
    };
    let after = fs::read_to_string(&file).unwrap();
    assert!(!after.contains(&secret(&before)), "the old key is gone");
    let shown = format!("{first:?}");
    let key = secret(&after);
    // `PRIVATE+KEY+<name>+<id>+<key>`, and the key is Base64, which has a plus, too.
    assert!(
        !shown.contains(key.splitn(5, '+').nth(4).unwrap()),
        "{shown}"
    );
    // Once in a process.
    stored(&first, 6);
    first.keep();
    let kept = PublicKeys::read(dir.path()).unwrap().unwrap();
    assert_eq!(kept.current, new.current);
}

#[test]
fn an_operator_may_give_the_first_key() {
    let seed = [3; 32];
    let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
    let with_kind = [&[1][..], &seed].concat();
    let forms = [
        BASE64.encode(&seed),
        format!(
            "PRIVATE+KEY+any/name+00000000+{}\n",
            BASE64.encode(&with_kind)
        ),
    ];
    for form in forms {
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join("given");
        fs::write(&given, form).unwrap();
        let keys = Keys::open(dir.path(), PUBLISHER, Some(&given)).unwrap();
        let expected = BASE64.encode(&[&[1][..], public.as_bytes()].concat());
        assert!(keys.first.ends_with(&expected), "{}", keys.first);
        fs::write(&given, "no key").unwrap();
        let again = Keys::open(dir.path(), PUBLISHER, Some(&given)).unwrap();
        assert_eq!(again.first, keys.first, "it is read once");
        let refused = Keys::open(&dir.path().join("x"), PUBLISHER, Some(&given));
        assert!(matches!(refused, Err(SealError::Given(_))), "{refused:?}");
    }
}

/// A sink's seal counts if it is signed by us and newer than the one noted before a kill; an older one does not count.
#[test]
fn a_signer_accepts_only_seals_that_it_has_signed_and_that_are_not_older_than_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let first = signer(&dir);
    let old = stored(&first, 3);
    let known = stored(&first, 5);
    // A copy of the directory does not know the next key.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join(KEYS), copy.path().join(KEYS)).unwrap();
    first.keep();
    let newer = first.seal(&tree(8), Some(position(8))).unwrap();
    drop(first);
    let next = signer(&dir);
    assert_eq!(next.tree(PUBLISHER, Some(&known), &[]), tree(5));
    assert_eq!(next.tree(PUBLISHER, Some(&newer), &[]), tree(8));
    let copied = signer(&copy);
    assert_eq!(copied.tree(PUBLISHER, Some(&newer), &[]), tree(8));
    assert_eq!(next.tree(PUBLISHER, Some(&old), &[]), tree(5), "set back");
    assert_eq!(next.tree(PUBLISHER, None, &[]), tree(5), "purged");
    let elsewhere = tempfile::tempdir().unwrap();
    let other = signer(&elsewhere);
    stored(&other, 4);
    other.keep();
    let anothers = stored(&other, 9);
    assert_eq!(anothers.certificates.len(), 1);
    assert_eq!(
        next.tree(PUBLISHER, Some(&anothers), &[]),
        tree(5),
        "not ours"
    );
    let mut peaks = newer.clone();
    peaks.peaks[0] = known.peaks[1].clone();
    assert_eq!(next.tree(PUBLISHER, Some(&peaks), &[]), tree(5), "no tree");
    let forged = Seal {
        checkpoint: newer.checkpoint.replacen("\n8\n", "\n9\n", 1).replacen(
            &BASE64.encode(&tree(8).root()),
            &BASE64.encode(&tree(9).root()),
            1,
        ),
        peaks: anothers.peaks.clone(),
        ..newer.clone()
    };
    assert_eq!(forged.tree().unwrap(), tree(9));
    let believed = next.tree(PUBLISHER, Some(&forged), &[]);
    assert_eq!(believed, tree(5), "not signed");
    // Entries after a checkpoint are ours only if it opens a batch.
    let more = [leaf(b"more")];
    assert_eq!(next.tree(PUBLISHER, Some(&known), &more), tree(5));
    let statement = state::Statement {
        through: Some(position(5)),
        is_open: true,
        recovered: 0,
    };
    let open = next.sign(&tree(5), statement).unwrap();
    let mut recovered = tree(5);
    recovered.push(more[0]);
    assert_eq!(next.tree(PUBLISHER, Some(&open), &more), recovered);
    // Signed before the key changed; the acknowledgement was lost.
    let late = next.seal(&tree(9), Some(position(9))).unwrap();
    stored(&next, 8);
    next.keep();
    assert_eq!(next.tree(PUBLISHER, Some(&late), &[]), tree(9));
}

#[test]
fn a_seal_has_the_certificates_until_its_key_is_known_to_be_stored() {
    let dir = tempfile::tempdir().unwrap();
    let first = signer(&dir);
    stored(&first, 1);
    first.keep();
    let lost = first.seal(&tree(2), Some(position(2))).unwrap();
    let again = first.seal(&tree(2), Some(position(2))).unwrap();
    assert_eq!((lost.certificates.len(), again.certificates.len()), (1, 1));
    first.stored(&again);
    assert_eq!(
        first
            .seal(&tree(3), Some(position(3)))
            .unwrap()
            .certificates
            .len(),
        0
    );
    first.keep();
    let next = signer(&dir).seal(&tree(3), Some(position(3))).unwrap();
    assert_eq!(next.certificates.len(), 1, "again after a start");
    assert!(!first.is_due(Instant::now()));
    assert!(first.is_due(Instant::now() + AGE));
}

/// The key that has signed for the old id certifies the first key of the new one.
#[test]
fn a_publisher_that_takes_another_id_begins_another_log() {
    let dir = tempfile::tempdir().unwrap();
    let signer = signer(&dir);
    stored(&signer, 3);
    signer.keep();
    let before = stored(&signer, 4);
    let renamed = PublisherId(Uuid::from_u128(8));
    signer.rename(renamed);
    for newest in [None, Some(&before)] {
        assert_eq!(signer.tree(renamed, newest, &[]), Tree::default());
    }
    let seal = signer.seal(&tree(1), Some(position(1))).unwrap();
    let checkpoint = Checkpoint::open(&seal.checkpoint, &seal.key).unwrap();
    assert_eq!(checkpoint.publisher(), Some(renamed));
    let certificate = Checkpoint::open(&seal.certificates[1], &before.key).unwrap();
    assert_eq!(certificate.next, Some(seal.key));
}

#[test]
fn a_checkpoint_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let signer = signer(&dir);
    let statement = state::Statement {
        through: Some(position(4)),
        is_open: true,
        recovered: 2,
    };
    let seal = signer.sign(&tree(3), statement).unwrap();
    let read = Checkpoint::open(&seal.checkpoint, &seal.key).unwrap();
    assert_eq!((read.size, read.root), (3, tree(3).root()));
    assert_eq!(
        (read.through, read.is_open, read.recovered),
        (Some(position(4)), true, 2)
    );
    assert_eq!(read.publisher(), Some(PUBLISHER));
    let edited = seal.checkpoint.replacen("\n3\n", "\n4\n", 1);
    assert!(Checkpoint::open(&edited, &seal.key).is_err());
    for broken in ["", "a\nb\n", "spillring/x\n1\nAAAA\n\n"] {
        assert!(Checkpoint::parse(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn a_seal_without_certificates_has_those_of_the_seal_before_it() {
    let seal = |certificates: &[&str]| Seal {
        checkpoint: String::new(),
        key: String::new(),
        peaks: Vec::new(),
        certificates: certificates.iter().map(|&it| it.to_owned()).collect(),
    };
    let before = Some(seal(&["old"]));
    assert_eq!(seal(&[]).following(before.clone()), seal(&["old"]));
    assert_eq!(seal(&["new"]).following(before), seal(&["new"]));
    assert_eq!(seal(&[]).following(None), seal(&[]));
}
