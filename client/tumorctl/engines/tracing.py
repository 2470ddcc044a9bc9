"""W3C trace context of requests, so that a server's spans can be told apart and joined to the caller's."""

from __future__ import annotations

import secrets
import sys


def trace_headers() -> dict[str, str]:
    """Headers that say which trace a request belongs to.

    Where the caller uses OpenTelemetry and a span is active, its context; else a new trace, marked as sampled. Call it
    on the caller's thread: OpenTelemetry's context belongs to that.
    """
    return _active_span() or {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"}


def _active_span() -> dict[str, str]:
    # A caller with an active span has imported it; nobody else is made to.
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        # This propagator alone: baggage may hold what is none of the server's business.
        TraceContextTextMapPropagator().inject(headers)
    return headers
