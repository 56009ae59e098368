"""Traces: the W3C header `traceparent`, and spans for OpenTelemetry if it is configured.

A job keeps the `traceparent` of its submission: that of the client, or with OpenTelemetry that of the span of the
submission, whose parent is the client's. Later spans of the job are children of it, in whichever process they are made.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.logs import Subject
from common.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

#: The header, see https://www.w3.org/TR/trace-context/#traceparent-header. Later versions may have further parts.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")

_tracer: Tracer | None = None

log = logging.getLogger(__name__)


def parse_traceparent(header: str | None) -> str | None:
    """A `traceparent` in the form of version 00; None if the header is missing or invalid."""
    match = _TRACEPARENT.fullmatch(header or "")
    if match is None or (match[1] == "00" and match[3]):
        return None
    return f"00-{match[2]}"


def configure(settings: Settings, role: str) -> None:
    """Send the spans of this process to `OTEL_EXPORTER_OTLP_ENDPOINT`; does nothing if that is not set.

    The service's name is `captiond-` and the `role`. OpenTelemetry reads its other variables, such as
    `OTEL_EXPORTER_OTLP_HEADERS`, itself.
    """
    if not settings.otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra `otel` is not installed: no traces are sent.")
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"captiond-{role}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: TracerProvider | None) -> None:
    """Create spans with this provider from now on; none without one."""
    global _tracer
    _tracer = provider.get_tracer("captiond") if provider else None


@contextmanager
def span(name: str, subject: Subject) -> Iterator[str | None]:
    """A span of the block, as a child of the subject's `traceparent`. Yields the `traceparent` for its own children.

    Without OpenTelemetry, that is the given one.
    """
    if _tracer is None:
        yield subject.traceparent
        return
    with _tracer.start_as_current_span(name, _context(subject), attributes=_attributes(subject)) as current:
        context = current.get_span_context()
        yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def record(name: str, subject: Subject, seconds: float, ended: float | None = None) -> None:
    """A span that has ended and was `seconds` long, likewise. `ended` is a Unix time, by default now."""
    if _tracer is None:
        return
    ended = time.time() if ended is None else ended
    started = int((ended - seconds) * 1e9)
    made = _tracer.start_span(name, _context(subject), attributes=_attributes(subject), start_time=started)
    made.end(int(ended * 1e9))


def _context(subject: Subject) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # Begin with an empty context, because the span of another job may be current in this thread.
    carrier = {"traceparent": subject.traceparent} if subject.traceparent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _attributes(subject: Subject) -> dict[str, str]:
    ids = {"captiond.job_id": subject.job_id, "captiond.batch_id": subject.batch_id}
    return {name: value for name, value in ids.items() if value}
