"""The served ensemble over gRPC."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
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
from tumorctl.engines.base import BatchAnswer
from tumorctl.errors import DeadlineExceeded, EngineError, ServerError, ServerRefused, ServerUnavailable
from tumorctl.types import EngineInfo

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.2

_RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
_ERRORS: dict[grpc.StatusCode, type[EngineError]] = {
    grpc.StatusCode.OK: ServerError,
    grpc.StatusCode.CANCELLED: ServerError,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: ServerRefused,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: ServerRefused,
    grpc.StatusCode.ALREADY_EXISTS: ServerRefused,
    grpc.StatusCode.PERMISSION_DENIED: ServerRefused,
    grpc.StatusCode.UNAUTHENTICATED: ServerRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerUnavailable,
    grpc.StatusCode.FAILED_PRECONDITION: ServerRefused,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.UNIMPLEMENTED: ServerRefused,
    grpc.StatusCode.OUT_OF_RANGE: ServerRefused,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.DATA_LOSS: ServerError,
}


def error_for(status: grpc.StatusCode | None, detail: str, request_id: str | None = None) -> EngineError:
    """The typed error for a gRPC status.

    Args:
        status: what the call ended with; None where the client library itself failed.
        detail: what the server said.
        request_id: of the failed request.
    """
    kind = ServerError if status is None else _ERRORS[status]
    name = "client error" if status is None else status.name
    return kind(f"the server answered {name}: {detail}", request_id=request_id)


def status_of(error: InferenceServerException) -> grpc.StatusCode | None:
    """The gRPC status of a tritonclient error, which carries it as ``StatusCode.NAME``."""
    name = str(error.status() or "").removeprefix("StatusCode.")
    return grpc.StatusCode.__members__.get(name)


class TritonEngine:
    """The ensemble `tumor_detection` of a Triton server.

    Several batches travel at once, each on a thread and connection of its own. A call that finds the server unavailable
    or exhausted is repeated after a pause until the batch's deadline or the fourth attempt.

    Args:
        url: ``HOST:PORT`` of the server's gRPC endpoint.

    Raises:
        ServerUnavailable: nothing answers there, or the ensemble is not ready.
        ServerRefused: the server does not serve the ensemble as the contract says.
    """

    in_flight = 3

    def __init__(self, url: str) -> None:
        self.url = url
        self._per_thread = threading.local()
        self._clients: list[triton.InferenceServerClient] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
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
        return self._workers.submit(self._answer, images, gate_threshold, time.monotonic() + timeout_s)

    def close(self) -> None:
        """Drop what waits, end retries and calls under way, close the connections."""
        self._closed.set()
        self._workers.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            while self._clients:
                self._clients.pop().close()
        self._workers.shutdown(wait=True)

    def _client(self) -> triton.InferenceServerClient:
        client: triton.InferenceServerClient | None = getattr(self._per_thread, "client", None)
        if client is None:
            try:
                client = triton.InferenceServerClient(self.url)
            except Exception as error:
                raise ServerUnavailable(f"{self.url!r} is not a server address: give HOST:PORT") from error
            self._per_thread.client = client
            with self._lock:
                self._clients.append(client)
        return client

    def _connect(self) -> EngineInfo:
        client = self._client()
        try:
            server = client.get_server_metadata(client_timeout=CONNECT_TIMEOUT_S)
            ready = client.is_model_ready(ENSEMBLE, client_timeout=CONNECT_TIMEOUT_S)
            metadata = client.get_model_metadata(ENSEMBLE, client_timeout=CONNECT_TIMEOUT_S) if ready else None
        except InferenceServerException as error:
            if status_of(error) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise ServerUnavailable(
                    f"no Triton server answers at {self.url} (gRPC); is it running? `tumorctl serve` starts one"
                ) from error
            raise error_for(status_of(error), str(error.message())) from error
        if metadata is None:
            raise ServerUnavailable(f"the server at {self.url} does not have the model {ENSEMBLE} ready")
        served = {tensor.name: list(tensor.shape) for tensor in [*metadata.inputs, *metadata.outputs]}
        wanted = {
            IMAGE: [-1, SIDE, SIDE, CHANNELS],
            TUMOR_PROBABILITY: [-1, 1],
            SEGMENTED: [-1, 1],
            MASK: [-1, SIDE, SIDE],
        }
        if served != wanted:
            raise ServerRefused(f"the model {ENSEMBLE} at {self.url} has other inputs and outputs than this client")
        parameters = self._gate_parameters(client)
        return EngineInfo(
            engine="triton",
            target=self.url,
            model_versions={ENSEMBLE: ",".join(metadata.versions), **_versions(parameters)},
            model_digests={name: parameters[f"{name}_sha256"] for name in NETWORKS if f"{name}_sha256" in parameters},
            gate_threshold=_number(parameters.get(GATE_THRESHOLD_PARAMETER)),
            mask_threshold=_number(parameters.get(MASK_THRESHOLD_PARAMETER)),
            software={server.name: server.version, "tritonclient": version("tritonclient")},
        )

    def _gate_parameters(self, client: triton.InferenceServerClient) -> dict[str, str]:
        """Parameters in the gate's configuration; none where the server keeps configurations to itself."""
        try:
            answer = client.get_model_config(GATE, as_json=True, client_timeout=CONNECT_TIMEOUT_S)
        except InferenceServerException:
            return {}
        parameters: dict[str, dict[str, str]] = answer["config"].get("parameters", {})
        return {name: str(value.get("string_value", "")) for name, value in parameters.items()}

    def _answer(self, images: npt.NDArray[np.uint8], gate_threshold: float | None, deadline: float) -> BatchAnswer:
        request_id = uuid.uuid4().hex[:16]
        image = triton.InferInput(IMAGE, list(images.shape), "UINT8")
        image.set_data_from_numpy(images)
        parameters = {} if gate_threshold is None else {GATE_THRESHOLD_PARAMETER: float(gate_threshold)}
        attempt = 0
        while True:
            attempt += 1
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise DeadlineExceeded("the server did not answer in time", request_id=request_id)
            try:
                result = self._client().infer(
                    ENSEMBLE,
                    [image],
                    # All outputs: Triton 24.10 cannot answer for some of an ensemble's outputs.
                    outputs=[triton.InferRequestedOutput(n) for n in (TUMOR_PROBABILITY, SEGMENTED, MASK)],
                    request_id=request_id,
                    parameters=parameters,
                    client_timeout=remaining,
                )
                return _decode(result, len(images), request_id)
            except InferenceServerException as error:
                status = status_of(error)
                pause = _FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
                worth_it = status in _RETRIED and attempt < _ATTEMPTS and time.monotonic() + pause < deadline
                if not worth_it or self._closed.wait(pause):
                    raise error_for(status, str(error.message()), request_id) from error
                logger.warning("request %s: %s, attempt %d follows", request_id, status, attempt + 1)


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
