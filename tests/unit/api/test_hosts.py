"""Host and Origin headers are admitted by exact names, and by nothing that looks like them."""

import pytest

from allod.api.hosts import HostList, OriginList, host_of, is_loopback


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:8484", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8484", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:192.168.1.5]:80", "192.168.1.5"),
        ("", None),
        ("a b", None),
        ("user@localhost", None),
        ("localhost:port", None),
        ("localhost:8484:8484", None),
        ("::1", None),
        ("[::1", None),
        ("localhost/evil.com", None),
    ],
)
def test_the_host_of_an_authority(authority: str, host: str | None) -> None:
    """Every spelling of one host is one word; what is no authority is none."""
    assert host_of(authority) == host


@pytest.mark.parametrize(
    "authority",
    ["localhost", "localhost:1", "127.0.0.1:8484", "[::1]:8484", "box.lan", "BOX.lan:80", "10.0.0.7"],
)
def test_own_names_are_admitted_with_any_port(authority: str) -> None:
    """Loopback names, the bound host and the owner's names are this server."""
    assert HostList("10.0.0.7", ["box.lan:8484"]).admits(authority, "10.0.0.7")


@pytest.mark.parametrize(
    "authority",
    ["evil.com", "localhost.evil.com", "evillocalhost", "127.0.0.1.evil.com", "10.0.0.8", "0.0.0.0", ""],
)
def test_other_names_are_not(authority: str) -> None:
    """A rebound name is not this server, however similar."""
    assert not HostList("10.0.0.7", []).admits(authority, "10.0.0.7")


def test_on_every_interface_the_address_of_the_connection_is_ours() -> None:
    """Who listens on a wildcard is bound to whichever address the connection came to, and to no name."""
    hosts = HostList("0.0.0.0", [])
    assert hosts.admits("192.168.1.5:8484", "192.168.1.5")
    assert hosts.admits("192.168.1.5", "::ffff:192.168.1.5")
    assert not hosts.admits("192.168.1.6", "192.168.1.5")
    assert not hosts.admits("evil.com", "192.168.1.5")
    assert not HostList("127.0.0.1", []).admits("192.168.1.5", "192.168.1.5")


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [
        ("http://localhost:8484", True),
        ("https://LOCALHOST:8484", True),
        ("https://chat.example.com", True),
        ("http://localhost", False),
        ("http://localhost:3000", False),
        ("http://chat.example.com", False),
        ("https://chat.example.com.evil.com", False),
        ("https://evil.com", False),
        ("localhost:8484", False),
        ("null", False),
        ("", False),
    ],
)
def test_origins_are_own_or_named_exactly(origin: str, admitted: bool) -> None:
    """A page is trusted when it comes from this server or stands in the list."""
    assert OriginList(["https://chat.example.com/"]).admits(origin, "localhost:8484") is admitted


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("localhost.evil.com", False),
    ],
)
def test_loopback_is_what_no_other_machine_reaches(host: str, loopback: bool) -> None:
    """Wildcards and names count as open to others."""
    assert is_loopback(host) is loopback
