from os import PathLike
from types import TracebackType
from typing import Any, Literal, final

__all__ = [
    "ClosedError",
    "ForkedError",
    "FullError",
    "Publisher",
    "SpillringError",
    "StartError",
    "_close_all",
    "_count_fork",
    "_log_pipe",
]

class SpillringError(Exception):
    """What all errors of this package have in common, but for ValueError, TypeError and TimeoutError."""

class StartError(SpillringError):
    """The publisher did not start: its spill, ring or import cannot be used."""

class FullError(SpillringError):
    """There is no room in the ring now: the entry was not published."""

class ClosedError(SpillringError):
    """The publisher is closed."""

class ForkedError(SpillringError):
    """The publisher was made before a fork, and this is the child."""

@final
class Publisher:
    """Publishes entries from any thread, and never waits.

    A context manager that closes itself. One that is still open when the interpreter exits delivers for two seconds
    and spills the rest. Use it only in the process that made it.
    """

    def __new__(
        cls,
        spill_dir: str | PathLike[str],
        sink: str,
        *,
        nats: dict[str, Any] | None = None,
        ring_dir: str | PathLike[str] = ...,
        when_ring_unusable: Literal["fail_start", "use_memory"] = ...,
        ring_capacity: int = ...,
        ring_bytes_max: int | str = ...,
        ring_high_water: float = ...,
        pending_max: str = ...,
        poll_max: str = ...,
        batch_max: int = ...,
        entry_bytes_max: int | str = ...,
        ack_timeout: str = ...,
        backoff_min: str = ...,
        backoff_max: str = ...,
        replay_rate_max: int | None = ...,
        spill_bytes_max: int | str = ...,
        when_spill_full: Literal["refuse_new", "evict_oldest"] = ...,
        when_spill_unusable: Literal["fail_start", "start_without"] = ...,
        spill_durability: Literal["power_loss", "process_crash"] = ...,
        signing: Literal["on", "off"] = ...,
        signing_key: str | PathLike[str] | None = ...,
        checkpoint_age_max: str = ...,
    ) -> Publisher:
        """Starts a publisher that delivers to `sink` and spills into `spill_dir`.

        `sink` is `jsonl:PATH`, `nats://HOST:PORT` (more servers after commas), or `nats` for the servers of `nats` or of
        NATS_URL. For NATS, NATS_URL, NATS_TOKEN, NATS_CREDS and the other variables go before `nats`, a dict of the
        settings of [spillring.nats]. The other keywords are the settings of [spillring]; durations are strings such as
        "250ms".

        That the sink cannot be reached is no error. Raises ValueError for a setting that cannot be used, and StartError if
        the spill or the ring cannot be used.
        """

    def publish(self, subject: str, entry: bytes | dict[str, Any]) -> None:
        """Publishes bytes as they are, or a dict as compact JSON, and never waits.

        If the ring is full or the publisher closed, the entry is dropped: counted by reason, and announced in the stream at
        that place. The subject comes after the sink's prefix: tokens of [A-Za-z0-9_-], with dots between. Bytes for a
        `jsonl:` sink must be one line. What a sink does not take becomes a dead letter.

        Raises TypeError or ValueError for what is no JSON.
        """

    def try_publish(self, subject: str, entry: bytes | dict[str, Any]) -> None:
        """The same, but raises FullError or ClosedError rather than drop the entry. Never waits."""

    def flush(self, timeout: float = 10.0) -> None:
        """Waits until all that was published before is acknowledged by the sink or on disk.

        Raises TimeoutError after `timeout` seconds.
        """

    def close(self, timeout: float = 10.0) -> dict[str, Any]:
        """Delivers for at most `timeout` seconds, spills the rest, and returns the final stats.

        Raises TimeoutError if the spilling takes more than five seconds; the end goes on, and another call waits for it
        again. Closing what is closed returns the same stats.
        """

    def stats(self) -> dict[str, Any]:
        """The counts and depths: `accepted`, `delivered`, `spilled`, `lost` by reason, `state` and more."""

    def __enter__(self) -> Publisher: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

def _close_all(seconds: float) -> int: ...
def _count_fork() -> None: ...
def _log_pipe() -> tuple[int, int]: ...
