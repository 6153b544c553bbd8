"""Which addresses and names are public: those that lead to the same host from anywhere."""

import pytest

from shared.addresses import is_public, is_public_host


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("2a00:1450:4001:82b::200e", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("0.0.0.0", False),  # noqa: S104  an address to be refused
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("172.31.255.255", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("203.0.113.9", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b:1::127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("2002:a00:1::", False),
        ("2001:0:7f00:1::", False),
        ("2001:db8::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("192.0.0.192", False),
        ("192.0.0.9", False),
        ("192.31.196.1", False),
        ("192.52.193.1", False),
        ("192.88.99.1", False),
        ("192.175.48.1", False),
        ("198.19.255.255", False),
        ("2001:1::1", False),
        ("2001:2::1", False),
        ("2001:20::1", False),
        ("2001:1ff:ffff::1", False),
        ("2001:200::1", True),
        ("2002:808:808::1", False),
        ("2620:4f:8000::1", False),
        ("3ffe::1", False),
        ("3fff::1", False),
        ("3fff:fff:ffff::1", False),
        ("5f00::1", False),
        ("100:0:0:1::1", False),
        ("4000::1", False),
        ("::ffff:192.0.0.192", False),
        ("64:ff9b::192.88.99.1", False),
        ("192.0.1.1", True),
        ("192.88.98.1", True),
        ("172.32.0.1", True),
        ("fc00::1", False),
        ("fd12:3456::1", False),
        ("ff02::1", False),
        ("100::1", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    """Only globally reachable addresses are public, in any notation."""
    assert is_public(address) is public


@pytest.mark.parametrize(
    "address", ["", "x", "1.2.3", "1.2.3.4.5", "::g", "01.2.3.4", "1.2.3.4/8", "[::1]"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    """A text that is no address is an error: it is neither public nor private."""
    with pytest.raises(ValueError, match="does not appear to be"):
        is_public(address)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("cdn.example.com", True),
        ("CDN.Example.COM", True),
        ("cdn.example.com.", True),
        ("a_b.example.com", True),
        ("bücher.example.com", True),
        ("xn--bcher-kva.example.com", True),
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("", False),
        (".", False),
        ("printer", False),
        ("printer.", False),
        ("router.lan", False),
        ("wiki.corp", False),
        ("nas.home", False),
        ("nas.home.arpa", False),
        ("NAS.Home.Arpa.", False),
        ("1.0.0.10.in-addr.arpa", False),
        ("printer.local", False),
        ("db.internal", False),
        ("metadata.google.internal", False),
        ("x.localhost", False),
        ("x.localdomain", False),
        ("x.intranet", False),
        ("x.private", False),
        ("minio.default.svc", False),
        ("minio.default.svc.cluster.local", False),
        ("minio.default.svc.cluster", False),
        ("x.onion", False),
        ("x.test", False),
        ("x.invalid", False),
        ("127.1", False),
        ("0x7f.1", False),
        ("2130706433", False),
        ("0177.0.0.1", False),
        ("example.com.0x7f000001", False),
        ("\uff11\uff12\uff17.0.0.1", False),
        ("loc\uff0eal.lan", False),
        ("::1%eth0", False),
        ("fe80::1%25eth0", False),
        ("%41.com", False),
        ("a..example.com", False),
        (".example.com", False),
        ("localhost\\.example.com", False),
        ("example.com:80", False),
        ("h" * 64 + ".com", False),
        ("a." * 130 + "com", False),
        ("\ud800.com", False),
        ("💥", False),
    ],
)
def test_which_hosts_are_public(host: str, public: bool) -> None:
    """A name that is local to a network, or that clients read differently, is not public."""
    assert is_public_host(host) is public
