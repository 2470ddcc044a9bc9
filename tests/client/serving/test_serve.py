from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from embedded_triton import need_triton
from tumorctl import DamagedModel, MissingExtra, PortTaken, ServeError
from tumorctl.config import bundled_repository
from tumorctl.contract import MODELS
from tumorctl.serving import triton as serving
from tumorctl.serving.triton import ServeOptions, TritonServer, is_ready

TUMORCTL = Path(sys.executable).with_name("tumorctl")


OptionsFor = Callable[..., ServeOptions]


@pytest.fixture(autouse=True)
def _needs_the_server(request: pytest.FixtureRequest) -> None:
    if "no_server" not in request.keywords:
        need_triton()


@contextmanager
def running(options: ServeOptions) -> Iterator[subprocess.Popen[str]]:
    """`tumorctl serve` as a user starts it, once it says that it is ready."""
    ports = ["--grpc-port", options.grpc_port, "--http-port", options.http_port, "--metrics-port", options.metrics_port]
    process = subprocess.Popen(
        [TUMORCTL, "serve", *map(str, ports), "--log-file", options.log_file], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        started = time.monotonic()
        lines = [process.stderr.readline()]
        while lines[-1] and not lines[-1].startswith("ready:"):
            lines.append(process.stderr.readline())
        assert lines[-1].startswith("ready: gRPC 127.0.0.1:"), "".join(lines)
        assert time.monotonic() - started < 60
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return not alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_and_all_its_processes(
    tmp_path: Path, number: signal.Signals, options_for: OptionsFor
) -> None:
    options = options_for(tmp_path)
    before = set(Path("/dev/shm").glob("tumorctl-*"))
    with running(options) as process:
        assert is_ready("127.0.0.1", options.http_port)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4  # Triton, and a process each for the two networks and the gate
        process.send_signal(number)
        process.wait(30)
        assert process.returncode == 0
        assert gone(family)
    assert not is_ready("127.0.0.1", options.http_port)
    assert options.log_file.stat().st_size > 0
    assert set(Path("/dev/shm").glob("tumorctl-*")) <= before


def test_killing_the_command_does_not_leave_the_server_behind(tmp_path: Path, options_for: OptionsFor) -> None:
    options = options_for(tmp_path)
    before = set(Path("/dev/shm").glob("tumorctl-*"))
    with running(options) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait(30)
        assert gone(family)
    for left in set(Path("/dev/shm").glob("tumorctl-*")) - before:
        left.unlink()


def test_it_listens_on_the_loopback_address_alone(triton: TritonServer) -> None:
    assert triton.pid is not None
    listening = [c for c in psutil.Process(triton.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.port for c in listening} == {
        triton.options.grpc_port,
        triton.options.http_port,
        triton.options.metrics_port,
    }
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


def test_all_four_models_are_ready(triton: TritonServer) -> None:
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        assert [client.is_model_ready(name) for name in MODELS] == [True] * 4


def test_administration_is_locked(triton: TritonServer) -> None:
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        for call in (
            lambda: client.unload_model("tumor_segmenter"),
            client.get_model_repository_index,
            client.get_system_shared_memory_status,
            lambda: client.update_log_settings({"log_verbose_level": 1}),
            client.get_trace_settings,
        ):
            with pytest.raises(InferenceServerException, match="restricted"):
                call()
    connection = http.client.HTTPConnection("127.0.0.1", triton.options.http_port, timeout=10)
    connection.request("POST", "/v2/repository/models/tumor_segmenter/unload")
    assert connection.getresponse().status == http.HTTPStatus.FORBIDDEN
    connection.close()


def test_a_taken_port_is_named(tmp_path: Path, options_for: OptionsFor) -> None:
    options = options_for(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", options.http_port))
        other.listen()
        with pytest.raises(PortTaken, match=f"port {options.http_port}"):
            TritonServer(options).start()
    assert not options.log_file.exists()


def test_a_damaged_network_is_not_served(tmp_path: Path, options_for: OptionsFor) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(bundled_repository(), repository)
    network = next((repository / "tumor_segmenter").glob("*/model.onnx"))
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)
    with pytest.raises(DamagedModel, match=r"model\.onnx is damaged"):
        TritonServer(options_for(tmp_path, repository))


def test_a_model_that_does_not_load_is_an_error_that_quotes_the_log(tmp_path: Path, options_for: OptionsFor) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(bundled_repository(), repository)
    (repository / "segmentation_gate" / "1" / "model.py").write_text("raise RuntimeError('no gate today')\n")
    server = TritonServer(options_for(tmp_path, repository))
    with pytest.raises(ServeError, match="no gate today"):
        server.start()
    assert server.pid is None


def test_a_server_that_dies_is_noticed(tmp_path: Path, options_for: OptionsFor) -> None:
    with TritonServer(options_for(tmp_path)) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServeError, match="ended by itself"):
            server.wait()


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_aborts_while_it_starts_is_started_once_more(
    times: int,
    tmp_path: Path,
    options_for: OptionsFor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    aborted: list[int] = []
    before = set(Path("/dev/shm").glob("tumorctl-*"))
    server = TritonServer(options_for(tmp_path))

    def ready(host: str, port: int) -> bool:
        if len(aborted) < times and server.pid not in aborted:
            assert server.pid is not None
            os.kill(server.pid, signal.SIGABRT)
            aborted.append(server.pid)
        return server.pid not in aborted and is_ready(host, port)

    monkeypatch.setattr(serving, "is_ready", ready)
    if times == 2:
        with pytest.raises(ServeError, match="ended with status"):
            server.start()
        assert server.pid is None
    else:
        with server:
            assert server.pid not in [None, *aborted]
            with triton_grpc.InferenceServerClient(server.grpc_url) as client:
                assert client.is_server_ready()
    assert len(aborted) == times
    assert "starting it again" in caplog.text
    assert set(Path("/dev/shm").glob("tumorctl-*")) <= before


@pytest.mark.no_server
def test_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.1.0")
    with pytest.raises(ServeError, match=r"numpy 2\.1\.0 is installed.*numpy < 2"):
        serving.check_numpy()


@pytest.mark.no_server
def test_a_platform_without_a_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(ServeError, match="no Triton wheel for Darwin"):
        serving.find_distribution()


@pytest.mark.no_server
def test_without_the_extra_the_pip_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 12, 0, "final", 0))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"tumorctl\[serve\]"):
        serving.find_distribution()


@pytest.mark.no_server
def test_a_newer_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 13, 0, "final", 0))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(ServeError, match=r"3\.10 to 3\.12"):
        serving.find_distribution()
