"""What each method promises, with a real file as the sink."""

import os
import signal
import threading
import time

import pytest
import spillring
from conftest import LIMIT, RING_ONLY, lines

NEITHER_SINK_NOR_DISK = {**RING_ONLY, "when_spill_unusable": "start_without"}


@pytest.fixture
def stuck(tmp_path):
    """A publisher that can put an entry nowhere: no flush of it comes to an end."""
    (tmp_path / "file").touch()
    publisher = spillring.Publisher(tmp_path / "file" / "spill", **NEITHER_SINK_NOR_DISK)
    publisher.publish("agent", b"1")
    yield publisher
    publisher.close(0)


def test_entries_reach_the_file_as_they_are_and_in_order(tmp_path):
    output = tmp_path / "audit.jsonl"
    with spillring.Publisher(tmp_path / "spill", f"jsonl:{output}") as publisher:
        publisher.publish("acme.agent-7", b'{"raw":  true}')
        publisher.publish("acme.agent-7", {"tool": "bäsh", "nested": {"list": [1, 2.5, None]}, "text": "two\nlines"})
        publisher.try_publish("acme.agent-7", b"last")
        publisher.flush()
    assert output.read_bytes().decode() == (
        '{"raw":  true}\n{"tool":"bäsh","nested":{"list":[1,2.5,null]},"text":"two\\nlines"}\nlast\n'
    )


def test_many_threads_publish_and_the_account_adds_up(tmp_path):
    output = tmp_path / "audit.jsonl"
    publisher = spillring.Publisher(str(tmp_path / "spill"), f"jsonl:{output}")

    def work(thread):
        for number in range(5_000):
            publisher.publish("agent", {"thread": thread, "number": number})

    threads = [threading.Thread(target=work, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account = publisher.close(LIMIT)
    assert (account["accepted"], account["delivered"], account["state"]) == (20_000, 20_000, "stopped")
    assert sum(account["lost"].values()) == 0
    for thread in range(4):
        assert [entry["number"] for entry in lines(output) if entry["thread"] == thread] == list(range(5_000))


@pytest.mark.parametrize(
    ("subject", "entry", "error", "words"),
    [
        ("agent", "text", TypeError, "must be bytes or a dict, not str"),
        ("agent", {"at": object()}, TypeError, "object is not JSON serializable"),
        ("agent", {"ratio": float("nan")}, ValueError, "not JSON compliant"),
        ("agent", {"half": "\ud800"}, ValueError, "surrogates not allowed"),
        (7, b"", TypeError, "subject"),
    ],
)
def test_what_cannot_be_an_entry_is_an_error(tmp_path, subject, entry, error, words):
    with spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl") as publisher:
        for publish in (publisher.publish, publisher.try_publish):
            with pytest.raises(error, match=words):
                publish(subject, entry)
        assert publisher.stats()["accepted"] == 0


def test_without_room_publish_counts_and_try_publish_raises(tmp_path):
    (tmp_path / "file").touch()
    publisher = spillring.Publisher(tmp_path / "file" / "spill", **NEITHER_SINK_NOR_DISK, ring_capacity=2, batch_max=1)
    attempts = 0
    with pytest.raises(spillring.FullError):
        while True:
            attempts += 1
            publisher.try_publish("agent", b"1")
    while not publisher.stats()["lost"]["queue_full"]:
        attempts += 1
        publisher.publish("agent", b"1")
    stats = publisher.close(0)
    assert stats["returned"] == 1
    assert stats["accepted"] + stats["lost"]["queue_full"] + stats["returned"] == attempts


def test_a_closed_publisher_takes_nothing(tmp_path):
    publisher = spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl")
    publisher.publish("agent", b"1")
    account = publisher.close()
    assert publisher.close() == account
    publisher.publish("agent", b"2")
    for late in (lambda: publisher.try_publish("agent", b"3"), publisher.flush):
        with pytest.raises(spillring.ClosedError):
            late()
    stats = publisher.stats()
    assert (stats["accepted"], stats["lost"]["already_shutdown"], stats["returned"]) == (1, 1, 1)


def test_a_flush_that_cannot_be_is_a_timeout(stuck):
    with pytest.raises(TimeoutError):
        stuck.flush(0.01)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            stuck.flush(wrong)


def test_other_threads_run_while_one_waits(stuck):
    outcome = []

    def flush():
        try:
            stuck.flush(LIMIT)
        except Exception as error:
            outcome.append(type(error))

    waiting = threading.Thread(target=flush)
    waiting.start()
    # By then it waits. If it kept the GIL, the sleep would return only once the flush has timed out.
    time.sleep(0.2)
    account = stuck.close(0)
    waiting.join()
    assert account["in_memory"] + account["in_ring"] == 1
    assert outcome == [spillring.ClosedError]


def test_a_signal_ends_a_wait(stuck):
    def interrupt(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
        timer.start()
        with pytest.raises(InterruptedError):
            stuck.flush(LIMIT)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(ring_size=5), "unknown field `ring_size`"),
        (dict(pending_max=5), "pending_max: invalid type"),
        (dict(ring_capacity=1), "`ring_capacity` must be from 2"),
        (dict(when_spill_full="explode"), "when_spill_full: unknown variant `explode`"),
        (dict(sink="jsonl:"), "no sink `jsonl`"),
        (dict(sink="redis://user:hunter2@host"), "no sink `redis`: "),
        (dict(nats={"stream": "X"}), "sink of NATS only"),
        (dict(sink="nats", nats={"steam": "X"}), "unknown field `steam`"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words) as raised:
        spillring.Publisher(tmp_path / "spill", **{"sink": f"jsonl:{tmp_path}/audit.jsonl", **settings})
    assert "hunter2" not in str(raised.value)


def test_one_publisher_a_directory(tmp_path):
    with spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl"):
        with pytest.raises(spillring.StartError, match="in use"):
            spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl")
