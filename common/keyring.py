"""API keys and their scopes. Only hashes are stored, so that the file gives no access."""

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
from common.translation import Message, _

#: Prefix of every key, by which secret scanners recognise it.
PREFIX = "captiond_"
#: Random bytes of a key.
SECRET_BYTES = 32
#: Seconds between two checks whether the file has changed.
RELOAD_INTERVAL = 1.0

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


def read(path: Path) -> dict[str, Key]:
    """Return the file's keys by name; none if there is no file. Raises `KeyringError`."""
    try:
        return parse(path.read_text(encoding="ascii"), _("the file of keys"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _("it is not text")
        raise KeyringError(_("The file of keys cannot be read: {reason}.", reason=reason)) from error


def change(path: Path, step: Callable[[dict[str, Key]], None]) -> None:
    """Lock and read the file, apply `step` to its keys, and write it atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        keys = read(path)
        step(keys)
        with atomic_write(path, PRIVATE_MODE) as file:
            file.writelines(f"{key.entry()}\n".encode() for key in keys.values())


class Keyring:
    """The keys of the environment and of the file, which is reloaded when it changes.

    The constructor raises `KeyringError` for invalid keys. Later errors fail closed: an unreadable file leaves the
    previous keys in use, and once keys are required they stay required until the process ends.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._fixed = parse(settings.api_keys, "CAPTIOND_API_KEYS")
        self._path = settings.keys_file
        self._clock = clock
        self._lock = threading.Lock()
        self._version = self._file_version()
        self._keys = {**read(self._path), **self._fixed}
        self._needed = bool(self._fixed) or self._version is not None
        self._checked_at = clock()

    @property
    def needed(self) -> bool:
        """Whether requests need a key: there is a key, or a file for keys, even an empty one."""
        self._reload_if_changed()
        return self._needed

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, or None.

        Every hash is compared in constant time, so that the duration reveals nothing.
        """
        self._reload_if_changed()
        sha256 = digest(secret)
        match = None
        for key in self._keys.values():
            if hmac.compare_digest(key.sha256, sha256):
                match = key
        return match

    def _reload_if_changed(self) -> None:
        with self._lock:
            if self._clock() - self._checked_at < RELOAD_INTERVAL:
                return
            self._checked_at = self._clock()
            version = self._file_version()
            if version == self._version:
                return
            self._version = version
            self._needed = self._needed or version is not None
            try:
                self._keys = {**read(self._path), **self._fixed}
            except KeyringError as error:
                log.error("%s The previous keys stay in use.", error)

    def _file_version(self) -> tuple[int, int, int] | None:
        """Return a value that changes when the file does; None if it does not exist."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return (0, 0, 0)
        return state.st_mtime_ns, state.st_size, state.st_ino
