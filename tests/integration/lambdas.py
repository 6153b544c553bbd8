"""Invokes the functions in processes of their own, which a test can kill or pause at any call."""

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
"""Timeout of an invocation that is still running when the test has ended."""

How = Literal["before", "after", "pause"]
"""What happens at a step: the function is killed before or after the call, or paused before it."""


@dataclass(frozen=True)
class Step:
    """A call to AWS or a request to the vendor."""

    service: str
    """Its name in IAM; `vendor` for the vendor."""
    operation: str
    """The AWS operation, or the HTTP method."""
    item: str | None
    """The key of the item in JobsTable, if the call names one."""
    versioned: bool
    """Whether the call names a version of an object."""
    callers: tuple[str, ...]
    """The functions of shared/ on the call stack, innermost first: `jobs.claim`."""

    @property
    def reads(self) -> bool:
        """Whether the call changes nothing; a receive changes nothing either."""
        return self.operation.upper().startswith(READS)

    def __str__(self) -> str:
        """Return the call and its callers."""
        return f"{self.service}:{self.operation} in {' < '.join(self.callers)}"


@dataclass(frozen=True)
class Invocation:
    """The state of an invocation."""

    steps: Sequence[Step]
    returned: Any = None
    raised: str | None = None
    exit: int | None = None
    """0, or minus the number of the signal that killed it; None while it is paused."""
    paused: int | None = None
    """The id of its process, while it is paused."""


@dataclass
class Lambdas:
    """The functions of the stack; each invocation is a process of its own."""

    endpoint_url: str
    """The URL of AWS."""
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def __enter__(self) -> Self:
        """Start the process that forks a process for each invocation."""
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
        """End that process and the paused invocations."""
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
        """Invoke a function; wait until it has ended or is paused.

        Args:
            function: the name of its folder in functions/.
            event: the event that it gets.
            environment: its environment variables, as the template sets them.
            seconds: how far its clock is ahead.
            at: the step at which it is killed or paused: a number from 0, or an operation.
            how: what happens at that step.

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
        """Let a paused invocation run to its end."""
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
            assert line, "the process of the functions has ended; its log says why"
            answer = json.loads(line)
            if "operation" in answer:
                steps.append(Step(**{**answer, "callers": tuple(answer["callers"])}))
            else:
                known |= answer
        return Invocation(steps, **known)
