"""Reads a file of JSON lines with its ledger, from docs/wire-format.md alone, and says whether anything is missing.

usage: reader.py OUTPUT [LEDGER]. Exit code: 0 complete, and every hash fits; 1 not so; 2 unreadable."""

import hashlib
import json
import sys
import zlib

EVENT_TYPES = """ToolCallIntercepted PolicyViolation CredentialLeakBlocked ApprovalRequested ApprovalGranted ApprovalDenied
BudgetLimitApproached BudgetLimitExceeded ApprovalTimedOut ApprovalRouted ApprovalEscalated AgentForceDeregistered MessageBlocked
ToolDispatched A2ACallIntercepted A2AImpersonationAttempted SandboxStarted SandboxFilesystemBlocked SandboxCpuTimeout
SandboxOomKilled SandboxTerminated SandboxHostFnRateLimited GovernanceMutation""".split()


def entry_hash(entry):
    """The hash of an entry of Agent Assembly."""
    out = bytearray()

    def number(value, size):
        out.extend((value % (1 << 8 * size)).to_bytes(size, "big"))

    def text(value):
        if value is not None:
            number(len(value.encode()), 4)
            out.extend(value.encode())

    number(entry["seq"], 8)
    number(entry["timestamp_ns"], 8)
    number(EVENT_TYPES.index(entry["event_type"]), 4)
    for field in ("agent_id", "session_id", "previous_hash"):
        out.extend(entry[field])
    out.extend(entry["payload"].encode())
    for field in ("root_agent_id", "parent_agent_id"):
        out.extend(entry.get(field, ()))
    for field in ("team_id", "delegation_reason", "spawned_by_tool"):
        text(entry.get(field))
    if "depth" in entry:
        number(entry["depth"], 4)
    text(entry.get("org_id"))
    findings, redacted = entry.get("credential_findings", []), entry.get("redacted_payload")
    if findings or redacted is not None:
        number(len(findings), 4)
        for finding in findings:
            number(finding["offset"], 8)
            text(finding["matched"])
        number(int(redacted is not None), 1)
        text(redacted)
    text(entry.get("policy_doc_id"))
    text(entry.get("decision_id"))
    return list(hashlib.sha256(out).digest())


def ledger_lines(data):
    """The objects of a ledger; a torn last line is none."""
    lines = data.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        body = line[9:]
        if line[:9] == b"%08x " % zlib.crc32(body):
            yield json.loads(body)
        elif number < len(lines):
            raise ValueError(f"line {number} of the ledger is damaged")


def fields(text):
    """A list of `name=value`."""
    return dict(field.split("=", 1) for field in text.split("; "))


class Run:
    """The numbers of a run."""

    def __init__(self, publisher, first=1):
        self.publisher, self.first, self.last = publisher, first, first - 1
        self.entries, self.lost, self.opening = set(), set(), None

    def take(self, found, told):
        """Adds a range, whose lines are these; says what does not fit."""
        if told["first"] <= self.last:
            self.lost = {n for n in self.lost if n < told["first"]}
        lost = {loss["first"] + at for loss in told.get("losses", ()) for at in range(loss["count"])}
        numbers = [n for n in range(told["first"], told["last"] + 1) if n not in lost]
        if len(numbers) != told["entries"] or len(found) != told["entries"]:
            yield f"the ledger tells of {told['entries']} lines, {len(numbers)} numbers are left, {len(found)} lines are there"
        for n in numbers:
            if n in self.entries:
                yield f"number {n} is there twice"
        if "audit_run" in told:
            self.opening = fields(told["audit_run"])
        elif not self.entries and numbers and self.first == 1:
            yield "its first entry does not open it"
        self.entries.update(numbers)
        self.lost |= lost
        self.last = max(self.last, told["last"])

    def missing(self):
        return [n for n in range(self.first, self.last + 1) if n not in self.entries and n not in self.lost]


def read(output, ledger):
    """What is wrong with the trail, and its runs."""
    wrong, runs, expected = [], {}, 0
    for line in ledger_lines(ledger):
        assert line.get("version", 1) == 1, "a newer format"
        if line["kind"] == "unaccounted":
            expected = line["bytes"]
        if line["kind"] == "before":
            runs[line["run"]] = Run(line["publisher"], line["last"] + 1)
        if line["kind"] != "stored":
            continue
        if line["start"] != expected:
            wrong.append(f"bytes {expected} to {line['start']} are in no range")
        expected = line["end"]
        stored = output[line["start"] : line["end"]]
        found = stored.split(b"\n")[:-1]
        run = runs.setdefault(line["run"], Run(line["publisher"]))
        wrong += [f"run {line['run']}: {problem}" for problem in run.take(found, line)]
        if zlib.crc32(stored) != line["crc32"]:
            wrong.append(f"bytes {line['start']} to {line['end']} are not those that were written")
            continue
        for entry in [json.loads(text) for text in found if b'"entry_hash"' in text]:
            if entry_hash(entry) != entry["entry_hash"]:
                wrong.append(f"an entry has been edited: seq {entry['seq']}")
    return wrong, runs


def judge(wrong, runs):
    """Follows the runs of each publisher, as each says how the one before it ended."""
    latest = {}
    for name, run in runs.items():
        previous = run.opening and run.opening.get("previous")
        if previous in runs and "last" in run.opening:
            before = runs[previous]
            before.last = max(before.last, int(run.opening["last"]))
        known = latest.get(run.publisher)
        if known and previous != known and previous in runs:
            wrong.append(f"run {name} follows {previous}, not {known}")
        if previous and not known and int(run.opening.get("last", 0)) > 0:
            wrong.append(f"run {previous}, which came before {name}, is not there")
        latest[run.publisher] = name
    return settled(wrong, runs)


def settled(wrong, runs):
    """The same with what is missing, which also says how far each run came."""
    for name, run in runs.items():
        if run.missing():
            wrong.append(f"run {name}: neither stored nor announced as lost: {run.missing()[:5]}")
        print(f"run {name}: {len(run.entries)} entries, {len(run.lost)} lost, up to {run.last}")
    return wrong


def conclude(judged):
    """Says what is wrong, as a process that ends."""
    try:
        problems = judged()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        print(f"unreadable: {error}")
        sys.exit(2)
    print("\n".join(problems) or "complete")
    sys.exit(bool(problems))


def of_file():
    with open(sys.argv[1], "rb") as output, open((sys.argv + [sys.argv[1] + ".ledger"])[2], "rb") as ledger:
        return judge(*read(output.read(), ledger.read()))


if __name__ == "__main__":
    conclude(of_file)
