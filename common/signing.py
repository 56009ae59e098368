"""Webhook secrets and signatures according to Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from common.translation import _

PREFIX = "whsec_"
#: Size of a secret in bytes: the minimum, that of a generated one, and the maximum.
MIN_BYTES, GENERATED_BYTES, MAX_BYTES = 24, 32, 64


def new_secret() -> str:
    """Generate a secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(GENERATED_BYTES)).decode()


def signing_key(secret: str) -> bytes:
    """Decode a secret. Raises `ValueError`, whose message does not contain the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(
            _(
                "A webhook secret is {prefix} followed by {min} to {max} random bytes in base64.",
                prefix=PREFIX,
                min=MIN_BYTES,
                max=MAX_BYTES,
            )
        )
    return key


def signed_headers(webhook_id: str, timestamp: int, body: bytes, with_secrets: Iterable[str]) -> dict[str, str]:
    """Return the headers of a delivery attempt. `timestamp` is its Unix time. Each secret adds a signature."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(signing_key(secret), content, hashlib.sha256) for secret in with_secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
