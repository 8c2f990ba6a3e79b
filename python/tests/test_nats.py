"""What a real nats-server has afterwards."""

import spillring
from conftest import LIMIT, read_stream


def test_a_stream_has_every_entry_once_and_in_order(tmp_path, nats_url):
    nats = {"stream": "ONE", "subject_prefix": "one.audit", "cursor_prefix": "one.cursor"}
    with spillring.Publisher(tmp_path / "spill", nats_url, nats=nats) as publisher:
        for number in range(5_000):
            publisher.publish("acme.agent-7", {"number": number})
        publisher.close(LIMIT)
    entries = read_stream(nats_url, "ONE", "one.audit.>")
    assert [data for _, _, data in entries] == [b'{"number":%d}' % number for number in range(5_000)]
    assert {subject for subject, _, _ in entries} == {"one.audit.acme.agent-7"}
    assert [headers["Audit-Id"].split(".")[1] for _, headers, _ in entries] == [str(n) for n in range(1, 5_001)]


def test_the_environment_names_the_servers(tmp_path, nats_url, monkeypatch):
    monkeypatch.setenv("NATS_URL", nats_url)
    nats = {"stream": "TWO", "subject_prefix": "two.audit", "cursor_prefix": "two.cursor"}
    with spillring.Publisher(tmp_path / "spill", "nats", nats=nats) as publisher:
        publisher.publish("agent", b"from the environment")
        publisher.close(LIMIT)
    assert [data for _, _, data in read_stream(nats_url, "TWO", "two.audit.>")] == [b"from the environment"]
