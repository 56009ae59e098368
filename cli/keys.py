"""`captiond keys`: creates, revokes and lists API keys; running web servers apply changes within a second.

Keys are stored in the Redis of `CAPTIOND_REDIS_URL`, which all machines share, or else in the file `DATA/keys`.
"""

from __future__ import annotations

from redis import RedisError

from cli.output import say, warn
from common import folders, keyring
from common.keyring import Key, KeyFile, KeyringError, RedisKeys, Scope
from common.ledger import connect
from common.settings import Settings
from common.translation import _

#: Scopes of a key that is created without --scope.
DEFAULT_SCOPES = (Scope.READ, Scope.SUBMIT)


def add(settings: Settings, name: str, scopes: list[Scope]) -> int:
    """Create a key: store its hash and print the key. Return the exit code."""

    def insert(keys: dict[str, Key]) -> None:
        if name in keys or any(name in (store.read() or {}) for store in others):
            raise KeyringError(
                _("There is already a key named {name}. Revoke it first, or choose another name.", name=name)
            )
        keys[name] = key

    first, *others = _stores(settings)
    try:
        secret, key = keyring.make(name, scopes or DEFAULT_SCOPES)
        first.change(insert)
    except (KeyringError, RedisError) as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(folders.data_folder_error(settings, folders.write_obstacle(settings.data) or error.strerror))
    print(secret)
    warn(
        _(
            "This is the only time the key is shown. Send it as `Authorization: Bearer {prefix}...`.",
            prefix=keyring.PREFIX,
        )
    )
    warn(
        _(
            "Its entry, which CAPTIOND_API_KEYS accepts on other machines: {entry}",
            entry=key.entry(),
        )
    )
    return 0


def revoke(settings: Settings, name: str) -> int:
    """Delete a key and return the exit code. Its jobs stay until the retention time is over."""

    if not settings.redis_url and (obstacle := folders.write_obstacle(settings.data)):
        return _refuse(folders.data_folder_error(settings, obstacle))
    try:
        holders = [store for store in _stores(settings) if name in (store.read() or {})]
        if not holders:
            raise KeyringError(_("There is no key named {name}. `captiond keys list` shows the keys.", name=name))
        for store in holders:
            store.change(lambda keys: keys.pop(name, None))
    except (KeyringError, RedisError) as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(folders.data_folder_error(settings, folders.write_obstacle(settings.data) or error.strerror))
    say(_("{name} is revoked.", name=name))
    return 0


def show(settings: Settings) -> int:
    """Print each key's name, its scopes and where it is stored: `redis`, `file` or `environment`."""
    try:
        found = [(store.source, store.read() or {}) for store in _stores(settings)]
        found.append(("environment", keyring.parse(settings.api_keys, "CAPTIOND_API_KEYS")))
    except (KeyringError, RedisError) as error:
        return _refuse(error)
    for source, keys in found:
        for key in keys.values():
            print(f"{key.name}\t{' '.join(sorted(key.scopes))}\t{source}")
    return 0


def _stores(settings: Settings) -> list[RedisKeys | KeyFile]:
    """The places of the keys; new ones go to the first."""
    file = KeyFile(settings.keys_file)
    return [RedisKeys(connect(settings.redis_url)), file] if settings.redis_url else [file]


def _refuse(error: Exception) -> int:
    if isinstance(error, RedisError):
        error = KeyringError(_("Redis does not answer ({reason}).", reason=error))
    warn(error)
    return 1
