"""Trace context: that it reaches the server, and whose it is."""

from __future__ import annotations

import http.server
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.baggage import set_baggage
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from tumorctl import ClientOptions, ConnectionOptions, TumorClient
from tumorctl.serving.triton import TritonServer

IMAGES = np.zeros((4, 256, 256, 3), np.uint8)
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")

Fakes = Callable[..., Any]


def sent(fakes: Fakes, connection: ConnectionOptions | None = None) -> tuple[Any, list[str | None]]:
    server, url = fakes()
    with TumorClient(url, options=ClientOptions(batch_size=2), connection=connection) as client:
        list(client.predict(IMAGES))
    return server, [headers.get("traceparent") for headers in server.headers]


def test_each_request_has_a_trace_of_its_own(fakes: Fakes) -> None:
    server, traces = sent(fakes)
    assert len(set(traces)) == 2
    assert all(each is not None and TRACEPARENT.fullmatch(each) for each in traces)
    assert len(set(server.request_ids)) == 2


def test_another_attempt_belongs_to_the_same_trace(fakes: Fakes) -> None:
    server, url = fakes()
    with TumorClient(url) as client:
        server.failures = [grpc.StatusCode.UNAVAILABLE]
        list(client.predict(IMAGES))
    first, second = (headers["traceparent"] for headers in server.headers)
    assert first == second


def test_an_active_span_is_the_parent(fakes: Fakes) -> None:
    context = SpanContext(0xABC, 0xDEF, True, TraceFlags(0), TraceState([("hospital", "42")]))
    baggage = attach(set_baggage("patient", "nobody's business"))
    try:
        with trace.use_span(NonRecordingSpan(context)):
            server, traces = sent(fakes)
    finally:
        detach(baggage)
    assert traces == [f"00-{0xABC:032x}-{0xDEF:016x}-00"] * 2
    assert server.headers[0]["tracestate"] == "hospital=42"
    assert "baggage" not in server.headers[0]


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes in what Triton exports, as OTLP over HTTP."""

    spans = b""

    def do_POST(self) -> None:
        Collector.spans += self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_real_server_s_spans_belong_to_it(
    fast_triton: Callable[..., TritonServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what docs/connecting.md says: neither the server's rate nor the sampled flag matters."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        command = TritonServer._command
        settings = (
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            "rate=1000000",
            f"opentelemetry,url={url}",
            "opentelemetry,bsp_schedule_delay=100",
        )
        monkeypatch.setattr(
            TritonServer,
            "_command",
            lambda server, backends: [*command(server, backends), *(f"--trace-config={each}" for each in settings)],
        )
        parent = SpanContext(0xABCDEF << 80, 0xDEF, True, TraceFlags(0))
        try:
            with (
                fast_triton() as server,
                TumorClient(server.grpc_url) as client,
                caplog.at_level(logging.DEBUG, "tumorctl"),
            ):
                own_seen = parent_seen = False
                # Triton's exporter loses one now and then.
                while not (own_seen and parent_seen):
                    list(client.predict(IMAGES))
                    own = re.findall(r"trace 00-([0-9a-f]{32})-", caplog.text)
                    with trace.use_span(NonRecordingSpan(parent)):
                        list(client.predict(IMAGES))
                    time.sleep(0.2)
                    own_seen = any(
                        each.encode() in Collector.spans for each in own if each != f"{parent.trace_id:032x}"
                    )
                    parent_seen = f"{parent.trace_id:032x}".encode() in Collector.spans
        finally:
            collector.shutdown()
            thread.join()


def test_it_can_be_left_out(fakes: Fakes) -> None:
    _, traces = sent(fakes, ConnectionOptions(trace_context=False))
    assert traces == [None, None]
