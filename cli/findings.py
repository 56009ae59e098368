"""The result of one check of `captiond doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from common.translation import Message


@dataclass(frozen=True)
class Finding:
    """One check: its subject, whether it passed, and a message for the operator."""

    subject: str
    ok: bool
    message: Message
