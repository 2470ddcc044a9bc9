"""Retries, deadlines and errors of the served engine, against a gRPC server that fails on purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tumorctl import (
    ClientOptions,
    DeadlineExceeded,
    EngineError,
    ServerError,
    ServerRefused,
    ServerUnavailable,
    TumorClient,
    TumorctlError,
)
from tumorctl.engines import triton as engine_module
from tumorctl.engines.triton import TritonEngine, error_for

IMAGES = np.zeros((2, 256, 256, 3), np.uint8)


class FailingServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers as the contract says, after failing with the statuses it is given."""

    def __init__(self) -> None:
        self.failures: list[grpc.StatusCode] = []
        self.delay_s = 0.0
        self.ready = True
        self.calls = 0
        self.request_ids: list[str] = []
        self.parameters: list[dict[str, float]] = []
        self.mask_side = 256

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ServerMetadataResponse(name="fake", version="0")

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ModelReadyResponse(ready=self.ready)

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name="tumor_detection",
            versions=["1"],
            inputs=[tensor(name="IMAGE", datatype="UINT8", shape=[-1, 256, 256, 3])],
            outputs=[
                tensor(name="TUMOR_PROBABILITY", datatype="FP32", shape=[-1, 1]),
                tensor(name="SEGMENTED", datatype="BOOL", shape=[-1, 1]),
                tensor(name="MASK", datatype="UINT8", shape=[-1, self.mask_side, self.mask_side]),
            ],
        )

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        self.request_ids.append(request.id)
        self.parameters.append({name: value.double_param for name, value in request.parameters.items()})
        time.sleep(self.delay_s)
        if self.failures:
            context.abort(self.failures.pop(0), "on purpose")
        count = request.inputs[0].shape[0]
        answer = service_pb2.ModelInferResponse(model_name="tumor_detection", model_version="1")
        for name, kind, array in (
            ("TUMOR_PROBABILITY", "FP32", np.full((count, 1), 0.25, np.float32)),
            ("SEGMENTED", "BOOL", np.zeros((count, 1), np.bool_)),
            ("MASK", "UINT8", np.zeros((count, 256, 256), np.uint8)),
        ):
            answer.outputs.add(name=name, datatype=kind, shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FailingServer, str]]:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 0.01)
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        servicer = FailingServer()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield servicer, f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


def predict(url: str, **options: float) -> list[float]:
    with TumorClient(url, options=ClientOptions(**options)) as client:  # type: ignore[arg-type]
        return [result.tumor_probability for result in client.predict(IMAGES)]


@pytest.mark.parametrize("status", list(grpc.StatusCode))
def test_every_status_has_a_typed_error(status: grpc.StatusCode) -> None:
    error = error_for(status, "detail", "id")
    assert isinstance(error, EngineError)
    assert error.request_id == "id"
    assert status.name in str(error)
    assert isinstance(error, ServerUnavailable) == (status.name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"))
    assert isinstance(error, DeadlineExceeded) == (status is grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_failure_of_the_client_library_has_one_too() -> None:
    assert type(error_for(None, "detail")) is ServerError


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_an_unavailable_server_is_asked_again(fake: tuple[FailingServer, str], status: grpc.StatusCode) -> None:
    server, url = fake
    server.failures = [status, status]
    assert predict(url) == [0.25, 0.25]
    assert server.calls == 3
    assert len(set(server.request_ids)) == 1


def test_it_is_not_asked_for_ever(fake: tuple[FailingServer, str]) -> None:
    server, url = fake
    server.failures = [grpc.StatusCode.UNAVAILABLE] * 100
    with pytest.raises(ServerUnavailable) as caught:
        predict(url)
    assert server.calls == 4
    assert caught.value.request_id == server.request_ids[0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, ServerRefused),
        (grpc.StatusCode.NOT_FOUND, ServerRefused),
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
    ],
)
def test_what_would_fail_again_is_not_repeated(
    fake: tuple[FailingServer, str], status: grpc.StatusCode, kind: type[TumorctlError]
) -> None:
    server, url = fake
    server.failures = [status]
    with pytest.raises(kind):
        predict(url)
    assert server.calls == 1


def test_a_slow_server_is_given_up_at_the_deadline(fake: tuple[FailingServer, str]) -> None:
    server, url = fake
    server.delay_s = 1.0
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        predict(url, timeout_s=0.2)
    assert server.calls == 1
    assert time.monotonic() - started < 30


def test_retries_stay_within_the_deadline(fake: tuple[FailingServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 60.0)
    server, url = fake
    server.failures = [grpc.StatusCode.UNAVAILABLE]
    with pytest.raises(ServerUnavailable):
        predict(url, timeout_s=1.0)
    assert server.calls == 1


def test_the_threshold_travels_with_the_request(fake: tuple[FailingServer, str]) -> None:
    server, url = fake
    predict(url, gate_threshold=0.125)
    predict(url)
    assert server.parameters == [{"gate_threshold": 0.125}, {}]


def test_a_server_that_keeps_its_configuration_to_itself_is_used_all_the_same(fake: tuple[FailingServer, str]) -> None:
    # The fake has no ModelConfig call: UNIMPLEMENTED.
    engine = TritonEngine(fake[1])
    engine.close()
    assert engine.info.gate_threshold is None
    assert engine.info.model_digests == {}


def test_a_server_without_the_model_ready_is_unavailable(fake: tuple[FailingServer, str]) -> None:
    server, url = fake
    server.ready = False
    with pytest.raises(ServerUnavailable, match="tumor_detection"):
        TritonEngine(url)


def test_a_server_with_other_tensors_is_refused(fake: tuple[FailingServer, str]) -> None:
    server, url = fake
    server.mask_side = 128
    with pytest.raises(ServerRefused, match="other inputs and outputs"):
        TritonEngine(url)


@pytest.mark.parametrize("url", ["127.0.0.1:9", "no-such-host.invalid:8001"])
def test_nobody_there(url: str) -> None:
    with pytest.raises(ServerUnavailable, match="no Triton server answers"):
        TritonEngine(url)


def test_closing_does_not_wait_for_a_slow_server(fake: tuple[FailingServer, str]) -> None:
    server, url = fake
    server.delay_s = 20.0
    engine = TritonEngine(url)
    answers = [engine.submit(IMAGES, gate_threshold=None, timeout_s=100) for _ in range(8)]
    while not server.calls:
        time.sleep(0.01)
    server.delay_s = 0.0
    engine.close()
    assert all(answer.done() for answer in answers)
    assert isinstance(answers[0].exception(), EngineError)
    assert answers[-1].cancelled()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "127.0.0.1"])
def test_what_is_not_an_address_says_so(url: str) -> None:
    with pytest.raises(ServerUnavailable, match="server"):
        TritonEngine(url)
