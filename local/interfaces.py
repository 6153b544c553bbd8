"""Where the servers of a stack listen: for this machine, for its containers, or for everybody."""

import fcntl
import socket
import struct
from typing import Final

from local.errors import LocalError

LOOPBACK: Final = "127.0.0.1"
DOCKER: Final = "docker"
"""Says: for containers of this machine too."""
ALL: Final = "0.0.0.0"  # noqa: S104  when asked for
_BRIDGE: Final = "docker0"
_SIOCGIFADDR: Final = 0x8915
_NAME_BYTES: Final = 15


def addresses(host: str) -> tuple[str, ...]:
    """Return the addresses to listen on, loopback among them: this machine's commands use it.

    Raises:
        LocalError: the Docker bridge is meant, and there is none.

    """
    if host != DOCKER:
        return (host,) if host in {LOOPBACK, ALL} else (LOOPBACK, host)
    bridge = address_of(_BRIDGE)
    if bridge is None:
        raise LocalError(
            f"This machine has no Docker bridge ({_BRIDGE}) to listen on; start Docker."
            f" Where Docker makes none, say --host {ALL}: the whole network then reaches the stack."
        )
    return LOOPBACK, bridge


def address_of(interface: str) -> str | None:
    """Return the IPv4 address of a network interface; None where there is none."""
    request = struct.pack("256s", interface.encode()[:_NAME_BYTES])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
        except OSError:  # no such interface, no address, or no Linux
            return None
    return socket.inet_ntoa(answer[20:24])


def listen(hosts: tuple[str, ...], port: int, *, backlog: int) -> list[socket.socket]:
    """Listen on one port of several addresses.

    Args:
        hosts: the addresses.
        port: 0 is one that is free.
        backlog: as for `socket.listen`.

    Raises:
        OSError: one of them cannot be used.

    """
    made: list[socket.socket] = []
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made.append(socket.create_server((host, port), family=family, backlog=backlog))
            port = made[0].getsockname()[1]
    except BaseException:
        for listener in made:
            listener.close()
        raise
    return made
