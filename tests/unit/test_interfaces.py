"""The addresses on which a stack's servers listen."""

import socket
import sys

import pytest

from local import interfaces
from local.errors import LocalError
from local.interfaces import addresses, listen

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is loopback on Linux alone")


def test_loopback_is_always_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack always listens on loopback, too."""
    monkeypatch.setattr(interfaces, "address_of", {"docker0": "172.17.0.1"}.get)
    assert addresses("127.0.0.1") == ("127.0.0.1",)
    assert addresses("docker") == ("127.0.0.1", "172.17.0.1")
    assert addresses("192.0.2.7") == ("127.0.0.1", "192.0.2.7")


def test_everywhere_only_when_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Docker bridge, `docker` is an error; only 0.0.0.0 listens everywhere."""
    monkeypatch.setattr(interfaces, "address_of", lambda _: None)
    with pytest.raises(LocalError, match=r"no Docker bridge \(docker0\).* --host 0\.0\.0\.0"):
        addresses("docker")
    assert addresses("0.0.0.0") == ("0.0.0.0",)  # noqa: S104  it is only looked at


@LINUX
def test_an_interface_has_its_address() -> None:
    """The bridge's address is read from the system, without a command."""
    assert interfaces.address_of("lo") == "127.0.0.1"
    assert interfaces.address_of("no-such-thing") is None


@LINUX
def test_one_port_of_several_addresses() -> None:
    """A stack has the same port on all its addresses."""
    one, two = listen(("127.0.0.1", "127.0.0.2"), 0, backlog=1)
    with one, two:
        port = one.getsockname()[1]
        assert two.getsockname() == ("127.0.0.2", port)
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, port)).close()


@LINUX
def test_nothing_stays_open_where_one_fails() -> None:
    """A foreign address is an error, and the other sockets are closed."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(OSError, match="assign"):
        listen(("127.0.0.1", "192.0.2.7"), port, backlog=1)
    socket.create_server(("127.0.0.1", port)).close()
