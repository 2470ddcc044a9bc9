"""The servers of an address: their channels, and whose turn it is."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Collection

from tritonclient import grpc as triton

from tumorctl.engines.address import Address, Endpoint
from tumorctl.engines.credentials import Credentials

_REST_S = 2.0
"""How long a server that could not answer is passed over where there are others."""

_LARGEST_MESSAGE = 64 << 20
"""Bytes; a full batch is 12.6 MB on its way there and 4.2 MB on its way back."""

_RESOLVER = "dns:///"

# Within what Triton tolerates by default: two pings while it has nothing to say (--grpc-http2-max-ping-strikes).
_CHANNEL: dict[str, int | str] = {
    "grpc.max_send_message_length": _LARGEST_MESSAGE,
    "grpc.max_receive_message_length": _LARGEST_MESSAGE,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.http2.max_pings_without_data": 2,
    # Also how long one attempt to connect may take: 20 s by default, a third of a batch's time.
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.initial_reconnect_backoff_ms": 500,
    "grpc.max_reconnect_backoff_ms": 10_000,
}
_BALANCED: dict[str, int | str] = {
    "grpc.service_config": json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}),
    # A restarted pod has a new address: ask for it sooner than after 30 s.
    "grpc.dns_min_time_between_resolutions_ms": 5_000,
}


class Server:
    """A server, or all servers behind a ``dns:///`` name, with its channel, which threads share.

    Attributes:
        endpoint: where it is.
        client: calls it.
    """

    def __init__(self, endpoint: Endpoint, balanced: bool, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.rests_until = 0.0
        options = {**_CHANNEL, **(_BALANCED if balanced else {})}
        if credentials.server_name is not None:
            options["grpc.ssl_target_name_override"] = credentials.server_name
            options["grpc.default_authority"] = credentials.server_name
        self.client = triton.InferenceServerClient(
            f"{_RESOLVER}{endpoint}", creds=credentials.channel, channel_args=list(options.items())
        )


class Servers:
    """Takes servers in turn, passing over those that have just failed.

    Each has a channel of its own: gRPC balances over the addresses of one name (``dns:///``), but has no target of
    several names, and a certificate is checked against one name.
    """

    def __init__(self, address: Address, credentials: Credentials) -> None:
        self._lock = threading.Lock()
        self._all = [Server(endpoint, address.balanced, credentials) for endpoint in address.endpoints]
        # Clients that start together should not all begin with the first.
        self._turn = random.randrange(len(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def take(self, tried: Collection[Server] = ()) -> Server:
        """The next one: best one not tried yet, and best one that does not rest."""
        now = time.monotonic()
        with self._lock:
            self._turn += 1
            order = [self._all[(self._turn + place) % len(self._all)] for place in range(len(self._all))]
            return min(order, key=lambda server: (server in tried, server.rests_until > now))

    def rest(self, server: Server) -> None:
        """Pass a server over for a while; it could not answer."""
        server.rests_until = time.monotonic() + _REST_S * random.uniform(0.5, 1.5)

    def close(self) -> None:
        """End calls under way and close the channels."""
        for server in self._all:
            with contextlib.suppress(Exception):
                server.client.close()
