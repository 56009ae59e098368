"""Collects the spans of a test in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from common import tracing


@contextmanager
def collected_spans() -> Iterator[InMemorySpanExporter]:
    """Turn spans on while the context lasts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    try:
        yield exporter
    finally:
        tracing.use(None)


def traceparent_of(span: ReadableSpan) -> str:
    """The `traceparent` that the span's children have."""
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def parent_of(span: ReadableSpan) -> str | None:
    """The `traceparent` of the span's parent."""
    return f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01" if span.parent else None
