"""Signs webhooks as Standard Webhooks 1.0 asks (https://www.standardwebhooks.com): secrets, and what they sign."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"
#: Bytes of a secret, of one that the service makes, and at most.
FEWEST, OURS, MOST = 24, 32, 64


def new_secret() -> str:
    """A secret that nobody knows yet."""
    return PREFIX + base64.b64encode(secrets.token_bytes(OURS)).decode()


def signing_key(secret: str) -> bytes:
    """The bytes of a secret; raises `ValueError` with a sentence that does not show it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not FEWEST <= len(key) <= MOST:
        raise ValueError(f"A webhook secret is {PREFIX} and {FEWEST} to {MOST} random bytes in base64.")
    return key


def signed_headers(webhook_id: str, timestamp: int, body: bytes, with_secrets: Iterable[str]) -> dict[str, str]:
    """The headers of one attempt: `timestamp` is its Unix time, and each secret adds a signature."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(signing_key(secret), content, hashlib.sha256) for secret in with_secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
