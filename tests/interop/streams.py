"""Reads the messages of a stream, from docs/wire-format.md alone, and says whether anything is missing.

usage: streams.py [MESSAGES], without a file from standard input: each message is a line of JSON, in the order of the stream, with
its `sequence`, `subject`, `headers` (lists of strings) and `payload` (base64). What it says, and its exit code, are as reader.py's."""

import base64
import json
import sys

import reader

ENTRIES, CURSORS = "assembly.audit.", "assembly.cursor."


class Run(reader.Run):
    """The numbers of a run, and what others say of it."""

    def __init__(self):
        super().__init__(None)
        self.after, self.account, self.alone = None, None, set()

    def add(self, n, headers):
        """Adds an entry; says what does not fit."""
        lost = int(headers.get("Audit-Lost", 0))
        if "Nats-Msg-Id" in headers:
            self.alone.add(n)
        elif n <= self.last and not self.alone:
            yield f"number {n} is there twice" if n in self.entries else f"number {n} comes after number {self.last}"
        if "Audit-Run" in headers and n == lost + 1:
            self.opening = reader.fields(headers["Audit-Run"])
            self.publisher = self.opening["publisher"]
            self.after = after(headers["Audit-After"]) if "Audit-After" in headers else None
        self.entries.add(n)
        self.lost.update(range(n - lost, n))
        self.last = max(self.last, n)

    def heard(self, account):
        """Takes a cursor, or what `Audit-After` says."""
        if not self.account or self.account["last"] <= account["last"]:
            self.account = account

    def settle(self):
        """Compares the entries with the newest account of the run; says what does not fit."""
        if self.entries & self.lost:
            yield f"there, and announced as lost: {sorted(self.entries & self.lost)[:5]}"
        if self.entries and not self.opening:
            yield "its first entry does not open it"
        if not self.account:
            return
        first, last, lost = (self.account[name] for name in ("first", "last", "lost"))
        end = max(self.entries, default=first - 1)
        announced = sum(first <= n <= last for n in self.lost)
        self.lost.update(range(end + 1, min(last, end + lost - announced) + 1))
        self.last = max(self.last, last)
        entries, there = entries_of(self.account), sum(first <= n <= last for n in self.entries)
        if entries != there and not self.missing():
            yield f"its account has {entries} entries up to number {last}, there are {there}"


def after(text):
    """`Audit-After`, as a cursor would say it."""
    position, rest = text.split("; ", 1)
    run, last = position.split(".")
    return {"run": run, "last": int(last)} | {name: int(value) for name, value in reader.fields(rest).items()}


def entries_of(account):
    """How many entries an account counts."""
    return account["last"] + 1 - account["first"] - account["lost"]


def may_come(run, n, cursor):
    """Whether this entry of a batch may come between the cursor and the next one."""
    state = cursor.get("state", {})
    if "open" in state:
        return run in state["open"]
    return "fence" not in state and (run != cursor["run"] or n <= cursor["last"])


class Stream:
    """What was read of a stream."""

    def __init__(self):
        self.wrong, self.runs, self.accounts, self.cursors, self.publishers, self.sequence = [], {}, [], {}, {}, 0

    def message(self, sequence, subject, headers, payload):
        assert sequence > self.sequence, "the messages are not in the order of the stream"
        self.sequence = sequence
        if "Nats-Marker-Reason" in headers:
            return
        if subject.startswith(CURSORS):
            self.cursor(subject.removeprefix(CURSORS), json.loads(payload))
        elif subject.startswith(ENTRIES) and "Audit-Id" in headers:
            self.entry(headers, payload)

    def cursor(self, publisher, cursor):
        state, before = cursor.get("state", {}), self.cursors.get(publisher)
        at, of = state.get("fence", (0, state.get("open", ())))
        if "fence" in state and before and (before["sequence"] != at or "open" not in before.get("state", {})):
            self.wrong.append(f"message {self.sequence} is the fence of message {at}, which is not the open cursor before it")
        known = self.runs.get(cursor["run"])
        if "fence" not in state and known and max(known.entries - known.alone, default=0) > cursor["last"]:
            self.wrong.append(f"run {cursor['run']}: number {known.last} comes before a cursor that ends with {cursor['last']}")
        self.publishers.update({run: publisher for run in [cursor["run"], *of]})
        self.cursors[publisher] = cursor | {"sequence": self.sequence}
        self.accounts.append(cursor)

    def entry(self, headers, payload):
        name, n = headers["Audit-Id"].split(".")
        run, n = self.runs.setdefault(name, Run()), int(n)
        self.wrong += [f"run {name}: {problem}" for problem in run.add(n, headers)]
        run.publisher = run.publisher or self.publishers.get(name)
        cursor = self.cursors.get(run.publisher)
        if cursor and "Nats-Msg-Id" not in headers and not may_come(name, n, cursor):
            self.wrong.append(f"run {name}: number {n} comes after a cursor that does not allow for it")
        if run.after and "Audit-After" in headers:
            self.accounts.append(run.after)
        if b'"entry_hash"' in payload:
            entry = json.loads(payload)
            if reader.entry_hash(entry) != entry["entry_hash"]:
                self.wrong.append(f"an entry has been edited: seq {entry['seq']}")

    def judge(self):
        """Follows the runs of each publisher, then looks for what is missing."""
        latest = {}
        for name, run in self.runs.items():
            self.wrong += [f"run {name}: {problem}" for problem in self.follow(name, run, latest.get(run.publisher))]
            latest[run.publisher] = name
        for publisher, name in latest.items():
            cursor = self.cursors.get(publisher)
            behind = cursor and "state" not in cursor and cursor["run"] in self.runs and cursor["run"] != name
            if (not cursor or behind) and self.runs[name].entries != self.runs[name].alone:
                self.wrong.append(f"run {name}: a cursor went with its entries, and there is none")
        for account in self.accounts:
            self.runs.setdefault(account["run"], Run()).heard(account)
        for name, run in self.runs.items():
            self.wrong += [f"run {name}: {problem}" for problem in run.settle()]
        for run in self.runs.values():
            self.end_of_previous(run)
        return reader.settled(self.wrong, self.runs)

    def follow(self, name, run, known):
        """Whether the run comes after the one that it should, which is `known` in the trail."""
        previous, last = (run.opening or {}).get("previous"), int((run.opening or {}).get("last", 0))
        before = run.after["run"] if run.after else known or previous
        if before in self.runs:
            is_alone = previous == known and known and self.runs[known].alone
            if before not in (known, name) and not is_alone:
                yield f"it follows {before}, not {known}"
        elif entries_of(run.after) if run.after else last:
            yield f"run {before}, which came before it, is not there"
        if previous in self.runs and previous != known:
            yield f"it says that it follows {previous}, not {known}"

    def end_of_previous(self, run):
        """What a run says of the end of the one before."""
        before, end = self.runs.get((run.opening or {}).get("previous")), int((run.opening or {}).get("last", 0))
        if before and run.after and self.runs.get(run.after["run"]) is before and not before.missing():
            before.lost.update(range(before.last + 1, end + 1))
        if before:
            before.last = max(before.last, end)


def of_stream():
    stream = Stream()
    with open(sys.argv[1]) if len(sys.argv) > 1 else sys.stdin as lines:
        for line in lines:
            message = json.loads(line)
            headers = {name: values[0] for name, values in message["headers"].items()}
            stream.message(message["sequence"], message["subject"], headers, base64.b64decode(message["payload"]))
    return stream.judge()


if __name__ == "__main__":
    reader.conclude(of_stream)
