"""`traceparent` is read as the W3C recommends, and spans are children of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from common import tracing
from common.logs import Subject
from common.settings import Settings
from common.tracing import parse_traceparent
from tests.support.spans import collected_spans, parent_of, traceparent_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    with collected_spans() as exporter:
        yield exporter


class TestTraceparent:
    def test_a_valid_header_is_kept(self) -> None:
        assert parse_traceparent(CLIENT) == CLIENT

    def test_a_header_of_a_later_version_is_read_as_the_present_one(self) -> None:
        assert parse_traceparent(f"cc-{TRACE}-{PARENT}-01-more") == CLIENT

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "00",
            f"00-{TRACE}-{PARENT}",
            f"00-{TRACE}-{PARENT}-01-more",
            f"ff-{TRACE}-{PARENT}-01",
            f"00-{'0' * 32}-{PARENT}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE.upper()}-{PARENT}-01",
            f"{CLIENT}\nx",
        ],
    )
    def test_an_invalid_header_is_ignored(self, header: str | None) -> None:
        assert parse_traceparent(header) is None


class TestSpans:
    def test_without_opentelemetry_the_client_s_trace_is_passed_on(self) -> None:
        with tracing.span("submit", Subject(traceparent=CLIENT)) as traceparent:
            tracing.record("queue", Subject(traceparent=CLIENT), 1.0)

        assert traceparent == CLIENT

    def test_a_span_is_a_child_of_the_client_s_and_the_parent_of_later_ones(
        self, exported: InMemorySpanExporter
    ) -> None:
        with tracing.span("submit", Subject(traceparent=CLIENT)) as traceparent:
            pass
        tracing.record("queue", Subject("job", "batch", traceparent), 2.5, 1_700_000_000.0)

        submit, queue = exported.get_finished_spans()
        assert (submit.name, parent_of(submit)) == ("submit", CLIENT)
        assert (queue.name, parent_of(queue)) == ("queue", traceparent) == ("queue", traceparent_of(submit))
        assert (queue.end_time, queue.start_time) == (1_700_000_000 * 10**9, 1_699_999_997_500_000_000)
        assert dict(queue.attributes or {}) == {"captiond.job_id": "job", "captiond.batch_id": "batch"}

    def test_a_span_without_a_trace_begins_one_although_another_is_current(
        self, exported: InMemorySpanExporter
    ) -> None:
        with tracing.span("submit", Subject("first")), tracing.span("submit", Subject("second")):
            pass

        assert [parent_of(span) for span in exported.get_finished_spans()] == [None, None]

    def test_a_trace_that_the_client_does_not_sample_is_not_sent(self, exported: InMemorySpanExporter) -> None:
        with tracing.span("submit", Subject(traceparent=f"00-{TRACE}-{PARENT}-00")) as traceparent:
            pass

        assert exported.get_finished_spans() == ()
        assert traceparent and traceparent.startswith(f"00-{TRACE}-") and traceparent.endswith("-00")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A server that keeps what is sent to it; its URL, and the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


CODE = f"""
from common import logs, tracing
from common.settings import Settings
settings = Settings()
logs.configure(settings, "worker")
tracing.configure(settings, "worker")
with tracing.span("load", logs.Subject("job", None, "{CLIENT}")):
    pass
"""


def run(environment: dict[str, str], *options: str) -> str:
    """Run a process that makes one span; returns its log."""
    environment = {**Settings().environment(), "NO_PROXY": "127.0.0.1", **environment}
    return subprocess.run(
        [sys.executable, *options, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    ).stderr


def test_the_spans_of_a_process_reach_the_collector(collector: tuple[str, list[bytes]]) -> None:
    url, bodies = collector

    log = run({"OTEL_EXPORTER_OTLP_ENDPOINT": url})

    (resource,) = ExportTraceServiceRequest.FromString(b"".join(bodies)).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("load", TRACE, PARENT)
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert (names["service.name"], log) == ("captiond-worker", "")


def test_a_missing_extra_is_logged_and_the_process_runs(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()  # hides the installed package
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(tmp_path)}

    assert "the extra `otel` is not installed" in run(environment)
