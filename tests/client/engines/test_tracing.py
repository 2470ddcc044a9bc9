"""Trace context: that it reaches the server, and whose it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from opentelemetry import trace
from opentelemetry.baggage import set_baggage
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from tumorctl import ClientOptions, ConnectionOptions, TumorClient

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


def test_it_can_be_left_out(fakes: Fakes) -> None:
    _, traces = sent(fakes, ConnectionOptions(trace_context=False))
    assert traces == [None, None]
