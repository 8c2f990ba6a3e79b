"""Hands spillring's own log lines to `logging`, as the logger `spillring`.

They come through a pipe, and a thread reads them, so that no thread of spillring's ever waits for the GIL. A child after a fork
has no such thread: with its first publisher it gets one, and a pipe of its own in the place of its parent's.
"""

import logging
import os
import threading

from spillring._spillring import _log_pipe

LOGGER = logging.getLogger("spillring")

_LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}
_END = b"\0"
_EXIT_SECONDS = 2.0

# Of this process: none before its first publisher.
_readers: "list[threading.Thread]" = []
# For good: Rust writes to it. None before the first publisher of the first process.
_writers: "list[int]" = []
# Publishers may be made by several threads at once, but by no parent's thread any more.
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _readers.clear()


def forward() -> None:
    """Forwards log lines from now on, if this process does not yet."""
    with _lock:
        if _readers:
            return
        if _writers:
            reader, writer = os.pipe()
            os.dup2(writer, _writers[0], inheritable=False)
            os.close(writer)
        else:
            reader, writer = _log_pipe()
            _writers.append(writer)
        os.set_blocking(_writers[0], False)
        _readers.append(threading.Thread(target=_read, args=[reader], name="spillring-log", daemon=True))
        _readers[0].start()


def end() -> None:
    """Hands on what is in the pipe, at the exit."""
    if not _readers:
        return
    try:
        os.write(_writers[0], _END + b"\n")
    except BlockingIOError:
        return
    _readers[0].join(_EXIT_SECONDS)


def _read(reader: int) -> None:
    rest = b""
    while True:
        *lines, rest = (rest + os.read(reader, 65_536)).split(b"\n")
        for line in lines:
            if line == _END:
                return
            level, _, text = line.decode(errors="replace").strip().partition(" ")
            LOGGER.log(_LEVELS.get(level, logging.WARNING), "%s", text)


os.register_at_fork(after_in_child=_after_fork)
