"""API keys as `captiond keys` makes them."""

from __future__ import annotations

from common import keyring
from common.keyring import Scope
from common.settings import Settings


def add_key(settings: Settings, name: str, *scopes: Scope) -> str:
    """The secret of a new key in the file; to submit and read, unless told."""
    secret, key = keyring.make(name, scopes or (Scope.SUBMIT, Scope.READ))
    keyring.change(settings.keys_file, lambda keys: keys.update({name: key}))
    return secret


def revoke_key(settings: Settings, name: str) -> None:
    keyring.change(settings.keys_file, lambda keys: keys.__delitem__(name))
