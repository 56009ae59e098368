"""Opens the web server's listening sockets, and explains in a sentence why one cannot be opened."""

from __future__ import annotations

import errno
import socket
from typing import Any

from common.translation import Message, _

#: Hosts that mean every address of this machine. As in most servers, `::` includes IPv4.
EVERY_ADDRESS = ("", "::")
#: Error numbers of an address that this machine does not have, and of an address family that it does not support.
UNAVAILABLE_ERRNOS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(Exception):
    """The web server cannot listen on the configured address. The message says what to do."""


def resolve(host: str) -> list[tuple[int, Any]]:
    """Return family and address of each of `host`'s addresses. Raises `ListenError` if it has none."""
    name = None if host in EVERY_ADDRESS else host
    try:
        infos = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ListenError(
            _(
                "{host} is no IP address, and no name whose address can be found. Choose an address of this machine "
                "(--host, CAPTIOND_HOST).",
                host=host,
            )
        ) from None
    return [(info[0], info[4]) for info in infos]


def listen(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of `host`, all on the same port. If `port` is 0, a free one is used.

    IPv4 and IPv6 get separate sockets, because a shared one reports IPv4 clients with the prefix `::ffff:`. Addresses
    that this machine does not have are skipped, if there are others. Raises `ListenError`.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in resolve(host):
        try:
            sockets.append(socket.create_server((address[0], port, *address[2:]), family=family))
        except OSError as error:
            if error.errno in UNAVAILABLE_ERRNOS:
                missing = error
                continue
            close(sockets)
            raise ListenError(_describe(host, port, error)) from error
        port = sockets[-1].getsockname()[1]
    if missing and not sockets:
        raise ListenError(_describe(host, port, missing)) from missing
    return sockets


def close(sockets: list[socket.socket]) -> None:
    """Close the sockets."""
    for each in sockets:
        each.close()


def _describe(host: str, port: int, error: OSError) -> Message:
    address = host or _("every address")
    match error.errno:
        case errno.EADDRINUSE:
            return _(
                "Port {port} of {address} is in use. Stop what uses it, or choose another --port (CAPTIOND_PORT).",
                port=port,
                address=address,
            )
        case errno.EACCES:
            return _(
                "This user may not listen on port {port}. Choose one from 1024 on (--port, CAPTIOND_PORT), and let a "
                "proxy take the lower one.",
                port=port,
            )
        case code if code in UNAVAILABLE_ERRNOS:
            return _(
                "{address} is not an address of this machine. Choose one that is (--host, CAPTIOND_HOST).",
                address=address,
            )
    return _(
        "The web server cannot listen on port {port} of {address}: {reason}.",
        port=port,
        address=address,
        reason=error.strerror,
    )
