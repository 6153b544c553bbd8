"""Runs invocations of product code in any order, one call at a time.

Each invocation runs in its own thread and stops before each call to AWS or the vendor. The test
chooses which invocation makes its next call, and whether it survives the call. The test's thread
makes the calls, so no two calls happen at once, and the same choices give the same run.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, Self

from botocore.exceptions import ReadTimeoutError

STUCK_SECONDS: Final = 60.0
"""An invocation that neither makes a call nor ends within this time hangs; the test has a bug."""


class Killed(BaseException):
    """Ends an invocation, as if its machine had lost power."""


class Fate(Enum):
    """What happens to the next call of an invocation."""

    GO = auto()
    """The call is made and answered."""
    DIE_BEFORE = auto()
    """The invocation dies before the call is made."""
    DIE_AFTER = auto()
    """The call is made, and the invocation dies before it gets the answer."""
    FAIL_BEFORE = auto()
    """The call raises an error and has no effect."""
    FAIL_AFTER = auto()
    """The call raises an error but has its effect."""
    ASK_AGAIN = auto()
    """The call has its effect and its answer is lost, so botocore makes the same call again."""


FATAL: Final = frozenset({Fate.DIE_BEFORE, Fate.DIE_AFTER})


@dataclass(eq=False)
class Invocation:
    """An invocation of a function, or a person's command, in its own thread."""

    name: str
    work: Callable[[], Any]
    done: Callable[["Invocation"], None] = lambda _: None
    """Called in the test's thread when it has ended."""
    deadline: datetime | None = None
    """When Lambda ends it; None for a person's command."""
    answer: str = ""
    """The vendor's answer to its create request."""

    at: str = ""
    """Its next call; empty once it has ended."""
    value: Any = None
    error: BaseException | None = None
    troubled: bool = False
    """Whether one of its calls to AWS failed."""
    claimed: tuple[int, str] | None = None
    """The attempt and lease that it wrote SUBMITTING with."""
    accepted: tuple[int, str] | None = None
    """The attempt and the task id that the vendor answered."""
    late: bool = False
    """Whether it made a call after its deadline."""
    _dead: bool = False
    _effect: Callable[[], Any] | None = None
    _reply: Callable[[], Any] = lambda: None
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> Self:
        """Run until its first call."""
        self._thread.start()
        self._wait()
        return self

    @property
    def live(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self.at)

    @property
    def killed(self) -> bool:
        """Whether the test killed it."""
        return isinstance(self.error, Killed)

    def step(self, how: Fate = Fate.GO) -> None:
        """Decide about its next call, and run until the call after that."""
        effect = self._effect
        assert effect is not None, f"{self.name} has ended"
        of_aws = not self.at.startswith("vendor")
        # The vendor's faults are in its answers, and a body from S3 can be read only once.
        if how not in {Fate.GO, *FATAL} and (not of_aws or self.at.startswith("s3")):
            how = Fate.GO
        self._dead = how in FATAL
        self.troubled |= how is not Fate.GO and how not in FATAL
        match how:
            case Fate.GO:
                self._reply = _made(effect)
            case Fate.DIE_BEFORE:
                self._reply = _raising(Killed())
            case Fate.DIE_AFTER:
                _made(effect)
                self._reply = _raising(Killed())
            case Fate.FAIL_BEFORE:
                self._reply = _raising(ReadTimeoutError(endpoint_url=self.at))
            case Fate.FAIL_AFTER:
                _made(effect)
                self._reply = _raising(ReadTimeoutError(endpoint_url=self.at))
            case Fate.ASK_AGAIN:
                _made(effect)
                return
        self._go.release()
        self._wait()

    def finish(self) -> None:
        """Make all its calls."""
        while self.live:
            self.step()

    def _wait(self) -> None:
        assert self._arrived.acquire(timeout=STUCK_SECONDS), f"{self.name} hangs after {self.at}"
        if self._effect is None:
            self.at = ""
            self._thread.join()
            self.done(self)

    # --- in the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        _here.invocation = self
        try:
            self.value = self.work()
        # The test looks at the error.
        except BaseException as error:  # noqa: BLE001  the test looks at every error
            self.error = error
        self._effect = None
        self._arrived.release()

    def call(self, at: str, effect: Callable[[], Any]) -> Any:
        """Wait before a call until the test decides about it; called in the invocation's thread."""
        if self._dead:
            raise Killed
        self.at, self._effect = at, effect
        self._arrived.release()
        self._go.acquire()
        return self._reply()


class _Here(threading.local):
    """The invocation of a thread."""

    invocation: Invocation | None = None


_here = _Here()


def invocation_here() -> Invocation | None:
    """Return the invocation of this thread, or None."""
    return _here.invocation


class AtOnce:
    """A ThreadPoolExecutor that runs each task in the thread that submits it."""

    def __init__(self, _workers: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run the task now."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        # As in a pool, `result` raises it.
        except Exception as error:  # noqa: BLE001  `result` raises it
            future.set_exception(error)
        return future


def _made(effect: Callable[[], Any]) -> Callable[[], Any]:
    """Make a call; return a function that returns its answer or raises its error."""
    try:
        value = effect()
    except AssertionError:
        raise
    # The invocation handles it.
    except Exception as error:  # noqa: BLE001  the invocation handles it
        return _raising(error)
    return lambda: value


def _raising(error: BaseException) -> Callable[[], Any]:
    def raises() -> Any:
        raise error

    return raises
