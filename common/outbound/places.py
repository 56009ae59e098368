"""Reads a URL that a stranger gave, and refuses what can be refused by its text alone."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.outbound.addresses import is_public

#: Longest URL, in characters.
URL_LENGTH = 2048
PORTS = {"https": 443, "http": 80}

#: Printable ASCII without the characters that no URL has (RFC 3986): those on which parsers disagree.
_URL = re.compile(r"[^\x00-\x20\x7f-\U0010ffff\"<>\\^`{|}]+")
#: A name as DNS has it, which ends with a word: what ends with a number is an address in one of the spellings that only
#: some programs know, and what ends with a dot is a name that no certificate knows.
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_][a-z0-9_-]{0,62}\.)*[a-z][a-z0-9-]{0,62}")


class NotAllowed(Exception):
    """The URL's text alone says that no request goes there; the message is a sentence for who gave it."""


@dataclass(frozen=True)
class Place:
    """Where a request goes: `target` is its path and query."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.secure else "http"] else f"{host}:{self.port}"


def read_url(url: str, *, allow_local: bool) -> Place:
    """The place of `url`; raises `NotAllowed`.

    `allow_local` also admits http, any port and addresses that are not public.
    """
    if len(url) > URL_LENGTH or not _URL.fullmatch(url):
        raise NotAllowed(f"A URL has 1 to {URL_LENGTH} characters, all of them ASCII; write others with %.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise NotAllowed("The URL cannot be read. Check its host and port.") from error
    if parts.scheme not in (PORTS if allow_local else ("https",)):
        raise NotAllowed("The URL has to begin with https://.")
    if "@" in parts.netloc:
        raise NotAllowed("The URL must not have a user name or password before its host.")
    if port is None:
        port = PORTS[parts.scheme]
    elif not allow_local and port != PORTS["https"]:
        raise NotAllowed("The URL must not name another port than 443.")
    _check_host(host, allow_local)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme == "https", host, port, target)


def _check_host(host: str, allow_local: bool) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _NAME.fullmatch(host):
            raise NotAllowed("The URL names no host that can be looked up. Check its spelling.") from None
    else:
        if "%" in host or not (allow_local or is_public(host)):
            raise NotAllowed("The URL names an address that is not public. Use one that is on the Internet.")
