"""The log of a process of the service: one format, and no secret of the settings in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from common.settings import Settings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Characters of the shortest secret that is searched for: shorter ones would hide parts of ordinary words.
SHORTEST = 4
HIDDEN = "***"


class RedactingFormatter(logging.Formatter):
    """Replaces secrets in whatever is logged: libraries put URLs into their messages and exceptions."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        # A secret can be part of another one, so the longest is replaced first.
        self._secrets = sorted((secret for secret in secrets if len(secret) >= SHORTEST), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`, with its traceback, without secrets."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def start(settings: Settings) -> None:
    """Log to standard error; does nothing when a handler is there already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(settings.secrets()))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
