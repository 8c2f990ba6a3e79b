"""Checks, with aics-tlog alone, what spillring has signed: signatures, roots, consistency, certificates, and the proof of an entry."""

import base64
import json
import sys

from aics_tlog import (
    MerkleTree,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verify_consistency,
    verify_leaf_inclusion,
    verify_note,
)


def opened(text, key):
    note = parse_note(text)
    assert verify_note(note, [parse_vkey(key)]), "not signed with the key"
    return parse_checkpoint(note.text)


told = json.load(open(sys.argv[1]))
leaves = [base64.b64decode(leaf) for leaf in told["leaves"]]
tree = MerkleTree(leaves)
key, before = told["first"], None
for seal in told["seals"]:
    for certificate in seal.get("certificates", []):
        lines = parse_note(certificate).text.splitlines()
        follows = [line for line in lines if line.startswith("next ")]
        try:
            opened(certificate, key)
        except AssertionError:
            continue
        key = follows[0].removeprefix("next ")
    now = opened(seal["checkpoint"], key)
    assert now.root == tree.root(now.size)
    if before is not None:
        roots = [tree.root(size) for size in (before, now.size)]
        proof = tree.consistency_proof(before, now.size)
        assert verify_consistency(before, now.size, *roots, proof)
    before = now.size

head, note = told["proof"].split("\n\n", 1)
name, extra, index, *path = head.splitlines()
assert name == "c2sp.org/tlog-proof@v1"
leaf = base64.b64decode(extra.removeprefix("extra "))
index = int(index.removeprefix("index "))
root = opened(note, key)
path = [base64.b64decode(line) for line in path]
assert verify_leaf_inclusion(leaf, index, root.size, path, tree.root(root.size))
assert leaf == leaves[index]
assert not verify_leaf_inclusion(leaf + b"x", index, root.size, path, tree.root(root.size))
print(f"{len(leaves)} entries, {before} of them signed; the proof holds")
