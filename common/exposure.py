"""Refuses to expose a web server without API keys to other machines, unless `CAPTIOND_INSECURE` allows it."""

from __future__ import annotations

import ipaddress

from common import listening
from common.keyring import Keyring, KeyringError
from common.ledger import connect
from common.listening import ListenError
from common.settings import Settings
from common.translation import Message, _


def refusal(settings: Settings) -> Message | None:
    """Return why the web server must not start with these settings and what to do, or None if it may start."""
    try:
        keyring = configured_keyring(settings)
        listening.resolve(settings.host)
    except (KeyringError, ListenError) as error:
        message: Message = error.args[0]
        return message
    if settings.insecure or keyring.configured or is_loopback(settings.host):
        return None
    if keyring.is_away:
        return _("Redis does not answer, so it is unknown whether there are API keys. Start it first.")
    return _(
        "Other machines can reach {host}, and there are no API keys: everybody could send and read pictures. Create a "
        "key with `captiond keys add NAME`, or serve on 127.0.0.1. On a network where everybody is allowed to, use "
        "--insecure (CAPTIOND_INSECURE=true).",
        host=settings.host or _("every address"),
    )


def configured_keyring(settings: Settings) -> Keyring:
    """Return the API keys of the environment and the file, and those in the Redis that `CAPTIOND_REDIS_URL` names.

    Raises `KeyringError`.
    """
    return Keyring(settings, connect(settings.redis_url) if settings.redis_url else None)


def is_loopback(host: str) -> bool:
    """Return whether all addresses of `host`, an address or a name, are loopback addresses."""
    try:
        addresses = listening.resolve(host)
    except ListenError:
        return False
    return all(ipaddress.ip_address(address[0].partition("%")[0]).is_loopback for _, address in addresses)
