"""Logging of the service's processes: text or JSON, with the ids of the jobs, and without the settings' secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields

from common import strict_json
from common.jobs import moment, rfc3339
from common.settings import Settings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Length of the shortest secret that is replaced. Replacing shorter ones would hide parts of ordinary words.
MIN_SECRET_LENGTH = 4
MASK = "***"


@dataclass(frozen=True)
class Subject:
    """A job or batch that a thread works on, with the trace of the request that created it."""

    job_id: str | None = None
    batch_id: str | None = None
    traceparent: str | None = None


_subjects: ContextVar[tuple[Subject, ...]] = ContextVar("subjects", default=())


@contextmanager
def about(*subjects: Subject) -> Iterator[None]:
    """Put the ids and traces of these jobs and batches on this thread's log lines, in place of those before."""
    token = _subjects.set(subjects)
    try:
        yield
    finally:
        _subjects.reset(token)


def add_subjects(record: logging.LogRecord) -> bool:
    """Filter of the handler: set `job_id`, `batch_id` and `traceparent` of a record, to a list if there are several."""
    for field in fields(Subject):
        values = dict.fromkeys(getattr(subject, field.name) for subject in _subjects.get())
        ids = [value for value in values if value]
        if ids:
            setattr(record, field.name, ids[0] if len(ids) == 1 else ids)
    return True


class TextFormatter(logging.Formatter):
    """Lines for people. Replaces secrets in messages and tracebacks, because libraries log URLs with passwords."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        # Longest first, because a secret can be part of another one.
        self._secrets = sorted(
            (secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH), key=len, reverse=True
        )

    def format(self, record: logging.LogRecord) -> str:
        """Format a record and its traceback without secrets."""
        return self.redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in ids_of(record).items())
        return super().formatMessage(record) + (f" [{ids[1:]}]" if ids else "")

    def redact(self, text: str) -> str:
        """Replace the secrets in a text."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


class JsonFormatter(TextFormatter):
    """One JSON object a line, with the process's `role`, such as `web`."""

    def __init__(self, secrets: Iterable[str], role: str) -> None:
        super().__init__(secrets)
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        # Secrets are replaced before JSON escapes their characters.
        members = {
            "time": rfc3339(moment(record.created)),
            "level": record.levelname,
            "logger": record.name,
            "role": self._role,
            "message": self.redact(record.getMessage()),
            **ids_of(record),
        }
        if record.exc_info:
            members["traceback"] = self.redact(self.formatException(record.exc_info))
        return strict_json.dumps(members)


def ids_of(record: logging.LogRecord) -> dict[str, object]:
    """The fields that `add_subjects` has set on a record."""
    return {field.name: vars(record)[field.name] for field in fields(Subject) if field.name in vars(record)}


def configure(settings: Settings, role: str) -> None:
    """Log to standard error. `role` is `web` or `worker`. Does nothing if the root logger already has a handler."""
    secrets = settings.secrets()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(secrets, role) if settings.log == "json" else TextFormatter(secrets))
    handler.addFilter(add_subjects)
    logging.basicConfig(level=settings.log_level, handlers=[handler])
