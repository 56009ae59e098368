"""Who can reach the web server: without API keys only this machine, unless told otherwise."""

from __future__ import annotations

import ipaddress
import socket

from common.keyring import Keyring, KeyringError
from common.settings import Settings


def refusal(settings: Settings) -> str | None:
    """Why the web server must not start with these settings, in a sentence that says what to do; None if it may."""
    try:
        keyring = Keyring(settings)
    except KeyringError as error:
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
        found = socket.getaddrinfo(host, None) if host else []
    except OSError:
        return False
    addresses = {str(address[0]).partition("%")[0] for *_, address in found}
    return bool(addresses) and all(ipaddress.ip_address(address).is_loopback for address in addresses)
