"""What `captiond doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and in words."""

    subject: str
    well: bool
    words: str
