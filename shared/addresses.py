"""Decides which addresses and host names are public: reachable from everywhere on the internet.

The networks are IANA's IPv4 and IPv6 special-purpose address registries as of 2026-11, and
multicast. They are listed here because `ipaddress.is_global` differs between patch versions of
Python.

https://www.iana.org/assignments/iana-ipv4-special-registry/
https://www.iana.org/assignments/iana-ipv6-special-registry/
"""

import contextlib
import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

_SPECIAL_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared address space of carriers
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link local; cloud metadata
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and limited broadcast
        ),
    )
)
"""The list includes networks that the registry calls globally reachable: none serves images."""
_SPECIAL_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID and others
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address inside, and no relay is left to reach it
            "2620:4f:8000::/48",  # AS112
            "3ffe::/16",  # 6bone, given back
            "3fff::/20",  # documentation
        ),
    )
)
"""The registry's other entries are outside `_UNICAST`."""
_UNICAST: Final = IPv6Network("2000::/3")
"""The part of IPv6 from which public addresses are assigned."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses in the form that IPv6-only networks use (RFC 6052)."""

_HOST: Final = re.compile(r"(?=.{1,254}$)([a-z0-9_-]+\.)+[a-z0-9-]+\.?")
"""At least two labels of letters and digits. Clients disagree about other characters
(`localhost\\.example.com`), and a resolver completes a single label from its search list."""
_NOT_PUBLIC: Final = frozenset(
    {
        # IANA's special-use domain names
        *("alt", "arpa", "internal", "invalid", "local", "localhost", "onion", "test"),
        # names that ICANN does not delegate, because networks use them
        *("corp", "home", "lan", "mail"),
        # names that clusters, routers and offices use
        *("cluster", "domain", "intranet", "localdomain", "private", "svc", "workgroup"),
    }
)
"""Last labels of names that are local to a network. `home.arpa` and `cluster.local` are among
them."""


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from everywhere on the internet.

    Raises:
        ValueError: it is no IP address.

    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _SPECIAL_V4)
    embedded = _embedded(ip)
    if embedded is not None:
        return is_public(str(embedded))
    return ip in _UNICAST and not any(ip in network for network in _SPECIAL_V6)


def is_public_host(host: str) -> bool:
    """Return whether a URL's host is a public address, or a name that may have one."""
    # A % begins the zone of an IPv6 address, or an escape that some clients decode. No name has it.
    if "%" in host:
        return False
    with contextlib.suppress(ValueError):
        return is_public(host)
    try:
        # The form that a resolver gets. It turns full-width letters and dots into plain ones.
        name = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return False
    last = name.rstrip(".").rpartition(".")[2]
    # A last label of digits is another spelling of an IPv4 address (0x7f.1, 2130706433).
    return (
        _HOST.fullmatch(name) is not None
        and last not in _NOT_PUBLIC
        and not (last.isdigit() or last.startswith("0x"))
    )


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address represents, if it does."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped
