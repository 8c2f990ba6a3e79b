"""Publish audit entries from any thread without waiting; NATS JetStream or a file gets each of them once and in order."""

import atexit
import os

from spillring import _log
from spillring._handler import Handler
from spillring._spillring import (
    ClosedError,
    ForkedError,
    FullError,
    Publisher,
    SpillringError,
    StartError,
    _close_all,
    _count_fork,
)

__all__ = ["ClosedError", "ForkedError", "FullError", "Handler", "Publisher", "SpillringError", "StartError"]

_EXIT_SECONDS = 2.0


def _close_at_exit() -> None:
    """Delivers for a few seconds what publishers that nobody closed still have, and spills the rest."""
    unfinished = _close_all(_EXIT_SECONDS)
    if unfinished:
        _log.LOGGER.error("%d publishers did not come to their end before the exit", unfinished)
    _log.end()


os.register_at_fork(after_in_child=_count_fork)
atexit.register(_close_at_exit)
