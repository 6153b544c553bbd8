"""How each hostile answer must end, for each function that can get it."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from moto.server import ThreadedMotoServer

Function = Literal["finalize", "poll", "submit"]


@dataclass(frozen=True)
class Case:
    """A function that gets a hostile answer, and how the job must end."""

    function: Function
    answer: str
    """A name in `answers.ANSWERS`, or a URL of a result."""
    end: str
    """The status of the record, with the error code if PARTIAL; `waits` if the photo waits."""

    @property
    def name(self) -> str:
        """Its name in tests and tables."""
        return f"{self.function}-{self.answer}"


_OTHERS: Final[tuple[tuple[Function, str], ...]] = (
    ("poll", "RUNNING"),
    ("submit", "SUBMIT_UNKNOWN"),
)
_UNAVAILABLE: Final = "PARTIAL result_unavailable"
_INVALID: Final = "PARTIAL result_invalid"
_BLOCKED: Final = "PARTIAL result_blocked"

FUNCTION_SECONDS: Final = {"finalize": 600, "poll": 60, "submit": 150}
"""The functions' timeouts in template.yaml."""

HARMLESS: Final = (
    Case("finalize", "good", "SUCCEEDED"),
    Case("poll", "page", "RUNNING"),
    Case("submit", "page", "SUBMIT_UNKNOWN"),
)

HOSTILE: Final = (
    *(
        Case("finalize", answer, end)
        for answer, end in {
            "gzip_bomb": _INVALID,
            "nested_gzip_bomb": _INVALID,
            "unknown_encoding": _INVALID,
            "redirect_large": "SUCCEEDED",
            "redirect_drips": "SUCCEEDED",
            "redirect_loop": _UNAVAILABLE,
            "redirect_private": _BLOCKED,
            "redirect_cluster": _BLOCKED,
            "redirect_odd": _UNAVAILABLE,
            "redirect_no_url": _UNAVAILABLE,
            "silent": _UNAVAILABLE,
            "head_drips": _UNAVAILABLE,
            "head_long": _UNAVAILABLE,
            "head_many": _UNAVAILABLE,
            "informational": _UNAVAILABLE,
            "informational_fast": _UNAVAILABLE,
            "chunk_extensions": _UNAVAILABLE,
            "chunk_extension_drips": _UNAVAILABLE,
            "trailers_drip": _UNAVAILABLE,
            "body_drips": _UNAVAILABLE,
            "body_endless": "PARTIAL result_too_large",
            "body_huge": "PARTIAL result_too_large",
            "body_cut": _UNAVAILABLE,
            "page": _INVALID,
            "cookies": "SUCCEEDED",
            "no_http": _UNAVAILABLE,
            "https://xn--a.com/": _UNAVAILABLE,
            "https://\N{COLLISION SYMBOL}.com/": _UNAVAILABLE,
            "https://[::1%25eth0]/": _BLOCKED,
            "https://[::1": _UNAVAILABLE,
            "https://example.com/\ud800": _UNAVAILABLE,
            "file:///etc/passwd": _BLOCKED,
        }.items()
    ),
    *(
        Case(function, answer, end)
        for function, end in _OTHERS
        for answer in (
            *("gzip_bomb", "nested_gzip_bomb", "unknown_encoding"),
            *("redirect_large", "redirect_drips", "redirect_private", "redirect_odd"),
            *("silent", "head_drips", "head_long", "head_many"),
            *("informational", "informational_fast"),
            *("chunk_extensions", "chunk_extension_drips", "trailers_drip"),
            *("body_drips", "body_endless", "body_huge", "no_http"),
            *("deep_json", "wide_json", "wide_task"),
        )
        if (function, answer) != ("poll", "wide_task")
    ),
    Case("poll", "wide_task", "RUNNING"),
    Case("poll", "bomb_429", "RUNNING"),
    Case("submit", "bomb_429", "waits"),
)

MORE_MEBIBYTES: Final = 96
"""A hostile answer may take this much more memory than a harmless one."""


def measure(cases: Iterable[Case], *, seconds: float, parallel: int) -> dict[str, dict[str, Any]]:
    """Run cases in processes of their own; return the result of each by its name.

    Args:
        cases: the cases; the harmless ones always run, too.
        seconds: the deadline of a request; 0 keeps the functions' own deadlines.
        parallel: how many cases run at once.

    """
    names = "\n".join(json.dumps(case.name) for case in (*HARMLESS, *cases))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        done = subprocess.run(
            [sys.executable, "-m", "tests.hostile.runner", str(seconds), str(parallel)],
            input=names,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"},
        )
    finally:
        server.stop()
        assert server._server is not None
        server._server.server_close()
    found = {answer["name"]: answer for answer in map(json.loads, done.stdout.splitlines())}
    if not found:
        raise RuntimeError(f"no case was run: {done.stderr[-2000:]}")
    for case in cases:
        answer = found.get(case.name, {})
        if "mebibytes" in answer:
            harmless = next(other for other in HARMLESS if other.function == case.function)
            answer["more"] = answer["mebibytes"] - found[harmless.name]["mebibytes"]
    return found


def misses(cases: Iterable[Case], found: dict[str, dict[str, Any]]) -> list[str]:
    """Return a sentence about each case that did not end as it must."""
    wrong = []
    for case in cases:
        answer = found.get(case.name, {"raised": "it did not end"})
        if answer.get("end") != case.end:
            wrong.append(f"{case.name}: {answer.get('end') or answer['raised']}, not {case.end}")
        elif answer.get("more", 0) > MORE_MEBIBYTES:
            wrong.append(f"{case.name}: {answer['more']:.0f} MiB more than a harmless answer")
        elif answer["seconds"] > FUNCTION_SECONDS[case.function]:
            wrong.append(f"{case.name}: {answer['seconds']:.0f} s, more than the function has")
    return wrong
