"""Who can reach the web server: without API keys only this machine, unless told otherwise."""

from __future__ import annotations

import ipaddress

from common import listening
from common.keyring import Keyring, KeyringError
from common.listening import ListenError
from common.settings import Settings


def refusal(settings: Settings) -> str | None:
    """Why the web server must not start with these settings, in a sentence that says what to do; None if it may."""
    try:
        keyring = Keyring(settings)
        listening.resolve(settings.host)
    except (KeyringError, ListenError) as error:
        return str(error)
    if settings.insecure or keyring.needed or is_loopback(settings.host):
        return None
    return (
        f"Other machines reach {settings.host or 'every address'}, and there are no API keys: everybody could send and "
        "read pictures. Make a key with `captiond keys add NAME`, or serve on 127.0.0.1; on a network where everybody "
        "may, say --insecure (CAPTIOND_INSECURE=true)."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`: an address, or a name all of whose addresses are such."""
    try:
        found = listening.resolve(host)
    except ListenError:
        return False
    return all(ipaddress.ip_address(address[0].partition("%")[0]).is_loopback for _, address in found)
