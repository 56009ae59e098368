"""Requests in the protocols of other software."""

from __future__ import annotations

import base64
from typing import Any

from tests.support.images import encoded
from tests.unit.web.client import Client

PATH = "/huggingface/image-to-text"


def in_base64(data: bytes | None = None) -> str:
    """A picture as text."""
    return base64.b64encode(encoded() if data is None else data).decode()


def ask(client: Client, inputs: object = None, headers: dict[str, str] | None = None) -> Any:
    """Ask for the caption of a picture in the simplest of the protocols; returns the response."""
    return client.post(PATH, json={"inputs": in_base64() if inputs is None else inputs}, headers=headers)
