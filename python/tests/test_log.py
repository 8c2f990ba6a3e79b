"""Spillring's own log lines, as the host's `logging` gets them."""

import logging

import spillring
from conftest import eventually, lines, run


def test_an_entry_that_the_sink_refuses_is_logged(tmp_path, caplog):
    with spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl") as publisher:
        publisher.publish("agent", b"two\nlines")

    def refusal():
        return [record for record in caplog.records if "has a line break in its bytes" in record.getMessage()]

    record = eventually(refusal)[0]
    assert (record.name, record.levelno) == ("spillring", logging.WARNING)


# The child's thread and pipe are its own, and what is logged last gets out, too, before a process ends.
LOG_AND_LEAVE = """
    import logging, os, sys, time
    import spillring

    class Slow(logging.StreamHandler):
        def emit(self, record):
            time.sleep(0.05)
            super().emit(record)

    def configure():
        logging.basicConfig(format=f"{os.getpid()} %(name)s %(message)s", handlers=[Slow()], force=True)

    def refuse(name, times):
        publisher = spillring.Publisher(f"{sys.argv[1]}/{name}", f"jsonl:{sys.argv[1]}/{name}.jsonl")
        for _ in range(times):
            publisher.publish("agent", b"two\\nlines")
        return publisher

    configure()
    refuse("first", 1).close()
    child = os.fork()
    if child == 0:
        configure()
        last = refuse("child", 3)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    last = refuse("parent", 3)
    print(os.getpid(), child)
"""


def test_each_process_logs_its_own_to_the_end(tmp_path):
    printed = run(LOG_AND_LEAVE, tmp_path).splitlines()
    pids = next(line for line in printed if "spillring" not in line).split()
    for pid, count in zip(pids, (4, 3)):
        own = [line for line in printed if line.startswith(f"{pid} spillring ") and "has a line break" in line]
        assert len(own) == count, printed


def test_the_handler_leaves_spillring_s_lines_out(tmp_path):
    with spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl") as publisher:
        handler = spillring.Handler(publisher, "agent")
        for name in ("spillring", "host"):
            handler.handle(logging.LogRecord(name, logging.ERROR, __file__, 1, "of %s", (name,), None))
    assert [entry["message"] for entry in lines(tmp_path / "audit.jsonl")] == ["of host"]
