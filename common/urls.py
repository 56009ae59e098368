"""Validates the URLs of settings, and removes their secrets for display.

No error message contains a part of a URL, because in an invalid URL a password is often parsed as another part.
"""

from __future__ import annotations

import os
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import fsspec
from kombu.transport import TRANSPORT_ALIASES, resolve_transport
from redis import ConnectionPool, RedisError

from common import sentinel
from common.sentinel import SentinelUrl
from common.translation import _

REDIS_SCHEMES = ("redis", "rediss", "unix", sentinel.SCHEME)
NOT_A_URL = _(
    "It cannot be read as a URL. In a user name or password, percent-encode reserved characters: "
    "`#` is %23, `/` is %2F, `?` is %3F, `@` is %40, `:` is %3A, `%` is %25."
)


def split(url: str) -> SplitResult:
    """Split a URL. Raises `ValueError`, whose message contains no part of it."""
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        raise ValueError(NOT_A_URL) from None
    if any(character.isspace() for character in url):
        raise ValueError(_("The URL contains white space."))
    # A reserved character in a password ends the authority: `redis://:12#34@host` has an empty host and port 12.
    if ":" in parts.netloc and "@" not in parts.netloc and "@" in url:
        raise ValueError(NOT_A_URL)
    return parts


def check_redis(url: str) -> None:
    """Raise `ValueError` for a URL that redis-py rejects or silently misreads."""
    if url.startswith(f"{sentinel.SCHEME}:"):
        SentinelUrl.parse(url)
        return
    parts = split(url)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(_("It must begin with redis://, rediss://, unix:// or sentinel://."))
    if parts.fragment or "@" in parts.query:
        raise ValueError(NOT_A_URL)
    if parts.scheme == "unix":
        if not parts.path or parts.netloc.rpartition("@")[2]:
            raise ValueError(_("The path of a Unix socket is absolute, and stands after three slashes: unix:///PATH."))
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError(_("What stands after the host is the number of a database, such as /0."))
    try:
        ConnectionPool.from_url(url).make_connection()  # does not connect
    except (ValueError, TypeError, RedisError):
        raise ValueError(_("Redis' client does not know an option after the `?`, or cannot use its value.")) from None


def check_broker(url: str) -> None:
    """Raise `ValueError` for a URL that Celery does not support. Several URLs may be separated by semicolons."""
    for one in url.split(";"):
        scheme = one.partition(":")[0] if one.startswith(f"{sentinel.SCHEME}:") else split(one).scheme
        if scheme in REDIS_SCHEMES:
            check_redis(one)
            continue
        transport = scheme.partition("+")[0]  # `sqla+postgresql`, `redis+socket`
        if transport not in TRANSPORT_ALIASES:
            raise ValueError(
                _("It must begin with the name of a broker that Celery knows, such as redis:// or amqp://.")
            )
        try:
            resolve_transport(transport)
        except ImportError:
            raise ValueError(
                _("Celery needs a further Python package for {name}: `kombu[{name}]`.", name=transport)
            ) from None


def check_store(url: str) -> None:
    """Raise `ValueError` for a URL that fsspec does not support. A path is a local folder."""
    if "://" not in url:
        return
    protocol = split(url).scheme if "::" not in url else url.partition("::")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise ValueError(_("fsspec knows no such store. Examples are s3://BUCKET/PREFIX and file:///FOLDER.")) from None
    except ImportError:
        raise ValueError(
            _("fsspec needs a further Python package for {name}: `fsspec[{name}]`.", name=protocol)
        ) from None


def folder_url(location: str) -> str:
    """The URL of a store's folder, without a slash at the end. A path is a local folder."""
    url = location if "://" in location else f"file://{os.path.abspath(location)}"
    return url.rstrip("/")


def check_root(url: str) -> None:
    """Raise `ValueError` for a URL that is no store whose files may be read at a client's request.

    Web servers are left out: they can redirect a request, and list no folders.
    """
    if "::" in url or split(url).scheme in ("http", "https"):
        raise ValueError(_("It must name folders or buckets, such as s3://BUCKET/PREFIX, and no web servers."))
    check_store(url)


def check_web(url: str) -> None:
    """Raise `ValueError` unless the URL is http or https and has a host."""
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(_("It must begin with https:// or http:// and name a host."))


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment, each of which may contain a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def secrets_in(url: str) -> set[str]:
    """Return the passwords of a URL, both encoded and decoded."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    passwords = [parts.password or "", *options.get("password", []), *options.get("sentinel_password", [])]
    return {form for password in passwords for form in (password, unquote(password)) if form}
