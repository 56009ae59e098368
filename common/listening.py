"""Opens the sockets that the web server listens on, and says in a sentence why one cannot be opened."""

from __future__ import annotations

import errno
import socket
from typing import Any

#: Hosts that mean every address of this machine. `::` does so for IPv4 as well, as most servers take it.
EVERY_ADDRESS = ("", "::")
#: What the operating system says of an address of another machine, or of a protocol that this machine lacks.
NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(Exception):
    """The web server cannot listen where it should; the message says what to do."""


def resolve(host: str) -> list[tuple[int, Any]]:
    """Family and address of everything that `host` stands for; raises `ListenError` when it stands for nothing."""
    name = None if host in EVERY_ADDRESS else host
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ListenError(
            f"{host} is no IP address, and no name whose address can be found. Choose an address of this machine "
            "(--host, CAPTIOND_HOST)."
        ) from None
    return [(family, address) for family, _, _, _, address in found]


def listen(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of `host`, all on the same port: a free one when `port` is 0.

    IPv4 and IPv6 get a socket each, as one for both would show IPv4 clients by addresses that begin with `::ffff:`.
    Of several addresses, those that this machine does not have are left out. Raises `ListenError`.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in resolve(host):
        try:
            sockets.append(socket.create_server((address[0], port, *address[2:]), family=family))
        except OSError as error:
            if error.errno in NOT_HERE:
                missing = error
                continue
            close(sockets)
            raise ListenError(_sentence(host, port, error)) from error
        port = sockets[-1].getsockname()[1]
    if missing and not sockets:
        raise ListenError(_sentence(host, port, missing)) from missing
    return sockets


def close(sockets: list[socket.socket]) -> None:
    """Close all of them."""
    for each in sockets:
        each.close()


def _sentence(host: str, port: int, error: OSError) -> str:
    place = host or "every address"
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} of {place} is in use. Stop what uses it, or choose another --port (CAPTIOND_PORT)."
        case errno.EACCES:
            return (
                f"This user may not listen on port {port}. Choose one from 1024 on (--port, CAPTIOND_PORT), and let a "
                "proxy take the lower one."
            )
        case code if code in NOT_HERE:
            return f"{place} is not an address of this machine. Choose one that is (--host, CAPTIOND_HOST)."
        case _:
            return f"The web server cannot listen on port {port} of {place}: {error.strerror}."
