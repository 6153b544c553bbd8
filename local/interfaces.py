"""The addresses on which a stack's servers listen: loopback, the Docker bridge, or all."""

import fcntl
import socket
import struct
from typing import Final

from local.errors import LocalError

LOOPBACK: Final = "127.0.0.1"
DOCKER: Final = "docker"
"""A host name of Catwalk's: loopback and the Docker bridge, for containers of this machine."""
ALL: Final = "0.0.0.0"  # noqa: S104  only if the user asks for it
_BRIDGE: Final = "docker0"
_SIOCGIFADDR: Final = 0x8915
_NAME_BYTES: Final = 15


def addresses(host: str) -> tuple[str, ...]:
    """Return the addresses to listen on. Loopback is always covered, since commands here use it.

    Args:
        host: an address, or `DOCKER`.

    Raises:
        LocalError: `host` is `DOCKER`, and this machine has no Docker bridge.

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
    """Return the IPv4 address of a network interface, or None if it has none."""
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
        port: the port; 0 takes a free one.
        backlog: as for `socket.listen`.

    Raises:
        OSError: an address or the port cannot be used.

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
