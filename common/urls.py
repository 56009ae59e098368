"""Checks the URLs of settings, and shows them without what must stay secret.

No message here repeats any part of a URL: a wrong URL often is one whose password was read as something else.
"""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import fsspec
from kombu.transport import TRANSPORT_ALIASES, resolve_transport
from redis import ConnectionPool, RedisError

REDIS_SCHEMES = ("redis", "rediss", "unix")
NO_URL = (
    "It cannot be read as a URL. In a user name or password, percent-encode what has a meaning in URLs: "
    "`#` is %23, `/` is %2F, `?` is %3F, `@` is %40, `:` is %3A, `%` is %25."
)


def split(url: str) -> SplitResult:
    """The parts of a URL; raises `ValueError` with a sentence that shows none of them."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(NO_URL) from None
    if any(character.isspace() for character in url):
        raise ValueError("There is white space in the URL.")
    # A reserved character in a password ends the host part there: `redis://:12#34@host` is port 12 of no host.
    if ":" in parts.netloc and "@" not in parts.netloc and "@" in url:
        raise ValueError(NO_URL)
    return parts


def check_redis(url: str) -> None:
    """Raises `ValueError` for what redis-py does not take, or would silently take for something else."""
    parts = split(url)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError("It must begin with redis://, rediss:// or unix://.")
    if parts.fragment or "@" in parts.query:
        raise ValueError(NO_URL)
    if parts.scheme == "unix":
        if not parts.path or parts.netloc.rpartition("@")[2]:
            raise ValueError("The path of a Unix socket is absolute, and stands after three slashes: unix:///PATH.")
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("What stands after the host is the number of a database, such as /0.")
    try:
        ConnectionPool.from_url(url).make_connection()  # connects to nothing yet
    except (ValueError, TypeError, RedisError):
        raise ValueError("Redis' client does not know an option after the `?`, or cannot use its value.") from None


def check_broker(url: str) -> None:
    """Raises `ValueError` for what Celery does not take; several URLs may be divided by semicolons."""
    for one in url.split(";"):
        scheme = split(one).scheme
        if scheme in REDIS_SCHEMES:
            check_redis(one)
            continue
        transport = scheme.partition("+")[0]  # `sqla+postgresql`, `redis+socket`
        if transport not in TRANSPORT_ALIASES:
            raise ValueError("It must begin with the name of a broker that Celery knows, such as redis:// or amqp://.")
        try:
            resolve_transport(transport)
        except ImportError:
            raise ValueError(f"Celery needs a further Python package for {transport}: `kombu[{transport}]`.") from None


def check_store(url: str) -> None:
    """Raises `ValueError` for what fsspec does not take; a path is a local folder."""
    if "://" not in url:
        return
    protocol = split(url).scheme if "::" not in url else url.partition("::")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise ValueError("fsspec knows no such store. Examples are s3://BUCKET/PREFIX and file:///FOLDER.") from None
    except ImportError:
        raise ValueError(f"fsspec needs a further Python package for {protocol}: `fsspec[{protocol}]`.") from None


def check_web(url: str) -> None:
    """Raises `ValueError` for what is no address of the web."""
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("It must begin with https:// or http:// and name a host.")


def without_secrets(url: str) -> str:
    """A URL to show: without user, password, query and fragment, any of which may give access."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def secrets_in(url: str) -> set[str]:
    """The password of a URL, as it is written and as it is used."""
    parts = urlsplit(url)
    passwords = [parts.password or "", *parse_qs(parts.query).get("password", [])]  # redis-py takes it as an option too
    return {form for password in passwords for form in (password, unquote(password)) if form}
