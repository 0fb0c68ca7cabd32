"""Names and addresses in Host and Origin headers, and which of them this server answers to."""

import ipaddress
import re
from collections.abc import Sequence

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)]|(?P<name>[^\[\]:/@\s]+))(?::\d{1,5})?")


def host_of(authority: str) -> str | None:
    """The host of `host`, `host:port` or `[v6]:port` in one spelling; None when it is none of these."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    return canonical(match["six"] or match["name"])


def canonical(host: str) -> str:
    """One spelling of a name or address: lower case, no final dot, no brackets, no IPv6 disguise."""
    bare = host.strip("[]").lower().rstrip(".")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return bare
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there; a name counts only if it must."""
    name = canonical(host)
    if name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether this address means every interface."""
    return canonical(host) in ("", "0.0.0.0", "::")


class HostList:
    """The Host headers this server answers to, whatever the port.

    A page of another site can make its own name resolve to this machine (DNS rebinding); the Host
    header then carries that name, and stands in no list.
    """

    def __init__(self, bound: str, more: Sequence[str]) -> None:
        self._names = (
            LOOPBACK_NAMES | {canonical(bound)} | {host_of(name) or canonical(name) for name in more}
        )
        self._wildcard = is_wildcard(bound)

    def admits(self, authority: str, arrived_at: str | None) -> bool:
        """Whether a Host header is one of ours.

        Args:
            authority: the header's value.
            arrived_at: the address of ours that the connection came to. Who listens on every
                interface is bound to whichever that is.
        """
        host = host_of(authority)
        if host is None:
            return False
        return host in self._names or (
            self._wildcard and arrived_at is not None and host == canonical(arrived_at)
        )


class OriginList:
    """The web origins whose pages may call this server: its own, and those the owner named."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def admits(self, origin: str, authority: str) -> bool:
        """Whether a page of this origin may call a server that the request calls `authority`.

        The scheme is left out of the comparison: behind a proxy that ends TLS, the page's is https
        and ours is http.
        """
        _, separator, own = origin.lower().partition("://")
        return bool(separator) and (own == authority.lower() or origin.lower() in self._origins)
