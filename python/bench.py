"""What a call costs, beside `logging.handlers.QueueHandler` and its queues. After `python/test`, from anywhere:

    target/python-venv/bin/python python/bench.py

A round measures a batch of calls of each kind, one after the other, so that whatever slows the machine slows them all. Between
batches, outside of what is measured, publishers are flushed and queues emptied: neither a full ring nor a consumer that wants
the GIL is measured. Printed are the 50th percentile over the batches and the spread from the 10th to the 90th, in ns a call;
a difference is taken round by round.
"""

import gc
import json
import logging
import logging.handlers
import queue
import statistics
import tempfile
import time

import spillring

ROUNDS, CALLS = 200, 5_000
SUBJECT = "acme.agent-7"
ENTRY = {
    "seq": 123456789,
    "agent_id": "0191f3c2-7d5e-7c3a-9b1f-2a4c6e8f0b1d",
    "event": "tool_call_intercepted",
    "tool": "bash",
    "arguments": ["ls", "-l", "/var/lib/agent"],
    "allowed": True,
    "latency_us": 218,
    "reason": "the policy `read-only` lets it through, and nobody has asked for more than that until now",
}

DIFFERENCES = {
    "publish(dict)": "JSONEncoder.encode(dict)",
    "record to spillring.Handler": "making a LogRecord",
    "record to QueueHandler(SimpleQueue)": "making a LogRecord",
    "record to QueueHandler(Queue)": "making a LogRecord",
}


def encode():
    return json.dumps(ENTRY, separators=(",", ":"), ensure_ascii=False).encode()


# `json.dumps` makes an encoder at each call that has options.
encode_once = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
BYTES = encode()


def batch(call, *arguments):
    """ns a call; the loop itself included."""
    calls = range(CALLS)
    start = time.perf_counter_ns()
    for _ in calls:
        call(*arguments)
    return (time.perf_counter_ns() - start) / CALLS


def empty_loop(call, *arguments):
    calls = range(CALLS)
    start = time.perf_counter_ns()
    for _ in calls:
        pass
    return (time.perf_counter_ns() - start) / CALLS


def record():
    return logging.LogRecord("agent", logging.INFO, __file__, 1, "tool %s allowed", ("bash",), None)


def main():
    folder = tempfile.TemporaryDirectory()
    shared = tempfile.TemporaryDirectory(dir="/dev/shm")
    memory = spillring.Publisher(f"{folder.name}/memory", f"jsonl:{folder.name}/memory.jsonl")
    ring_file = spillring.Publisher(f"{folder.name}/file", f"jsonl:{folder.name}/file.jsonl", ring_dir=shared.name)
    simple, full = queue.SimpleQueue(), queue.Queue()
    ours = spillring.Handler(memory, SUBJECT)
    ours.setFormatter(logging.Formatter("%(message)s"))
    simple_handler, full_handler = (logging.handlers.QueueHandler(each) for each in (simple, full))

    def nothing(subject, entry):
        pass

    kinds = {
        "an empty loop": (empty_loop, nothing),
        "a Python function that does nothing": (batch, nothing, SUBJECT, BYTES),
        "publish(bytes)": (batch, memory.publish, SUBJECT, BYTES),
        "publish(bytes), ring_dir on a tmpfs": (batch, ring_file.publish, SUBJECT, BYTES),
        "try_publish(bytes)": (batch, memory.try_publish, SUBJECT, BYTES),
        "SimpleQueue.put_nowait(bytes)": (batch, simple.put_nowait, BYTES),
        "Queue.put_nowait(bytes)": (batch, full.put_nowait, BYTES),
        "json.dumps(dict).encode()": (batch, encode),
        "JSONEncoder.encode(dict)": (batch, encode_once, ENTRY),
        "publish(dict)": (batch, memory.publish, SUBJECT, ENTRY),
        "making a LogRecord": (batch, record),
        "record to spillring.Handler": (batch, lambda: ours.emit(record())),
        "record to QueueHandler(SimpleQueue)": (batch, lambda: simple_handler.emit(record())),
        "record to QueueHandler(Queue)": (batch, lambda: full_handler.emit(record())),
    }
    found = {name: [] for name in kinds}
    gc.disable()
    for _ in range(ROUNDS):
        for name, (measure, *call) in kinds.items():
            found[name].append(measure(*call))
            for publisher in (memory, ring_file):
                publisher.flush()
            for each in (simple, full):
                while not each.empty():
                    each.get_nowait()
    for publisher in (memory, ring_file):
        assert sum(publisher.close(60)["lost"].values()) == 0

    print(f"ns a call over {ROUNDS} batches of {CALLS} calls; an entry of {len(BYTES)} bytes")
    print(f"{'':58}{'p50':>8}{'p10':>8}{'p90':>8}")
    for name, batches in found.items():
        row(name, batches)
    print()
    for name, less in DIFFERENCES.items():
        row(f"{name} - {less}", [one - other for one, other in zip(found[name], found[less])])


def row(name, batches):
    tenths = statistics.quantiles(batches, n=10)
    print(f"{name:58}{statistics.median(batches):8.0f}{tenths[0]:8.0f}{tenths[8]:8.0f}")


if __name__ == "__main__":
    main()
