"""Checks the address that the API key is sent to."""

from ipaddress import IPv4Network, ip_address
from typing import Final

import httpx

from shared.errors import ConfigurationError

_THIS_MACHINE: Final = frozenset({"localhost", "host.docker.internal"})
"""Names of the machine itself. A container calls its machine by the second one."""
_DOCKER_BRIDGE: Final = IPv4Network("172.17.0.0/16")
"""Docker's default network between a machine and its containers."""


def check_base_url(url: str) -> None:
    """Check that `VmakeBaseUrl` can be used and that requests to it do not expose the API key.

    Raises:
        ConfigurationError: it is no http(s) URL, has a user name, or is http to another machine.

    """
    try:
        parsed = httpx.URL(url)
    except Exception as error:
        # httpx and idna raise errors of many types for a text that is no URL.
        raise ConfigurationError(f"VmakeBaseUrl {url!r} is no URL: {error}. Correct it.") from error
    host = parsed.raw_host.decode("ascii")
    if parsed.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"VmakeBaseUrl {url!r} is no http(s) URL; correct it.")
    if parsed.userinfo:
        raise ConfigurationError("VmakeBaseUrl has a user name; give a URL without one.")
    if parsed.scheme == "http" and not _is_this_machine(host):
        raise ConfigurationError(
            f"VmakeBaseUrl {url!r} would send the API key in clear; use https. http is for a vendor"
            " on this machine (localhost, 127.0.0.1, host.docker.internal)."
        )


def _is_this_machine(host: str) -> bool:
    if host in _THIS_MACHINE:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address in _DOCKER_BRIDGE
