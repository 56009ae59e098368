"""The web server listens on every address of its host, or explains in a sentence why it cannot."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common import listening
from common.listening import ListenError, listen

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@contextmanager
def listening_sockets(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = listen(host, port)
    yield sockets
    listening.close(sockets)


def client_address(address: str, sockets: list[socket.socket]) -> str:
    """Connect to one of the sockets by `address`; the client's address as the server sees it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    (server,) = (each for each in sockets if each.family == family)
    with socket.create_connection((address, server.getsockname()[1]), timeout=5):
        connection, client = server.accept()
        connection.close()
    return str(client[0])


@needs_ipv6
@pytest.mark.parametrize("host", ["::", ""])
def test_every_address_includes_ipv4_and_ipv6_on_one_port(host: str) -> None:
    with listening_sockets(host) as sockets:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert client_address("127.0.0.1", sockets) == "127.0.0.1"
        assert client_address("::1", sockets) == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_single_address_gets_one_socket(host: str) -> None:
    with listening_sockets(host) as sockets:
        assert client_address("127.0.0.1", sockets) == "127.0.0.1"


def test_an_unavailable_address_is_skipped_if_the_host_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [(socket.AF_INET, ("192.0.2.7", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    monkeypatch.setattr(listening, "resolve", lambda host: both)

    with listening_sockets("name") as sockets:
        assert [each.getsockname()[0] for each in sockets] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.7", "192.0.2.7 is not an address of this machine."),
        ("nowhere.invalid", "nowhere.invalid is no IP address, and no name"),
        ("http://127.0.0.1", "http://127.0.0.1 is no IP address, and no name"),
        ("a" * 70, "is no IP address, and no name"),
        ("1.2.3.4.5", "is no IP address, and no name"),
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(host: str, words: str) -> None:
    with pytest.raises(ListenError, match=words):
        listen(host, 0)


def test_a_port_in_use_is_refused() -> None:
    with listening_sockets("127.0.0.1") as sockets, pytest.raises(ListenError, match="is in use"):
        listen("127.0.0.1", sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "This user may not listen on port 80. Choose one from 1024 on"),
        (errno.EMFILE, "cannot listen on port 80 of 127.0.0.1: Too many open files."),
    ],
)
def test_other_errors_are_quoted_in_the_sentence(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket, "create_server", refuse)

    with pytest.raises(ListenError, match=words):
        listen("127.0.0.1", 80)
