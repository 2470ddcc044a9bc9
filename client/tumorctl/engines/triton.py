"""The served ensemble over gRPC."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tumorctl.contract import (
    CHANNELS,
    ENSEMBLE,
    GATE,
    GATE_THRESHOLD_PARAMETER,
    IMAGE,
    MASK,
    MASK_THRESHOLD_PARAMETER,
    NETWORKS,
    SEGMENTED,
    SIDE,
    TUMOR_PROBABILITY,
)
from tumorctl.engines.address import parse_address
from tumorctl.engines.base import BatchAnswer
from tumorctl.engines.credentials import Credentials
from tumorctl.engines.failures import connection_error, error_for, status_of
from tumorctl.engines.servers import Server, Servers
from tumorctl.engines.tracing import trace_headers
from tumorctl.errors import DeadlineExceeded, EngineError, ServerError, ServerRefused, ServerUnavailable
from tumorctl.types import ConnectionOptions, EngineInfo

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
_IN_FLIGHT = 3
"""Batches under way for each server named."""

_ATTEMPTS = 4
_ATTEMPTS_OF_SEVERAL = 8
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0

_RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
# A Triton that is stopping answers UNAVAILABLE first, then that it knows no such model, and cancels what is left
# (measured with 2.51). The model was there when the client was made, so another server will have it.
_RETRIED_ELSEWHERE = _RETRIED | {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.CANCELLED}


class TritonEngine:
    """The ensemble `tumor_detection` of one or several Triton servers, which must serve the same networks.

    Several batches travel at once. A call that finds a server unavailable, exhausted or stopping is repeated, on
    another server where there is one and else after a pause, until the batch's deadline or the last attempt.

    Args:
        url: address of the servers, see `parse_address`.
        connection: settled options of the connection, from `tumorctl.config.resolve`.

    Raises:
        InvalidOption: the address or a file named in the options cannot be used.
        ServerUnavailable: nothing answers there, or the ensemble is not ready.
        InsecureServer: no secure connection came about.
        AccessDenied: the server or a gateway wants another token or certificate.
        ServerRefused: the server does not serve the ensemble as the contract says.
    """

    def __init__(self, url: str, connection: ConnectionOptions | None = None) -> None:
        connection = connection or ConnectionOptions()
        self.address = parse_address(url)
        self.credentials = Credentials(self.address, connection)
        self._sends_trace = connection.trace_context is not False
        self.in_flight = _IN_FLIGHT * len(self.address.endpoints)
        self._closed = threading.Event()
        self._servers = Servers(self.address, self.credentials)
        self._workers = ThreadPoolExecutor(self.in_flight, thread_name_prefix="tumorctl-triton")
        try:
            self.info = self._connect()
        except BaseException:
            self.close()
            raise

    def submit(
        self, images: npt.NDArray[np.uint8], *, gate_threshold: float | None, timeout_s: float
    ) -> Future[BatchAnswer]:
        """Send a batch; see `Engine.submit`."""
        # On the caller's thread, whose trace this belongs to.
        trace = trace_headers() if self._sends_trace else {}
        return self._workers.submit(self._answer, images, gate_threshold, time.monotonic() + timeout_s, trace)

    def close(self) -> None:
        """Drop what waits, end retries and calls under way, close the connections."""
        self._closed.set()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._servers.close()
        self._workers.shutdown(wait=True)

    def _connect(self) -> EngineInfo:
        """What the first server that answers says; the others may be on their way."""
        failures: dict[Server, EngineError] = {}
        while len(failures) < len(self._servers):
            server = self._servers.take(failures)
            try:
                info = self._look_at(server)
            except EngineError as error:
                failures[server] = error
                self._servers.rest(server)
                continue
            for failure in failures.values():
                logger.warning("going on without: %s", failure)
            return info
        first = next(iter(failures.values()))
        if len(failures) > 1:
            raise type(first)("; ".join(map(str, failures.values()))) from first
        raise first

    def _look_at(self, server: Server) -> EngineInfo:
        client, endpoint = server.client, server.endpoint
        headers = self.credentials.headers()
        call = {"headers": headers, "client_timeout": CONNECT_TIMEOUT_S}
        try:
            about = client.get_server_metadata(**call)
            ready = client.is_model_ready(ENSEMBLE, **call)
            metadata = client.get_model_metadata(ENSEMBLE, **call) if ready else None
        except InferenceServerException as error:
            is_live = partial(_is_live, client, call)
            raise connection_error(error, endpoint, self.credentials, is_live) from error
        if metadata is None:
            raise ServerUnavailable(f"the server at {endpoint} does not have the model {ENSEMBLE} ready")
        served = {tensor.name: list(tensor.shape) for tensor in [*metadata.inputs, *metadata.outputs]}
        wanted = {
            IMAGE: [-1, SIDE, SIDE, CHANNELS],
            TUMOR_PROBABILITY: [-1, 1],
            SEGMENTED: [-1, 1],
            MASK: [-1, SIDE, SIDE],
        }
        if served != wanted:
            raise ServerRefused(f"the model {ENSEMBLE} at {endpoint} has other inputs and outputs than this client")
        parameters = _gate_parameters(client, call)
        return EngineInfo(
            engine="triton",
            target=str(self.address),
            model_versions={ENSEMBLE: ",".join(metadata.versions), **_versions(parameters)},
            model_digests={name: parameters[f"{name}_sha256"] for name in NETWORKS if f"{name}_sha256" in parameters},
            gate_threshold=_number(parameters.get(GATE_THRESHOLD_PARAMETER)),
            mask_threshold=_number(parameters.get(MASK_THRESHOLD_PARAMETER)),
            software={about.name: about.version, "tritonclient": version("tritonclient")},
        )

    def _answer(
        self, images: npt.NDArray[np.uint8], gate_threshold: float | None, deadline: float, trace: dict[str, str]
    ) -> BatchAnswer:
        request_id = uuid.uuid4().hex[:16]
        logger.debug("request %s: trace %s", request_id, trace.get("traceparent", "none"))
        image = triton.InferInput(IMAGE, list(images.shape), "UINT8")
        image.set_data_from_numpy(images)
        parameters = {} if gate_threshold is None else {GATE_THRESHOLD_PARAMETER: float(gate_threshold)}
        tried: set[Server] = set()
        attempt = 0
        while True:
            attempt += 1
            server = self._servers.take(tried)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise DeadlineExceeded("the server did not answer in time", request_id=request_id)
            try:
                result = server.client.infer(
                    ENSEMBLE,
                    [image],
                    # All outputs: Triton 24.10 cannot answer for some of an ensemble's outputs.
                    outputs=[triton.InferRequestedOutput(n) for n in (TUMOR_PROBABILITY, SEGMENTED, MASK)],
                    request_id=request_id,
                    parameters=parameters,
                    client_timeout=remaining,
                    headers={**trace, **self.credentials.headers()},
                )
                return _decode(result, len(images), request_id)
            except ValueError as error:
                # What a gRPC channel says that was closed in the meantime.
                if not self._closed.is_set():
                    raise
                raise ServerError("the client was closed", request_id=request_id) from error
            except InferenceServerException as error:
                status = status_of(error)
                tried.add(server)
                pause = self._pause(attempt, tried)
                worth_it = self._is_worth_it(status, attempt) and time.monotonic() + pause < deadline
                if worth_it:
                    self._servers.rest(server)
                if not worth_it or self._closed.wait(pause):
                    raise error_for(status, str(error.message()), request_id) from error
                logger.warning(
                    "request %s: %s at %s, attempt %d follows", request_id, status, server.endpoint, attempt + 1
                )

    def _is_worth_it(self, status: grpc.StatusCode | None, attempt: int) -> bool:
        if self.address.has_several:
            return status in _RETRIED_ELSEWHERE and attempt < _ATTEMPTS_OF_SEVERAL
        return status in _RETRIED and attempt < _ATTEMPTS

    def _pause(self, attempt: int, tried: set[Server]) -> float:
        """Seconds until the next attempt: none while there is a server that has not been asked."""
        rounds = attempt - len(self._servers)
        if len(tried) < len(self._servers) or rounds < 0:
            return 0.0
        longest: float = min(_FIRST_PAUSE_S * 2.0**rounds, _LONGEST_PAUSE_S)
        return longest * random.uniform(0.5, 1.5)


def _is_live(client: triton.InferenceServerClient, call: dict[str, Any]) -> bool:
    try:
        return bool(client.is_server_live(**call))
    except InferenceServerException:
        return False


def _gate_parameters(client: triton.InferenceServerClient, call: dict[str, Any]) -> dict[str, str]:
    """Parameters in the gate's configuration; none where the server keeps configurations to itself."""
    try:
        answer = client.get_model_config(GATE, as_json=True, **call)
    except InferenceServerException:
        return {}
    parameters: dict[str, dict[str, str]] = answer["config"].get("parameters", {})
    return {name: str(value.get("string_value", "")) for name, value in parameters.items()}


def _decode(result: triton.InferResult, count: int, request_id: str) -> BatchAnswer:
    arrays: dict[str, Any] = {name: result.as_numpy(name) for name in (TUMOR_PROBABILITY, SEGMENTED, MASK)}
    expected = {TUMOR_PROBABILITY: (count, 1), SEGMENTED: (count, 1), MASK: (count, SIDE, SIDE)}
    if any(array is None or array.shape != expected[name] for name, array in arrays.items()):
        raise ServerError("the server's answer does not have the shape of the request", request_id=request_id)
    return BatchAnswer(
        probabilities=arrays[TUMOR_PROBABILITY][:, 0],
        segmented=arrays[SEGMENTED][:, 0].astype(np.bool_),
        masks=arrays[MASK].astype(np.bool_),
    )


def _versions(parameters: dict[str, str]) -> dict[str, str]:
    version = parameters.get("networks_version")
    return dict.fromkeys(NETWORKS, version) if version else {}


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
