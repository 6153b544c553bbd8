"""The guard refuses connections to other machines."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.guard import Refused, is_here

ELSEWHERE = "192.0.2.1"
"""An address of TEST-NET-1, which no machine has."""


def connect_ex() -> None:
    with socket.socket() as one:
        one.connect_ex((ELSEWHERE, 9))


def sendto() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (ELSEWHERE, 9))


def sendmsg() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendmsg([b"x"], [], 0, (ELSEWHERE, 9))


def open_asynchronously() -> None:
    asyncio.run(asyncio.wait_for(asyncio.open_connection(ELSEWHERE, 9), 1))


@pytest.mark.parametrize(
    "leave",
    [
        lambda: socket.create_connection((ELSEWHERE, 9), timeout=1),
        lambda: httpx.get(f"http://{ELSEWHERE}:9/", timeout=1),
        lambda: socket.getaddrinfo("open.vmake.ai", 443),
        connect_ex,
        sendto,
        sendmsg,
        lambda: socket.gethostbyname("open.vmake.ai"),
        lambda: socket.gethostbyname_ex("open.vmake.ai"),
        lambda: socket.gethostbyaddr("open.vmake.ai"),
        open_asynchronously,
    ],
)
def test_no_test_leaves_this_machine(leave: Callable[[], object]) -> None:
    """A connection to another machine, or a look-up of its name, fails the test."""
    with pytest.raises(Refused, match="loopback"):
        leave()


@pytest.mark.parametrize(
    "environment",
    [None, {}, {"PATH": os.defpath, "PYTHONPATH": os.fspath(Path(__file__).parent)}],
    ids=["inherited", "empty", "its own"],
)
def test_no_process_that_a_test_starts_leaves_this_machine(
    environment: dict[str, str] | None,
) -> None:
    """Python processes that a test starts are guarded, too."""
    connect = f"import socket; socket.create_connection(({ELSEWHERE!r}, 9), timeout=1)"
    # A child of a child, as the functions are MiniStack's.
    script = (
        "import subprocess, sys;"
        f"sys.exit(subprocess.run([sys.executable, '-c', {connect!r}], env={{}}).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "tests stay on loopback" in done.stderr


def test_what_stays_here_is_let_through() -> None:
    """A datagram without an address and a look-up of an IP address are allowed."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.connect(one.getsockname())
        two.sendmsg([b"x"])
        assert one.recv(1) == b"x"
    assert socket.getaddrinfo("192.0.2.1", 80)
    assert socket.getaddrinfo("0x7f.1", 80)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("a.localhost", True),
        (None, True),
        ("0.0.0.0", False),  # noqa: S104  an address to be refused
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_what_is_this_machine(host: str | None, here: bool) -> None:
    """Only loopback addresses and names are this machine."""
    assert is_here(host) is here
