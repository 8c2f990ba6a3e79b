"""SIGKILL right after `publish` returned: with `ring_dir` the next start delivers each entry, and none twice."""

import json
import signal
import tempfile

import pytest
import spillring
from conftest import LIMIT, RING_ONLY, lines, read_stream, run

COUNT = 20_000

PUBLISH_AND_DIE = """
    import json, os, signal, sys
    import spillring

    spill, first, count, settings = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    publisher = spillring.Publisher(spill, **settings)
    for number in range(first, first + count):
        publisher.publish("agent", {"number": number})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def ring_dir():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as ring_dir:
        yield ring_dir


def publish_and_die(spill, first, count, settings):
    run(PUBLISH_AND_DIE, spill, first, count, json.dumps(settings), expect=-signal.SIGKILL)


def test_what_was_only_in_the_ring_survives(tmp_path, ring_dir):
    publish_and_die(tmp_path / "spill", 0, COUNT, {**RING_ONLY, "ring_dir": ring_dir})
    output = tmp_path / "audit.jsonl"
    with spillring.Publisher(tmp_path / "spill", f"jsonl:{output}", ring_dir=ring_dir) as publisher:
        publisher.publish("agent", {"number": COUNT})
    assert [entry["number"] for entry in lines(output)] == list(range(COUNT + 1))


def test_kills_during_delivery_double_nothing(tmp_path, ring_dir, nats_url):
    nats = {"stream": "KILL", "subject_prefix": "kill.audit", "cursor_prefix": "kill.cursor"}
    settings = dict(sink=nats_url, nats=nats, ring_dir=ring_dir)
    for turn in range(3):
        publish_and_die(tmp_path / "spill", turn * COUNT, COUNT, settings)
    spillring.Publisher(tmp_path / "spill", **settings).close(LIMIT)
    entries = read_stream(nats_url, "KILL", "kill.audit.>")
    assert [data for _, _, data in entries] == [b'{"number":%d}' % number for number in range(3 * COUNT)]
    assert {subject for subject, _, _ in entries} == {"kill.audit.agent"}
