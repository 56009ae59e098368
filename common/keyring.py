"""API keys: who may use the service and for what; kept as hashes, so that whoever reads the file can use none."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from common.files import PRIVATE_MODE, atomic_write
from common.settings import Settings

#: What a key begins with, so that scanners of repositories and logs can tell that it is one.
PREFIX = "captiond_"
#: Random bytes of a key.
LENGTH = 32
#: Seconds between two looks at whether the file has changed.
LOOK = 1.0

#: No `:`, which divides an entry, and no `@`, which marks an owner's keys in the ledger.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a key is for: `submit` changes, `read` looks, `admin` does both with everybody's jobs."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


class KeyringError(Exception):
    """The keys cannot be used as they stand; the message says what to do."""


@dataclass(frozen=True)
class Key:
    """What is known of a key. `name` owns its jobs: a key made anew under the same name has its predecessor's."""

    name: str
    scopes: frozenset[Scope]
    sha256: str

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def entry(self) -> str:
        """The key as a line of the file, and as `CAPTIOND_API_KEYS` takes it."""
        return f"{self.name}:{'+'.join(sorted(self.scopes))}:{self.sha256}"


def make(name: str, scopes: Iterable[Scope]) -> tuple[str, Key]:
    """A new secret, and what to keep of it. Raises `KeyringError` for a name that is none."""
    if not _NAME.fullmatch(name):
        raise KeyringError(
            f"{name!r} cannot be a key's name. Take up to 64 letters, digits, dots, dashes and underscores."
        )
    secret = PREFIX + secrets.token_urlsafe(LENGTH)
    return secret, Key(name, frozenset(scopes), digest(secret))


def digest(secret: str) -> str:
    """The hash that is kept. A plain SHA-256 will do: a secret is 256 random bits, too many to be guessed however
    fast one hashes. Slow, salted hashes are for passwords, which people choose."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def parse(text: str, source: str) -> dict[str, Key]:
    """Keys by name, from entries divided by white space or commas; raises `KeyringError`, which quotes no hash."""
    keys: dict[str, Key] = {}
    for number, entry in enumerate(re.split(r"[\s,]+", text.strip()) if text.strip() else (), start=1):
        name, _, rest = entry.partition(":")
        scopes, _, sha256 = rest.partition(":")
        known = set(scopes.split("+")) <= set(Scope)
        if not (_NAME.fullmatch(name) and known and _SHA256.fullmatch(sha256)) or name in keys:
            raise KeyringError(
                f"Entry {number} of {source} is not NAME:SCOPES:SHA256 with a name of its own. Make one with "
                "`captiond keys add NAME`, which shows the entry; a key itself does not belong there."
            )
        keys[name] = Key(name, frozenset(map(Scope, scopes.split("+"))), sha256)
    return keys


def read(path: Path) -> dict[str, Key]:
    """The file's keys, none when there is no file; raises `KeyringError`."""
    try:
        return parse(path.read_text(encoding="ascii"), "the file of keys")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError) as error:
        raise KeyringError(f"The file of keys cannot be read: {getattr(error, 'strerror', 'not text')}.") from error


def change(path: Path, step: Callable[[dict[str, Key]], None]) -> None:
    """Read the file, apply `step`, and write it whole, for its owner's eyes only; one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        keys = read(path)
        step(keys)
        with atomic_write(path, PRIVATE_MODE) as file:
            file.writelines(f"{key.entry()}\n".encode() for key in keys.values())


class Keyring:
    """The keys of the environment and of the file, which is read again when it changes.

    Raises `KeyringError` when they cannot be used at the start. Later it fails closed: keys that cannot be read leave
    those that were read before, and once keys were needed they are, until the process ends.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._fixed = parse(settings.api_keys, "CAPTIOND_API_KEYS")
        self._path = settings.keys_file
        self._clock = clock
        self._lock = threading.Lock()
        self._mark = self._marked()
        self._keys = {**read(self._path), **self._fixed}
        self._needed = bool(self._fixed) or self._mark is not None
        self._looked = clock()

    @property
    def needed(self) -> bool:
        """Whether a key is needed: there is one, or a file for them, be it empty."""
        self._look()
        return self._needed

    def find(self, secret: str) -> Key | None:
        """The key that `secret` is, or None.

        Every hash is compared, each in constant time, so that the time taken tells nothing.
        """
        self._look()
        given = digest(secret)
        found = None
        for key in self._keys.values():
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _look(self) -> None:
        with self._lock:
            if self._clock() - self._looked < LOOK:
                return
            self._looked = self._clock()
            mark = self._marked()
            if mark == self._mark:
                return
            self._mark = mark
            self._needed = self._needed or mark is not None
            try:
                self._keys = {**read(self._path), **self._fixed}
            except KeyringError as error:
                log.error("%s The keys from before stay in use.", error)

    def _marked(self) -> tuple[int, int, int] | None:
        """What changes when the file does; None when it is not there."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return (0, 0, 0)
        return state.st_mtime_ns, state.st_size, state.st_ino
