"""Fails if modules of src that lie side by side import each other in a cycle. Tests, the binary and the simulation do not count."""

import collections
import graphlib
import pathlib
import re
import sys

SRC = pathlib.Path("src")


def source(path):
    """Without comments, and without what only tests have."""
    text = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
    text = re.sub(r"#\[cfg\(test\)\]\s*(pub\(crate\) )?(use|mod|type)[^;]*;", "", text)
    return re.sub(r"//[^\n]*", "", text)


def module(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return () if parts == ("lib",) else parts


def single(tree):
    """`a::{b, c::{d}}` as `a::b` and `a::c::d`."""
    found = re.match(r"(.*?)\{(.*)\}$", tree.strip(), re.S)
    if not found:
        return [re.sub(r"\s+as\s+\w+", "", tree).strip()]
    parts, depth = [""], 0
    for char in found[2]:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [path for part in parts if part.strip() for path in single(found[1].strip() + part.strip())]


files = [path for path in SRC.rglob("*.rs") if not {"bin", "simulation", "tests"} & set(path.with_suffix("").parts)]
texts = {module(path): source(path) for path in files}


def absolute(path, here):
    names = tuple(path.split("::"))
    if names[0] == "crate":
        return names[1:]
    if names[0] == "self":
        return here + names[1:]
    while names[0] == "super":
        here, names = here[:-1], names[1:]
        if names[:1] != ("super",):
            return here + names
    return here + names if here + names[:1] in texts else None


imports = collections.defaultdict(dict)
for here, text in texts.items():
    for tree in re.findall(r"\buse\s+([^;]+);", text):
        for path in single(tree):
            if target := absolute(path, here):
                imports[here][target[-1]] = target


def owner(target, depth=0):
    """The module that defines an item: imports are followed."""
    here = next(target[:end] for end in range(len(target), -1, -1) if target[:end] in texts)
    name = target[len(here) : len(here) + 1]
    defined = name and re.search(rf"\b(struct|enum|trait|fn|const|type|static|mod)\s+{re.escape(name[0])}\b", texts[here])
    if name and not defined and name[0] in imports[here] and depth < 8:
        return owner(imports[here][name[0]], depth + 1)
    return here


graphs = collections.defaultdict(lambda: collections.defaultdict(set))
for here, text in texts.items():
    paths = re.findall(r"\b(?:crate|super)(?:::\w+)+", re.sub(r"\buse\s+[^;]+;", "", text))
    targets = [*imports[here].values(), *filter(None, (absolute(path, here) for path in paths))]
    for there in map(owner, targets):
        shared = next((at for at, (a, b) in enumerate(zip(here, there)) if a != b), None)
        # A parent and its child are one unit.
        if shared is not None:
            graphs[here[:shared]][here[shared]].add(there[shared])

cycles = []
for parent, graph in graphs.items():
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as cycle:
        cycles.append(f"{'::'.join(parent) or 'the crate'}: {' → '.join(cycle.args[1])}")

print("\n".join(cycles) or "no cycles")
sys.exit(bool(cycles))
