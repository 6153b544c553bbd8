"""Invokes the functions as Lambda does: each time in a process that can be killed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

SCRIPT: Final = Path(__file__).with_name("lambda_process.py")
READS: Final = ("GET", "HEAD", "LIST", "QUERY", "DESCRIBE", "RECEIVE")
END_SECONDS: Final = 30
"""So long may the last invocation take when nobody waits for it any more."""

How = Literal["before", "after", "pause"]
"""What happens at a step: killed before it is made, or after it; or stopped before it, for a
while."""


@dataclass(frozen=True)
class Step:
    """A call to AWS or a request to the vendor."""

    service: str
    """As IAM names it; `vendor` for the vendor."""
    operation: str
    """As AWS names it, or the HTTP method."""
    item: str | None
    """The key of the item in JobsTable, if it is about one."""
    versioned: bool
    """Whether a certain version of an object is asked for."""
    callers: tuple[str, ...]
    """The functions of shared/ that led to it, the innermost first: `jobs.claim`."""

    @property
    def reads(self) -> bool:
        """Whether it changes nothing; a message that was received comes again."""
        return self.operation.upper().startswith(READS)

    def __str__(self) -> str:
        """Say what it is, in short."""
        return f"{self.service}:{self.operation} in {' < '.join(self.callers)}"


@dataclass(frozen=True)
class Invocation:
    """What became of an invocation, so far."""

    steps: Sequence[Step]
    returned: Any = None
    raised: str | None = None
    exit: int | None = None
    """0, or the negative number of the signal that ended it; None while it is paused."""
    paused: int | None = None
    """The process that waits to be resumed."""


@dataclass
class Lambdas:
    """All functions of the stack, in processes of their own."""

    endpoint_url: str
    """Where AWS is."""
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def __enter__(self) -> Self:
        """Start the process that all invocations are forks of."""
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "AWS_ENDPOINT_URL": self.endpoint_url},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, and with it what is still paused."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def invoke(
        self,
        function: str,
        event: Mapping[str, Any],
        environment: Mapping[str, str],
        *,
        seconds: float,
        at: int | str | None = None,
        how: How = "before",
    ) -> Invocation:
        """Invoke a function, and wait for its end or its pause.

        Args:
            function: its folder's name in functions/.
            event: what it is given.
            environment: what the template would tell it.
            seconds: how far its clock is ahead.
            at: the step at which something happens: its number, from 0, or its operation.
            how: what happens there.

        """
        return self._ask(
            {
                "invoke": function,
                "event": event,
                "environment": environment,
                "seconds": seconds,
                "at": at,
                "how": how,
            }
        )

    def resume(self, paused: Invocation) -> Invocation:
        """Let a paused invocation go on to its end."""
        return self._ask({"resume": paused.paused})

    def _ask(self, request: Mapping[str, Any]) -> Invocation:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        steps: list[Step] = []
        known: dict[str, Any] = {}
        while not {"exit", "paused"} & known.keys():
            line = self._process.stdout.readline()
            assert line, "the process of the functions has ended; what it logged says why"
            answer = json.loads(line)
            if "operation" in answer:
                steps.append(Step(**{**answer, "callers": tuple(answer["callers"])}))
            else:
                known |= answer
        return Invocation(steps, **known)
