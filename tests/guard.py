"""Refuses each connection from a test to another machine.

It also refuses to look up the names of other machines, since that asks a name server. The Python
processes that a test starts are guarded, too: the stack, its functions, the simulated vendor, the
SAM CLI and `catwalk` (see tests/guarded/sitecustomize.py).
"""

import _socket
import contextlib
import ipaddress
import os
import sys
from pathlib import Path
from typing import Any, Final

_NAMES: Final = frozenset({"", "localhost", "ip6-localhost"})
_INTERNET: Final = frozenset({_socket.AF_INET, _socket.AF_INET6})
_FOLDER: Final = os.fspath(Path(__file__).resolve().parent / "guarded")


class Refused(BaseException):
    """A test tried to reach another machine.

    It is no Exception, so that code which handles network errors does not catch it.
    """


def install() -> None:
    """Refuse connections and look-ups from now on, in this process and in those that it starts.

    Python reports each of them to an audit hook before it happens. A hook cannot be removed.
    """
    os.environ["PYTHONPATH"] = _with_guard(os.environ.get("PYTHONPATH"))
    sys.addaudithook(_check)


def is_here(host: object) -> bool:
    """Return whether a host is a loopback name or address."""
    text = _text(host).lower().rstrip(".")
    if text in _NAMES or text.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith("socket."):
        match event.removeprefix("socket."), arguments:
            case "connect" | "sendto" | "sendmsg", (one, address):
                # Without an address, the message goes to the peer of a checked `connect`.
                if one.family in _INTERNET and address and not is_here(address[0]):
                    one.close()  # the caller does not close it after a BaseException
                    raise Refused(f"a test connects to {address[0]!r}; tests stay on loopback")
            case "getaddrinfo" | "gethostbyname" | "gethostbyaddr", (host, *_):
                if not is_here(host) and not _is_address(_text(host)):
                    raise Refused(f"a test looks up {host!r}; tests stay on loopback")
    elif event == "subprocess.Popen":
        environment = arguments[3]
        # None stands for os.environ, which `install` has changed.
        if isinstance(environment, dict):
            environment["PYTHONPATH"] = _with_guard(environment.get("PYTHONPATH"))


def _is_address(text: str) -> bool:
    """Return whether a text is an IP address, which is looked up without a name server."""
    with contextlib.suppress(OSError, UnicodeError, ValueError):
        _socket.inet_aton(text)
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(text.partition("%")[0])
        return True
    return False


def _with_guard(path: object) -> str:
    """Return a PYTHONPATH that begins with the folder of the guard's sitecustomize.py."""
    folders = [folder for folder in _text(path).split(os.pathsep) if folder]
    return os.pathsep.join([_FOLDER, *(folder for folder in folders if folder != _FOLDER)])


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    return str(value or "")
