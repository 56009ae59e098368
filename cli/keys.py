"""`captiond keys`: makes, revokes and lists API keys; a running web server follows within seconds."""

from __future__ import annotations

import sys

from common import folders, keyring
from common.keyring import Key, KeyringError, Scope
from common.settings import Settings

#: What a key is for unless told.
SCOPES = (Scope.READ, Scope.SUBMIT)


def add(settings: Settings, name: str, scopes: list[Scope]) -> int:
    """Keep a new key's hash and print the key, this once."""

    def step(keys: dict[str, Key]) -> None:
        if name in keys:
            raise KeyringError(f"There is a key named {name} already. Revoke it first, or take another name.")
        keys[name] = key

    try:
        secret, key = keyring.make(name, scopes or SCOPES)
        keyring.change(settings.keys_file, step)
    except KeyringError as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(folders.data_folder_error(settings, folders.write_obstacle(settings.data) or error.strerror))
    print(secret)
    print(
        f"This is the only time the key is shown. Send it as `Authorization: Bearer {keyring.PREFIX}...`.\n"
        f"What is kept, and what CAPTIOND_API_KEYS takes on other machines: {key.entry()}",
        file=sys.stderr,
    )
    return 0


def revoke(settings: Settings, name: str) -> int:
    """Forget a key. Its jobs stay until their time is over."""

    def step(keys: dict[str, Key]) -> None:
        if keys.pop(name, None) is None:
            raise KeyringError(f"There is no key named {name} in the file. `captiond keys list` shows those there are.")

    try:
        keyring.change(settings.keys_file, step)
    except KeyringError as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(folders.data_folder_error(settings, folders.write_obstacle(settings.data) or error.strerror))
    print(f"{name} is revoked.")
    return 0


def show(settings: Settings) -> int:
    """Print each key's name and what it is for, and where it stands."""
    try:
        in_file = keyring.read(settings.keys_file)
        fixed = keyring.parse(settings.api_keys, "CAPTIOND_API_KEYS")
    except KeyringError as error:
        return _refuse(error)
    for place, keys in (("file", in_file), ("environment", fixed)):
        for key in keys.values():
            print(f"{key.name}\t{' '.join(sorted(key.scopes))}\t{place}")
    return 0


def _refuse(error: Exception) -> int:
    print(error, file=sys.stderr)
    return 1
