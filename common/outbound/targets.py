"""Parses URLs from clients, and refuses those that can be refused without resolving the host."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.outbound.addresses import is_public
from common.translation import _

#: Length of the longest URL in characters.
MAX_URL_LENGTH = 2048
PORTS = {"https": 443, "http": 80}

#: Printable ASCII without the characters that RFC 3986 excludes from URLs, on which parsers disagree.
_URL = re.compile(r"[^\x00-\x20\x7f-\U0010ffff\"<>\\^`{|}]+")
#: A DNS name. The last label must begin with a letter, because a number would be an unusual notation of an IP address.
#: A final dot is not allowed, because no certificate contains one.
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_][a-z0-9_-]{0,62}\.)*[a-z][a-z0-9-]{0,62}")


class UrlNotAllowed(Exception):
    """The URL is refused. The message is a sentence for the client."""


@dataclass(frozen=True)
class Target:
    """Destination of a request. `path` includes the query."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.secure else "http"] else f"{host}:{self.port}"


def parse_url(url: str, *, allow_local: bool) -> Target:
    """Parse and check a URL. Raises `UrlNotAllowed`.

    `allow_local` also allows http, any port and addresses that are not public.
    """
    if len(url) > MAX_URL_LENGTH or not _URL.fullmatch(url):
        raise UrlNotAllowed(
            _("A URL must have 1 to {limit} ASCII characters. Percent-encode others.", limit=MAX_URL_LENGTH)
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UrlNotAllowed(_("The URL cannot be parsed. Check its host and port.")) from error
    if parts.scheme not in (PORTS if allow_local else ("https",)):
        raise UrlNotAllowed(_("The URL must begin with https://."))
    if "@" in parts.netloc:
        raise UrlNotAllowed(_("The URL must not have a user name or password before its host."))
    if port is None:
        port = PORTS[parts.scheme]
    elif not allow_local and port != PORTS["https"]:
        raise UrlNotAllowed(_("The URL must not name another port than 443."))
    _check_host(host, allow_local)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", host, port, path)


def _check_host(host: str, allow_local: bool) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _NAME.fullmatch(host):
            raise UrlNotAllowed(_("The URL has no valid host name. Check its spelling.")) from None
    else:
        if "%" in host or not (allow_local or is_public(host)):
            raise UrlNotAllowed(_("The URL has an address that is not public. Use a public address of the Internet."))
