"""Several servers behind one client: who is asked, who is asked next, and that a restart costs no prediction."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest

from tumorctl import ClientOptions, ServerError, ServerRefused, ServerUnavailable, TumorClient, TumorctlError
from tumorctl.engines import servers as servers_module
from tumorctl.engines import triton as engine_module
from tumorctl.engines.address import parse_address
from tumorctl.engines.credentials import Credentials
from tumorctl.engines.servers import Servers
from tumorctl.serving.triton import TritonServer
from tumorctl.types import ConnectionOptions

IMAGE = np.full((1, 256, 256, 3), 200, np.uint8)

Fakes = Callable[..., Any]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def predict(client: TumorClient) -> float:
    (result,) = client.predict(IMAGE)
    return round(result.tumor_probability, 2)


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.CANCELLED,
    ],
)
def test_another_server_answers_for_one_that_cannot(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, status: grpc.StatusCode
) -> None:
    # There is no time for a pause: whoever is asked next is asked at once.
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 1000.0)
    monkeypatch.setattr(engine_module, "_LONGEST_PAUSE_S", 1000.0)
    (bad, bad_url), (good, good_url) = fakes(), fakes()
    bad.failures = [status] * 100
    with TumorClient(f"{bad_url},{good_url}") as client:
        assert [predict(client) for _ in range(6)] == [0.25] * 6
    # The bad one was asked once, and then passed over.
    assert (bad.calls, good.calls) == (1, 6)
    assert len(set(good.request_ids)) == 6
    assert bad.request_ids[0] in good.request_ids


@pytest.mark.parametrize(
    ("status", "kind"),
    [(grpc.StatusCode.INVALID_ARGUMENT, ServerRefused), (grpc.StatusCode.INTERNAL, ServerError)],
)
def test_what_any_server_would_refuse_is_not_repeated(
    fakes: Fakes, status: grpc.StatusCode, kind: type[TumorctlError]
) -> None:
    (first, first_url), (second, second_url) = fakes(), fakes()
    first.failures, second.failures = [status], [status]
    with TumorClient(f"{first_url},{second_url}") as client, pytest.raises(kind):
        predict(client)
    assert first.calls + second.calls == 1


def test_all_are_asked_in_turn(fakes: Fakes) -> None:
    started = [fakes() for _ in range(3)]
    with TumorClient(",".join(url for _, url in started)) as client:
        for _ in range(9):
            predict(client)
    assert [server.calls for server, _ in started] == [3, 3, 3]


def test_more_travels_at_once(fakes: Fakes) -> None:
    started = [fakes() for _ in range(2)]
    with TumorClient(",".join(url for _, url in started)) as client:
        assert client._engine.in_flight == 6


def test_a_server_that_rested_is_asked_again(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "_REST_S", 0.0)
    (first, first_url), (second, second_url) = fakes(), fakes()
    first.failures = [grpc.StatusCode.UNAVAILABLE]
    with TumorClient(f"{first_url},{second_url}") as client:
        for _ in range(8):
            predict(client)
    assert first.calls >= 4
    assert second.calls >= 4


def test_when_all_rest_one_is_asked_all_the_same() -> None:
    address = parse_address("a.example:1,b.example:1")
    servers = Servers(address, Credentials(address, ConnectionOptions()))
    try:
        first, second = servers.take(), servers.take()
        assert first is not second
        servers.rest(first)
        assert [servers.take() for _ in range(3)] == [second] * 3
        servers.rest(second)
        assert {servers.take(), servers.take()} == {first, second}
        assert servers.take({first}) is second
    finally:
        servers.close()


def test_one_that_is_down_from_the_start_is_said_and_passed_over(
    fakes: Fakes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.randrange", lambda count: count - 1)  # the first begins
    server, url = fakes()
    down = f"127.0.0.1:{closed_port()}"
    with caplog.at_level(logging.WARNING, "tumorctl"), TumorClient(f"{down},{url}") as client:
        assert [predict(client) for _ in range(3)] == [0.25] * 3
    assert server.calls == 3
    assert [record.message for record in caplog.records if record.name.startswith("tumorctl")] == [
        f"going on without: no Triton server answers at {down} (gRPC): nothing listens there; is it running? "
        "`tumorctl serve` starts one"
    ]


def test_when_all_are_down_each_is_named() -> None:
    ports = closed_port(), closed_port()
    with pytest.raises(ServerUnavailable) as caught:
        TumorClient(f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}")
    assert all(f"127.0.0.1:{port}" in str(caught.value) for port in ports)


def test_several_that_all_fail_are_not_asked_for_ever(fakes: Fakes) -> None:
    started = [fakes() for _ in range(2)]
    with TumorClient(",".join(url for _, url in started)) as client:
        for server, _ in started:
            server.failures = [grpc.StatusCode.UNAVAILABLE] * 100
        with pytest.raises(ServerUnavailable):
            predict(client)
    assert [server.calls for server, _ in started] == [4, 4]


def test_the_deadline_holds_for_all_servers_together(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 60.0)
    monkeypatch.setattr(engine_module, "_LONGEST_PAUSE_S", 60.0)
    started = [fakes() for _ in range(2)]
    with TumorClient(",".join(url for _, url in started), options=ClientOptions(timeout_s=2.0)) as client:
        for server, _ in started:
            server.failures = [grpc.StatusCode.UNAVAILABLE] * 100
        with pytest.raises(ServerUnavailable):
            predict(client)
    assert [server.calls for server, _ in started] == [1, 1]


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server of ours, for which every name has the addresses 127.0.0.1 and 127.0.0.2."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setattr(servers_module, "_RESOLVER", f"dns://127.0.0.1:{listener.getsockname()[1]}/")
        thread = threading.Thread(target=answer_names, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", listener.getsockname())
            thread.join()


def answer_names(listener: socket.socket) -> None:
    """Answers questions (RFC 1035) until an empty message comes."""
    while True:
        question, asker = listener.recvfrom(512)
        if not question:
            return
        end = question.index(b"\0", 12) + 5
        is_a = question[end - 4 : end - 2] == b"\0\1"
        records = [b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + bytes([127, 0, 0, last]) for last in (1, 2) if is_a]
        header = question[:2] + b"\x81\x80\0\1" + bytes([0, len(records), 0, 0, 0, 0])
        listener.sendto(header + question[12:end] + b"".join(records), asker)


def test_all_addresses_of_a_name_are_used_in_turn(fakes: Fakes, two_addresses: None) -> None:
    first, url = fakes()
    port = url.rpartition(":")[2]
    second, _ = fakes(address=f"127.0.0.2:{port}")
    with TumorClient(f"dns:///triton.example:{port}") as client:
        # The second connection may come about a little later than the first.
        while not (first.calls and second.calls):
            predict(client)
        calls = first.calls, second.calls
        for _ in range(10):
            predict(client)
        assert (first.calls - calls[0], second.calls - calls[1]) == (5, 5)
        first.failures = [grpc.StatusCode.NOT_FOUND]
        second.failures = []
        assert [predict(client) for _ in range(4)] == [0.25] * 4


@pytest.mark.parametrize("form", ["{0},{1}", "dns:///triton.example:{2}"])
def test_a_rolling_restart_costs_no_prediction(
    fast_triton: Callable[..., TritonServer], two_addresses: None, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two real servers under load; one is stopped with SIGTERM as a rollout would, and comes back."""
    if form.startswith("dns"):
        rolled = fast_triton()
        steady = fast_triton(host="127.0.0.2", grpc_port=rolled.options.grpc_port)
    else:
        monkeypatch.setattr(servers_module, "_RESOLVER", "dns:///")
        rolled, steady = fast_triton(), fast_triton()
    url = form.format(rolled.grpc_url, steady.grpc_url, rolled.options.grpc_port)
    answers: list[float] = []
    back = threading.Event()

    def load(client: TumorClient) -> None:
        while len(answers) < 1000 or not back.is_set():
            answers.append(predict(client))

    with ExitStack() as stack:
        stack.enter_context(steady)
        stack.enter_context(rolled)
        client = stack.enter_context(TumorClient(url))
        workers = stack.enter_context(ThreadPoolExecutor(4))
        loads = [workers.submit(load, client) for _ in range(4)]
        try:
            wait_until(lambda: len(answers) >= 200, loads)
            rolled.stop()
            stopped_at = len(answers)
            wait_until(lambda: len(answers) >= stopped_at + 100, loads)
            rolled.start()
            # A new process counts from zero.
            wait_until(lambda: answered(rolled) >= 50, loads)
        finally:
            back.set()
        for each in loads:
            each.result()
        assert answered(steady) > 0
    assert len(answers) >= 1000
    assert set(answers) == {0.9}


def wait_until(reached: Callable[[], bool], loads: list[Any]) -> None:
    while not reached():
        for load in loads:
            if load.done():
                load.result()
        time.sleep(0.05)


def answered(server: TritonServer) -> float:
    """Requests that the server's running process answered; 0 while its metrics, which come last, are not up yet."""
    url = f"http://{server.options.host}:{server.options.metrics_port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return 0.0
    found = re.search(r'^nv_inference_request_success{model="tumor_detection",version="1"} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0
