"""Adds and revokes API keys as `captiond keys` does."""

from __future__ import annotations

from common import keyring
from common.keyring import KeyFile, Scope
from common.settings import Settings


def add_key(settings: Settings, name: str, *scopes: Scope) -> str:
    """Add a key to the keys file and return its secret; the default scopes are submit and read."""
    secret, key = keyring.make(name, scopes or (Scope.SUBMIT, Scope.READ))
    KeyFile(settings.keys_file).change(lambda keys: keys.update({name: key}))
    return secret


def revoke_key(settings: Settings, name: str) -> None:
    """Remove a key from the keys file."""
    KeyFile(settings.keys_file).change(lambda keys: keys.__delitem__(name))
