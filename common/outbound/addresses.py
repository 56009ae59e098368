"""Looks names up, and tells public addresses from those that lead into somebody's own network."""

from __future__ import annotations

import ipaddress
import socket
import threading
from concurrent.futures import Future

#: Every IPv6 address that is given out for the Internet; what is beyond, mapped IPv4 too, is something else.
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Addresses that a gateway turns into the IPv4 address in their last 32 bits (RFC 6052); on a network without IPv4
#: every name has one.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: What Python, of one release or another, counts as global though no stranger's server is there.
NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata are at .192
        "192.88.99.0/24",  # relays to 6to4
        "168.63.129.16/32",  # a cloud's own server for its machines, at a public address
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4: an IPv4 address within
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether the IP address is one of the Internet's, at which a stranger may have a server."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NEVER)


def look_up(host: str, seconds: float) -> list[str]:
    """The IP addresses of a host, as the system knows them.

    Raises `OSError` when there are none, or none has come after `seconds`.
    """
    # The system's resolver takes no timeout, and its own are long; a thread that is left behind ends with them.
    found: Future[list[str]] = Future()

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return found.result(max(seconds, 0))
