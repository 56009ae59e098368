"""An invalid URL is refused, and no part of it is quoted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.urls import check_broker, check_redis, check_store, check_web, secrets_in, without_secrets


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://store",
        "sentinel://:p%40ss@one:26379,two:26379/main/0",
        "redis:///0",
        "rediss://user:p%23ss%2Fword@[::1]:6380/2?socket_timeout=3",
        "redis://:p@ssword@store/0",
        "unix:///run/redis.sock",
        "unix://user:password@/run/redis.sock?db=2",
    ],
)
def test_a_valid_redis_url_is_accepted(url: str) -> None:
    check_redis(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:secret#7@host/0", "percent-encode"),
        ("redis://:secret/7@host/0", "percent-encode"),
        ("redis://:secret?7@host/0", "percent-encode"),
        ("redis://:12#secret@host/0", "percent-encode"),
        ("redis://:se@cret#7@host/0", "percent-encode"),
        ("redis://[secret/0", "percent-encode"),
        ("redis://host:secret/0", "percent-encode"),
        ("secret@host:6379/0", "redis://"),
        ("host:6379/0", "redis://"),
        ("//secret@host/0", "redis://"),
        ("http://secret@host/0", "redis://"),
        ("redis://:secret@host/zero", "number of a database"),
        ("redis://:secret@host/0?secret=1", "option"),
        ("redis://:secret@host/0?socket_timeout=secret", "option"),
        ("redis://:secret@ host/0", "white space"),
        ("unix://secret/redis.sock", "three slashes"),
    ],
)
def test_an_invalid_redis_url_is_refused_without_being_quoted(url: str, words: str) -> None:
    for check in (check_redis, check_broker) if url.startswith("redis") else (check_redis,):
        with pytest.raises(ValueError, match=words) as refused:
            check(url)
        assert "secret" not in str(refused.value)
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:guest@rabbit:5672//",
        "memory://",
        "redis+socket:///run/redis.sock",
        "redis://a/0;redis://b/0",
        "sentinel://a,b/main/1",
    ],
)
def test_a_broker_that_celery_supports_is_accepted(url: str) -> None:
    check_broker(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rabbit:5672", "Celery knows"),
        ("rabit://guest:secret@rabbit//", "Celery knows"),
        ("amqp://guest:secret#7@rabbit//", "percent-encode"),
        ("redis://a/0;redis://:secret#7@b/0", "percent-encode"),
    ],
)
def test_another_broker_is_refused_without_being_quoted(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        check_broker(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["/srv/pictures", "file:///srv/a#b", "memory://pictures", "simplecache::memory://x"])
def test_a_store_that_fsspec_supports_is_accepted(url: str) -> None:
    check_store(url)


@pytest.mark.parametrize(
    ("check", "url", "words"),
    [
        (check_store, "s4://key:secret@bucket", "no such store"),
        (check_store, "sftp://key:secret#7@host/x", "percent-encode"),
        (check_store, "smb://key:secret@host/x", "further Python package"),
        (check_web, "student.pt", "https://"),
        (check_web, "ftp://key:secret@host/student.pt", "https://"),
    ],
)
def test_another_store_or_web_url_is_refused_without_being_quoted(
    check: Callable[[str], None], url: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        check(url)
    assert "secret" not in str(refused.value)


def test_without_secrets_removes_everything_secret() -> None:
    assert without_secrets("redis://user:secret@host:1/0?password=secret#secret") == "redis://host:1/0"
    assert without_secrets("unix://:secret@/run/redis.sock") == "unix:///run/redis.sock"
    assert "secret" not in without_secrets("redis://[secret")


def test_a_password_is_returned_encoded_and_decoded() -> None:
    assert secrets_in("redis://:a%23b@host/0") == {"a%23b", "a#b"}
    assert secrets_in("redis://host/0?password=a%23b") == {"a#b"}
    assert secrets_in("sentinel://:x@one:1,two:2/main?sentinel_password=y") == {"x", "y"}
    assert secrets_in("redis://host/0") == set()
