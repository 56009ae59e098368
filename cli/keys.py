"""`captiond keys`: creates, revokes and lists API keys; a running web server applies changes within seconds."""

from __future__ import annotations

from cli.output import say, warn
from common import folders, keyring
from common.keyring import Key, KeyringError, Scope
from common.settings import Settings
from common.translation import _

#: Scopes of a key that is created without --scope.
DEFAULT_SCOPES = (Scope.READ, Scope.SUBMIT)


def add(settings: Settings, name: str, scopes: list[Scope]) -> int:
    """Create a key: store its hash and print the key. Return the exit code."""

    def insert(keys: dict[str, Key]) -> None:
        if name in keys:
            raise KeyringError(
                _("There is already a key named {name}. Revoke it first, or choose another name.", name=name)
            )
        keys[name] = key

    try:
        secret, key = keyring.make(name, scopes or DEFAULT_SCOPES)
        keyring.change(settings.keys_file, insert)
    except KeyringError as error:
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
            "Its entry in the keys file, which CAPTIOND_API_KEYS accepts on other machines: {entry}",
            entry=key.entry(),
        )
    )
    return 0


def revoke(settings: Settings, name: str) -> int:
    """Delete a key and return the exit code. Its jobs stay until the retention time is over."""

    def remove(keys: dict[str, Key]) -> None:
        if keys.pop(name, None) is None:
            raise KeyringError(
                _("There is no key named {name} in the file. `captiond keys list` shows the keys.", name=name)
            )

    try:
        keyring.change(settings.keys_file, remove)
    except KeyringError as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(folders.data_folder_error(settings, folders.write_obstacle(settings.data) or error.strerror))
    say(_("{name} is revoked.", name=name))
    return 0


def show(settings: Settings) -> int:
    """Print each key's name, its scopes and where it is configured: `file` or `environment`."""
    try:
        in_file = keyring.read(settings.keys_file)
        in_environment = keyring.parse(settings.api_keys, "CAPTIOND_API_KEYS")
    except KeyringError as error:
        return _refuse(error)
    for source, keys in (("file", in_file), ("environment", in_environment)):
        for key in keys.values():
            print(f"{key.name}\t{' '.join(sorted(key.scopes))}\t{source}")
    return 0


def _refuse(error: Exception) -> int:
    warn(error)
    return 1
