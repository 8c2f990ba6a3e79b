"""`Handler` as hosts set it up: by `logging.config.dictConfig`."""

import logging
import logging.config

import pytest
import spillring
from conftest import lines


@pytest.fixture
def audit(tmp_path):
    """A publisher with a logger before it; `audit.entries()` closes it, and reads what it has delivered."""
    publisher = spillring.Publisher(tmp_path / "spill", f"jsonl:{tmp_path}/audit.jsonl")

    class Audit:
        log = logging.getLogger("test.audit")

        @staticmethod
        def configure(**handler):
            audit = {"()": "spillring.Handler", "publisher": publisher, "subject": "acme.log", **handler}
            logging.config.dictConfig({
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"plain": {"format": '"%(levelname)s %(message)s"'}},
                "handlers": {"audit": audit},
                "loggers": {"test.audit": {"handlers": ["audit"], "level": "INFO", "propagate": False}},
            })

        @staticmethod
        def entries():
            publisher.close()
            return lines(tmp_path / "audit.jsonl")

    yield Audit
    publisher.close()
    Audit.log.handlers.clear()


def test_records_become_json(audit):
    audit.configure()
    audit.log.debug("below the level")
    audit.log.info("tool %s ran\nwell: %s", "bash", "ü")
    try:
        raise LookupError("on purpose")
    except LookupError:
        audit.log.exception("it failed")
    first, second = audit.entries()
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "INFO", "logger": "test.audit", "message": "tool bash ran\nwell: ü"}
    assert second["exception"].endswith("LookupError: on purpose")


def test_a_formatter_and_a_level_are_the_host_s(audit):
    audit.configure(formatter="plain", level="WARNING")
    audit.log.info("below the handler's level")
    audit.log.warning("hot")
    assert audit.entries() == ["WARNING hot"]


def test_a_bad_record_stops_nothing(audit, capsys):
    audit.configure()
    audit.log.info("%d", "no number")
    audit.log.info("%s", "\ud800")
    audit.log.info("good")
    reported = capsys.readouterr().err
    assert reported.count("--- Logging error ---") == 2
    assert "%d format" in reported and "surrogates not allowed" in reported
    assert [entry["message"] for entry in audit.entries()] == ["good"]


def test_records_after_the_end_are_counted(audit):
    audit.configure()
    assert audit.log.handlers[0].publisher.close()["accepted"] == 0
    audit.log.info("late")
    assert audit.log.handlers[0].publisher.stats()["lost"]["already_shutdown"] == 1
