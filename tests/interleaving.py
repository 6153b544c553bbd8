"""Invocations on strings: real product code that moves only when told, one call at a time.

Each invocation runs in a thread of its own and stops before every call to AWS or the vendor.
Whoever holds the strings decides which of them makes its call next, and whether it lives to see
the answer. The calls themselves are made in the puppeteer's thread, so nothing here happens at
once, and the same pulls give the same run.
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
"""An invocation that neither calls nor ends for so long hangs: a bug of the test's own."""


class Killed(BaseException):
    """The invocation ends here, as if the machine had lost its power."""


class Pull(Enum):
    """What becomes of the call that an invocation stands before."""

    GO = auto()
    """It is made and answered."""
    DIE_BEFORE = auto()
    """The invocation dies, and the call was never made."""
    DIE_AFTER = auto()
    """The call has its effect, and the invocation dies before the answer comes."""
    FAIL_BEFORE = auto()
    """AWS is in trouble: the call raises, without an effect."""
    FAIL_AFTER = auto()
    """As above, but it has had its effect."""
    ASK_AGAIN = auto()
    """It has its effect and the answer is lost: botocore will make the very call again."""


FATAL: Final = frozenset({Pull.DIE_BEFORE, Pull.DIE_AFTER})


@dataclass(eq=False)
class Invocation:
    """One invocation of product code, or one person's command, in a thread that waits."""

    name: str
    work: Callable[[], Any]
    done: Callable[["Invocation"], None] = lambda _: None
    """Told of its end, in the puppeteer's thread."""
    deadline: datetime | None = None
    """When Lambda ends it; None is a person's, who has time."""
    answer: str = ""
    """What the vendor says to it."""

    at: str = ""
    """The call it stands before; empty once it has ended."""
    value: Any = None
    error: BaseException | None = None
    troubled: bool = False
    """Whether AWS let it down."""
    claimed: tuple[int, str] | None = None
    """The attempt and lease that it wrote SUBMITTING with."""
    accepted: tuple[int, str] | None = None
    """The attempt and task id that the vendor told it of."""
    late: bool = False
    """Whether it went on after its time was over."""
    _dead: bool = False
    _effect: Callable[[], Any] | None = None
    _reply: Callable[[], Any] = lambda: None
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> Self:
        """Go as far as the first call."""
        self._thread.start()
        self._wait()
        return self

    @property
    def live(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self.at)

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside."""
        return isinstance(self.error, Killed)

    def pull(self, how: Pull = Pull.GO) -> None:
        """Decide about the call that it stands before, and let it go on to the next."""
        effect = self._effect
        assert effect is not None, f"{self.name} has ended"
        of_aws = not self.at.startswith("vendor")
        # The vendor's own faults are its answers; S3's bodies are streams, which are read once.
        if how not in {Pull.GO, *FATAL} and (not of_aws or self.at.startswith("s3")):
            how = Pull.GO
        self._dead = how in FATAL
        self.troubled |= how is not Pull.GO and how not in FATAL
        match how:
            case Pull.GO:
                self._reply = _made(effect)
            case Pull.DIE_BEFORE:
                self._reply = _raising(Killed())
            case Pull.DIE_AFTER:
                _made(effect)
                self._reply = _raising(Killed())
            case Pull.FAIL_BEFORE:
                self._reply = _raising(ReadTimeoutError(endpoint_url=self.at))
            case Pull.FAIL_AFTER:
                _made(effect)
                self._reply = _raising(ReadTimeoutError(endpoint_url=self.at))
            case Pull.ASK_AGAIN:
                _made(effect)
                return
        self._go.release()
        self._wait()

    def finish(self) -> None:
        """Make all its calls."""
        while self.live:
            self.pull()

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
        # What ends an invocation is for the puppeteer to look at.
        except BaseException as error:  # noqa: BLE001  as above
            self.error = error
        self._effect = None
        self._arrived.release()

    def call(self, at: str, effect: Callable[[], Any]) -> Any:
        """Stop before a call until its string is pulled."""
        if self._dead:
            raise Killed
        self.at, self._effect = at, effect
        self._arrived.release()
        self._go.acquire()
        return self._reply()


class _Here(threading.local):
    """Which invocation this thread belongs to."""

    invocation: Invocation | None = None


_here = _Here()


def invocation_here() -> Invocation | None:
    """Return the invocation whose code runs in this thread, if there is one."""
    return _here.invocation


class AtOnce:
    """A ThreadPoolExecutor that does all work where it is submitted."""

    def __init__(self, _workers: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Do it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        # Handed over to whoever asks for the result, as a pool does.
        except Exception as error:  # noqa: BLE001  as above
            future.set_exception(error)
        return future


def _made(effect: Callable[[], Any]) -> Callable[[], Any]:
    """Make a call and return what gives its answer; a failed check of the test's own is raised."""
    try:
        value = effect()
    except AssertionError:
        raise
    # The invocation's to handle.
    except Exception as error:  # noqa: BLE001  as above
        return _raising(error)
    return lambda: value


def _raising(error: BaseException) -> Callable[[], Any]:
    def raises() -> Any:
        raise error

    return raises
