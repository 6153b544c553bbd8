"""Where the servers of a stack listen."""

import socket
import sys

import pytest

from local import interfaces
from local.errors import LocalError
from local.interfaces import addresses, listen

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is loopback on Linux alone")


def test_loopback_is_always_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own commands reach the stack wherever else it listens."""
    monkeypatch.setattr(interfaces, "address_of", {"docker0": "172.17.0.1"}.get)
    assert addresses("127.0.0.1") == ("127.0.0.1",)
    assert addresses("docker") == ("127.0.0.1", "172.17.0.1")
    assert addresses("192.0.2.7") == ("127.0.0.1", "192.0.2.7")


def test_everywhere_only_when_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a Docker bridge is not opened to its network instead."""
    monkeypatch.setattr(interfaces, "address_of", lambda _: None)
    with pytest.raises(LocalError, match=r"no Docker bridge \(docker0\).* --host 0\.0\.0\.0"):
        addresses("docker")
    assert addresses("0.0.0.0") == ("0.0.0.0",)  # noqa: S104  it is only looked at


@LINUX
def test_an_interface_has_its_address() -> None:
    """The system is asked; no command is needed."""
    assert interfaces.address_of("lo") == "127.0.0.1"
    assert interfaces.address_of("no-such-thing") is None


@LINUX
def test_one_port_of_several_addresses() -> None:
    """Containers and this machine find the stack at the same port."""
    one, two = listen(("127.0.0.1", "127.0.0.2"), 0, backlog=1)
    with one, two:
        port = one.getsockname()[1]
        assert two.getsockname() == ("127.0.0.2", port)
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, port)).close()


@LINUX
def test_nothing_stays_open_where_one_fails() -> None:
    """An address that is not this machine's is an error, and the others are let go of."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(OSError, match="assign"):
        listen(("127.0.0.1", "192.0.2.7"), port, backlog=1)
    socket.create_server(("127.0.0.1", port)).close()
