"""API keys and their scopes. Only hashes are stored, so that the file gives no access."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from filelock import FileLock
from redis import ConnectionError, Redis, RedisError
from redis.client import Pipeline

from common.files import PRIVATE_MODE, atomic_write
from common.ledger.keys import API_KEYS
from common.settings import Settings
from common.translation import Message, _

#: Prefix of every key, by which secret scanners recognise it.
PREFIX = "captiond_"
#: Random bytes of a key.
SECRET_BYTES = 32
#: Seconds between two readings of the file and of Redis.
RELOAD_INTERVAL = 0.5

#: Without `:`, which separates the fields of an entry, and `@`, which marks an owner's keys in the ledger.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a key allows: `submit` to create and change jobs, `read` to read them, `admin` both for all owners' jobs."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


class KeyringError(Exception):
    """The keys cannot be used. The message says what to do."""


@dataclass(frozen=True)
class Key:
    """A stored key. `name` is the owner of its jobs, so a new key of the same name sees its predecessor's jobs."""

    name: str
    scopes: frozenset[Scope]
    sha256: str

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def entry(self) -> str:
        """Return the key as a line of the file and an item of `CAPTIOND_API_KEYS`."""
        return f"{self.name}:{'+'.join(sorted(self.scopes))}:{self.sha256}"


def make(name: str, scopes: Iterable[Scope]) -> tuple[str, Key]:
    """Generate a key. Returns the secret and the key to store. Raises `KeyringError` for an invalid name."""
    if not _NAME.fullmatch(name):
        raise KeyringError(
            _(
                "{name} cannot be a key's name. Use up to 64 letters, digits, dots, dashes and underscores.",
                name=repr(name),
            )
        )
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return secret, Key(name, frozenset(scopes), digest(secret))


def digest(secret: str) -> str:
    """Return the SHA-256 that is stored.

    A slow, salted hash is not needed: a secret has 256 random bits and cannot be guessed, unlike a password.
    """
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def parse(text: str, source: str | Message) -> dict[str, Key]:
    """Parse entries separated by white space or commas. Returns the keys by name.

    Raises `KeyringError`, whose message contains no hash.
    """
    keys: dict[str, Key] = {}
    for number, entry in enumerate(re.split(r"[\s,]+", text.strip()) if text.strip() else (), start=1):
        name, _colon, rest = entry.partition(":")
        scopes, _colon, sha256 = rest.partition(":")
        known = set(scopes.split("+")) <= set(Scope)
        if not (_NAME.fullmatch(name) and known and _SHA256.fullmatch(sha256)) or name in keys:
            raise KeyringError(
                _(
                    "Entry {number} of {source} is not NAME:SCOPES:SHA256 with a name of its own. Make one with "
                    "`captiond keys add NAME`, which shows the entry; a key itself does not belong there.",
                    number=number,
                    source=source,
                )
            )
        keys[name] = Key(name, frozenset(map(Scope, scopes.split("+"))), sha256)
    return keys


