"""Which network addresses belong to the public internet."""

import ipaddress

_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments, among them Teredo
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether an address is one that anybody on the internet reaches, and not a way round to another.

    IPv6 addresses that stand for IPv4 ones (mapped, compatible, 6to4, NAT64) are not public, whatever they
    stand for: nothing public has only such an address.

    Args:
        address: IPv4 or IPv6, as a resolver writes it; anything else is not public.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (found.scope_id or found not in _UNICAST):
        return False
    if not found.is_global or found.is_multicast or found.is_reserved:
        return False
    return not any(found in network for network in _NOT_PUBLIC)
