"""Transfers between this machine and S3: several run in the background, and all stop at Ctrl-C."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Final, Self, TypeVar

from cli.terminal.output import tell

T = TypeVar("T")
_AT_ONCE: Final = 4
"""Parallel transfers; more do not help on a usual connection."""
_GRACE_SECONDS: Final = 1.0
"""A running transfer notices within this time that it must stop."""


class StoppedError(Exception):
    """The transfer must end because the person pressed Ctrl-C."""


class Transfers:
    """Runs transfers; as a context manager, it leaves none running."""

    def __init__(self, one: str) -> None:
        """Name one of the transfers, for a message: `An upload`."""
        self._one = one
        self._stop = threading.Event()
        """A transfer that finds it set raises `StoppedError`."""
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._futures: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the running transfers."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        # `wait` treats a future that was cancelled before its start as not done.
        begun = [future for future in self._futures if not future.cancelled()]
        if wait(begun, timeout=_GRACE_SECONDS).not_done:
            tell(
                f"Stopping. {self._one} that hangs ends within a minute; press Ctrl-C again to end"
                " at once."
            )
        self._pool.shutdown()

    def ended(self, seconds: float) -> bool:
        """Wait at most this long for the transfers; return whether all have ended.

        Raises:
            Exception: an unexpected error of a transfer.

        """
        done, not_done = wait(self._futures, timeout=seconds, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return not not_done

    def _start(self, transfer: Callable[[T], None], items: Iterable[T]) -> None:
        """Start a transfer of each item in the background."""
        self._futures = [self._pool.submit(transfer, item) for item in items]