class KeyFile:
    """The keys of one machine, in a file that its owner only can read."""

    source = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Key] | None:
        """Return the keys by name; None if there is no file. Raises `KeyringError`."""
        try:
            return parse(self._path.read_text(encoding="ascii"), _("the file of keys"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else _("it is not text")
            raise KeyringError(_("The file of keys cannot be read: {reason}.", reason=reason)) from error

    def change(self, step: Callable[[dict[str, Key]], object]) -> None:
        """Lock and read the file, apply `step` to its keys, and write it atomically."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_name(self._path.name + ".lock")):
            keys = self.read() or {}
            step(keys)
            with atomic_write(self._path, PRIVATE_MODE) as file:
                file.write(_text(keys).encode())


class RedisKeys:
    """The keys of all machines, in Redis as the text that a file would have. Methods raise `redis.RedisError`."""

    source = "redis"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def read(self) -> dict[str, Key] | None:
        """Return the keys by name; None if there never was one. Raises `KeyringError`."""
        return self._parse(cast("str | None", self._redis.get(API_KEYS)))

    def change(self, step: Callable[[dict[str, Key]], object]) -> None:
        """Read the keys, apply `step` to them and write them, again if another process writes at the same time."""

        def write(pipe: Pipeline) -> None:
            keys = self._parse(cast("str | None", pipe.get(API_KEYS))) or {}
            step(keys)
            pipe.multi()
            pipe.set(API_KEYS, _text(keys))

        self._redis.transaction(write, API_KEYS)

    def _parse(self, text: str | None) -> dict[str, Key] | None:
        return None if text is None else parse(text, _("the keys in Redis"))


def _text(keys: dict[str, Key]) -> str:
    """A line for each key."""
    return "".join(f"{key.entry()}\n" for key in keys.values())


class Keyring:
    """The keys of the environment, of the file and of Redis, which a thread reads again while the keyring is in use.

    The constructor raises `KeyringError` for invalid keys. Later errors fail closed: what cannot be read leaves the
    previous keys in use, and once keys are required they stay required until the process ends. Until Redis has answered
    for the first time, a key is required, because there may be one.
    """

    def __init__(self, settings: Settings, redis: Redis | None = None) -> None:
        self._fixed = parse(settings.api_keys, "CAPTIOND_API_KEYS")
        self._file = KeyFile(settings.keys_file)
        self._shared = RedisKeys(redis) if redis is not None else None
        self._in_file = self._file.read()
        self._in_redis: dict[str, Key] | None = None
        #: Whether the keys in Redis could not be read: ever, and at the last attempt.
        self._never_read = self._is_away = self._shared is not None
        self._configured = bool(self._fixed) or self._in_file is not None
        self._last_error = ""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.reload()

    @property
    def needed(self) -> bool:
        """Whether requests need a key: one has been configured, or Redis, which may have one, was never read."""
        return self.configured or self._never_read

    @property
    def configured(self) -> bool:
        """Whether there is a key, or a place for keys, even an empty one."""
        self._follow()
        return self._configured

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer when its keys were last read."""
        return self._is_away

    def knows(self, secret: str) -> bool:
        """Whether there is a key with this secret, as far as this process knows."""
        self._follow()
        return self._match(secret) is not None

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, or None. Raises `RedisError` if only Redis, which is away, might know it."""
        self._follow()
        match = self._match(secret)
        if match is None and self._is_away:
            raise ConnectionError("the API keys cannot be read")
        return match

    def reload(self) -> None:
        """Read the file and Redis again."""
        errors: list[Exception] = []
        try:
            self._in_file = self._file.read()
        except KeyringError as error:
            errors.append(error)
        if self._shared is not None:
            try:
                self._in_redis, self._never_read, self._is_away = self._shared.read(), False, False
            except (KeyringError, RedisError) as error:
                self._is_away = isinstance(error, RedisError)
                errors.append(error)
        reasons = " ".join(map(str, errors))
        if reasons and reasons != self._last_error:
            log.error("The API keys cannot be read; the previous ones stay in use. %s", reasons)
        self._last_error = reasons
        self._configured = self._configured or self._in_file is not None or self._in_redis is not None

    def _match(self, secret: str) -> Key | None:
        """Every hash is compared in constant time, so that the duration reveals nothing."""
        sha256, match = digest(secret), None
        for key in {**(self._in_file or {}), **(self._in_redis or {}), **self._fixed}.values():
            if hmac.compare_digest(key.sha256, sha256):
                match = key
        return match

    def _follow(self) -> None:
        """Start the thread that calls `reload`, unless it runs. A process that was forked has none."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=_reload, args=(weakref.ref(self),), name="keyring", daemon=True)
                self._thread.start()


def _reload(keyring: weakref.ref[Keyring]) -> None:
    """Reload a keyring until it is garbage."""
    while True:
        time.sleep(RELOAD_INTERVAL)
        if (living := keyring()) is None:
            return
        living.reload()
        del living
