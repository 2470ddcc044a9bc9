"""Retries, deadlines and errors of the served engine, against a gRPC server that fails on purpose."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import pytest

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
from tumorctl.engines.failures import error_for
from tumorctl.engines.triton import TritonEngine

IMAGES = np.zeros((2, 256, 256, 3), np.uint8)


FailingServer = Any
"""The fake of conftest.py."""


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


@pytest.mark.parametrize(
    ("url", "why"), [("127.0.0.1:9", "nothing listens there"), ("no-such-host.invalid:8001", "host name is not known")]
)
def test_nobody_there(url: str, why: str) -> None:
    with pytest.raises(ServerUnavailable, match=f"no Triton server answers at {url}.*{why}"):
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
