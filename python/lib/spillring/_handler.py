import json
import logging
from datetime import datetime, timezone

from spillring._log import LOGGER
from spillring._spillring import Publisher


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class Handler(logging.Handler):
    """Publishes log records, and never blocks: without room in the ring a record is dropped and counted.

    A record becomes a line of JSON (`time`, `level`, `logger`, `message`, and `exception` if there is one), or what a
    formatter makes of it. Spillring's own log lines are left out: an entry would cause more of them. The publisher stays its
    owner's: closing the handler does not close it.
    """

    def __init__(self, publisher: Publisher, subject: str, level: "int | str" = logging.NOTSET) -> None:
        super().__init__(level)
        self.publisher = publisher
        self.subject = subject
        self.setFormatter(_JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == LOGGER.name:
            return
        try:
            self.publisher.publish(self.subject, self.format(record).encode())
        except Exception:
            self.handleError(record)
