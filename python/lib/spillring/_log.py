"""Hands spillring's own log lines to `logging`, as the logger `spillring`.

They come through a pipe, and a thread reads them, so that no thread of spillring's ever waits for the GIL. A child after a fork
has no such thread: with its first publisher it gets one, and a pipe of its own in the place of its parent's.
"""

import logging
import os
import threading
from typing import Optional

from spillring._spillring import _log_pipe

LOGGER = logging.getLogger("spillring")

_LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}
_END = b"\0\n"
_EXIT_SECONDS = 1.0


class _Pipe:
    writer: Optional[int] = None
    thread: Optional[threading.Thread] = None
    pid: Optional[int] = None


def forward() -> None:
    """Forwards log lines from now on, if this process does not yet."""
    if _Pipe.pid == os.getpid():
        return
    if _Pipe.writer is None:
        reader, _Pipe.writer = _log_pipe()
    else:
        reader, writer = os.pipe()
        os.dup2(writer, _Pipe.writer, inheritable=False)
        os.close(writer)
    os.set_blocking(_Pipe.writer, False)
    _Pipe.pid = os.getpid()
    _Pipe.thread = threading.Thread(target=_read, args=[reader], name="spillring-log", daemon=True)
    _Pipe.thread.start()


def end() -> None:
    """Hands on what is in the pipe, at the exit."""
    if _Pipe.pid != os.getpid() or _Pipe.writer is None or _Pipe.thread is None:
        return
    try:
        os.write(_Pipe.writer, _END)
    except BlockingIOError:
        return
    _Pipe.thread.join(_EXIT_SECONDS)


def _read(reader: int) -> None:
    with open(reader, "rb") as lines:
        for line in lines:
            if line == _END:
                return
            level, _, text = line.decode(errors="replace").strip().partition(" ")
            LOGGER.log(_LEVELS.get(level, logging.WARNING), "%s", text)
