"""Resolves host names, and distinguishes public addresses from those of private networks."""

from __future__ import annotations

import ipaddress
import socket
import threading
from concurrent.futures import Future

#: The IPv6 addresses of the Internet. Others, such as IPv4-mapped addresses, are never public.
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Addresses that a NAT64 gateway translates to the IPv4 address in the last 32 bits (RFC 6052). In a network without
#: IPv4 every name resolves to such an address.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Networks that some release of Python counts as global although they have no public servers.
NON_PUBLIC_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; .192 is a cloud's metadata server
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # a cloud's internal server at a public address
        "2001::/23",  # protocol assignments, including Teredo
        "2002::/16",  # 6to4: contains an IPv4 address
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Return whether an IP address is a public address of the Internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NON_PUBLIC_NETWORKS)


def resolve(host: str, timeout: float) -> list[str]:
    """Return the IP addresses of a host from the system's resolver.

    Raises `OSError` if there are none, or after `timeout` seconds.
    """
    # The system's resolver accepts no timeout, and its own are long. The thread ends after these.
    result: Future[list[str]] = Future()

    def query() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            result.set_result(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=query, name="resolver", daemon=True).start()
    return result.result(max(timeout, 0))
