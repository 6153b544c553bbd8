"""The tests' own guard: nothing leaves this machine while they run."""

import asyncio
import socket
from collections.abc import Callable

import httpx
import pytest

from tests.guard import Refused, is_here

ELSEWHERE = "192.0.2.1"
"""TEST-NET-1: no machine has it, should the guard fail."""


def connect_ex() -> None:
    with socket.socket() as one:
        one.connect_ex((ELSEWHERE, 9))


def sendto() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (ELSEWHERE, 9))


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
        open_asynchronously,
    ],
)
def test_no_test_leaves_this_machine(leave: Callable[[], object]) -> None:
    """A connection to another machine, or a look-up of its name, fails the test that tries."""
    with pytest.raises(Refused, match="loopback"):
        leave()


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
    """Loopback is this machine, and nothing else is."""
    assert is_here(host) is here
