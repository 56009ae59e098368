"""Logging of the service's processes, with the settings' secrets removed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from common.settings import Settings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Length of the shortest secret that is replaced. Replacing shorter ones would hide parts of ordinary words.
MIN_SECRET_LENGTH = 4
MASK = "***"


class RedactingFormatter(logging.Formatter):
    """Replaces secrets in log messages and tracebacks, because libraries log URLs with passwords."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        # Longest first, because a secret can be part of another one.
        self._secrets = sorted(
            (secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH), key=len, reverse=True
        )

    def format(self, record: logging.LogRecord) -> str:
        """Format a record and its traceback without secrets."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def configure(settings: Settings) -> None:
    """Log to standard error. Does nothing if the root logger already has a handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(settings.secrets()))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
