"""A publisher that nobody closes: at the exit of the interpreter, and when its last reference goes."""

import gc
import json

import pytest
import spillring
from conftest import LIMIT, RING_ONLY, lines, run

PUBLISH_AND_LEAVE = """
    import json, sys
    import spillring

    publisher = spillring.Publisher(sys.argv[1], **json.loads(sys.argv[2]))
    for number in range(1_000):
        publisher.publish("agent", {"number": number})
"""


def delivered(tmp_path):
    output = tmp_path / "audit.jsonl"
    spillring.Publisher(tmp_path / "spill", f"jsonl:{output}").close(LIMIT)
    return [entry["number"] for entry in lines(output)]


@pytest.mark.parametrize("sink", ["there", "away"])
def test_an_exit_closes(tmp_path, sink):
    settings = {"sink": f"jsonl:{tmp_path}/audit.jsonl"} if sink == "there" else RING_ONLY
    printed = run(PUBLISH_AND_LEAVE, tmp_path / "spill", json.dumps(settings))
    assert "unclosed" not in printed
    assert delivered(tmp_path) == list(range(1_000))


def test_an_exception_that_nobody_catches_is_an_exit(tmp_path):
    failing = PUBLISH_AND_LEAVE + "\n    raise SystemError('on purpose')"
    printed = run(failing, tmp_path / "spill", json.dumps(RING_ONLY), expect=1)
    assert "on purpose" in printed and "unclosed" not in printed
    assert delivered(tmp_path) == list(range(1_000))


def test_the_last_reference_spills_and_warns(tmp_path):
    publisher = spillring.Publisher(tmp_path / "spill", **RING_ONLY)
    publisher.publish("agent", {"number": 0})
    with pytest.warns(ResourceWarning, match="unclosed spillring.Publisher"):
        del publisher
        gc.collect()
    assert delivered(tmp_path) == [0]


def test_a_closed_one_goes_without_a_word(tmp_path):
    publisher = spillring.Publisher(tmp_path / "spill", **RING_ONLY)
    publisher.close(0)
    del publisher
    gc.collect()
