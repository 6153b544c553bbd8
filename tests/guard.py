"""No test opens a connection to another machine: an attempt is refused here.

Names of other machines are not looked up either, since that asks a name server.
"""

import ipaddress
import socket
from typing import Any, Final

_NAMES: Final = frozenset({"", "localhost", "ip6-localhost"})


class Refused(BaseException):
    """A test tried to reach another machine.

    It is no Exception: code that handles trouble of the network must not hide it.
    """


def install() -> None:
    """Refuse connections and look-ups from now on, in this process."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    sendto, look_up = socket.socket.sendto, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *more: Any) -> int:
        _check(self, more[-1])
        return sendto(self, data, *more)

    def guarded_look_up(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if not is_here(host):
            try:
                look_up(host, port, flags=socket.AI_NUMERICHOST)
            except (OSError, UnicodeError):
                raise Refused(f"a test looks up {host!r}; tests stay on loopback") from None
        return look_up(host, port, *more, **named)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
    socket.socket.sendto = guarded_sendto  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = guarded_look_up


def is_here(host: object) -> bool:
    """Return whether a host is this machine, by loopback."""
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    text = text.lower().rstrip(".")
    if text in _NAMES or text.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _check(one: socket.socket, address: Any) -> None:
    if one.family in {socket.AF_INET, socket.AF_INET6} and not is_here(address[0]):
        one.close()  # the caller would leave it open
        raise Refused(f"a test connects to {address[0]!r}; tests stay on loopback")
