"""The acceptance command on the embedded Triton, and what it does on a GPU server as far as that can be seen here."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import gpu_server
import numpy as np
import numpy.typing as npt
import pytest
from acceptance import (
    ALWAYS,
    GATED,
    TWO_CALLS,
    Served,
    compare_served,
    parse_arguments,
    perf_analyzer_command,
    read_perf_analyzer,
    write_slices,
)
from load_generator import Limits, always_segmented, gated, measure, percentile_ms, take, two_calls

from small_networks import BETWEEN
from tumor_export.agreement import Tolerance
from tumor_export.arithmetic import EnginePrecision
from tumor_export.engines.build import GRAPH
from tumorctl.engines.openvino import choose_precision
from tumorctl.errors import ServeError
from tumorctl.manifest import read_manifest
from tumorctl.serving.triton import TritonServer
from tumorctl.types import Precision

ROOT = Path(__file__).parents[2]
ACCEPTANCE = str(ROOT / "benchmarks" / "acceptance.py")
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
"""What `make test` would hand on to a make of its tests."""
Images = npt.NDArray[np.uint8]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_the_make_target_on_an_embedded_server(small_triton: TritonServer, tmp_path: Path) -> None:
    """With this environment, which is not installed anew; `small_triton` says whether there is a server here."""
    options = ["--cpu", "--requests", "4", "--concurrency", "1,2", "--repository", small_triton.options.repository]
    arguments = shlex.join(map(str, [*options, "--json", tmp_path / "out.json"]))
    command = ["make", "gpu-acceptance", f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.acceptance"]
    done = subprocess.run(
        [*command, f"ARGS={arguments}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in OF_MAKE},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["served"]["ok"]
    assert content["served"]["slices"] == 42
    assert content["served"]["segmented"] == 9
    measured = {(load["way"], load["concurrency"]): load for load in content["loads"]}
    assert measured.keys() == {(way, clients) for way in (GATED, ALWAYS, TWO_CALLS) for clients in (1, 2)}
    for (way, _), load in measured.items():
        assert (load["requests"], load["failed"], load["slices"]) == (4, 0, 4)
        assert load["p99_ms"] >= load["p50_ms"] > 0
        assert load["slices_per_second"] == pytest.approx(4 / load["seconds"])
        assert load["segmented"] == 4 if way == ALWAYS else load["segmented"] <= 4
    for word in (GATED, ALWAYS, TWO_CALLS, "slices/s", "ok"):
        assert word in done.stdout


def test_the_shipped_networks_are_served_as_onnx_runtime_computes_them(triton: TritonServer, phantoms: Images) -> None:
    exact = choose_precision(triton.options.precision) is Precision.fp32
    allowed = GRAPH[EnginePrecision.fp16] if exact else Tolerance(max_error=0.05, min_dice=0.97)
    served = compare_served(triton.grpc_url, read_manifest(triton.options.repository), phantoms, allowed)
    assert served.ok, served
    assert served.slices == 7
    assert served.segmented >= 4


def test_a_server_that_answers_otherwise_is_not_accepted(small_triton: TritonServer) -> None:
    """Small networks are served, and compared with the shipped ones."""
    command = [sys.executable, ACCEPTANCE, "--url", small_triton.grpc_url, "--requests", "1", "--concurrency", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stderr
    assert "NOT the same" in done.stdout


def test_all_ways_segment_what_they_should(small_triton: TritonServer, phantoms: Images) -> None:
    limits = Limits(requests=2, seconds=60, warm_up=0)
    counts = [
        measure("way", call, small_triton.grpc_url, phantoms, 7, 1, limits).segmented
        for call in (gated, always_segmented, two_calls(BETWEEN, 0.5), two_calls(1.0, 0.5))
    ]
    assert counts == [8, 14, 8, 0]


def test_failed_requests_are_counted_and_end() -> None:
    load = measure("gated", gated, "127.0.0.1:9", np.zeros((1, 256, 256, 3), np.uint8), 1, 2, Limits(5, 60))
    assert (load.requests, load.failed, load.slices) == (0, 5, 0)
    assert math.isnan(load.p50_ms)


def test_time_ends_a_measurement() -> None:
    limits = Limits(requests=10**9, seconds=0.2, warm_up=0)
    load = measure("nothing", lambda client, images: 1, "127.0.0.1:9", np.zeros((3, 2, 2, 3), np.uint8), 2, 3, limits)
    assert load.requests > 0
    assert load.slices == 2 * load.requests
    assert load.segmented == load.requests


def test_percentiles_are_times_that_were_measured() -> None:
    times = [number / 1000 for number in range(1, 101)]
    assert percentile_ms(times, 0.5) == pytest.approx(50)
    assert percentile_ms(times, 0.99) == pytest.approx(99)
    assert percentile_ms([0.002], 0.99) == pytest.approx(2)


def test_slices_begin_again_after_the_last() -> None:
    images = np.arange(3, dtype=np.uint8)
    assert take(images, 2, 4).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("error", "gate", "dice", "ok"),
    [
        (0.01, 0, 0.995, True),
        (0.011, 0, 1.0, False),
        (0.0, 1, 1.0, False),
        (0.0, 0, 0.994, False),
        (math.nan, 0, 1, False),
    ],
)
def test_what_counts_as_the_same_answer(error: float, gate: int, dice: float, ok: bool) -> None:
    assert Served(10, 5, error, gate, dice).ok is ok


def test_engines_are_built_and_served_in_nvidias_containers(tmp_path: Path) -> None:
    """The commands; Docker and a GPU are not here."""
    build = gpu_server.container_build_command(tmp_path, "fp16", "26.07", None)
    assert build[:5] == ["docker", "run", "--rm", "--gpus", "all"]
    assert "nvcr.io/nvidia/tensorrt:26.07-py3" in build
    assert build[-1].endswith(
        "tumorctl export tensorrt --repository /repository --precision fp16 --phantoms --triton-release 26.07"
    )
    with_data = gpu_server.container_build_command(tmp_path, "int8", "26.07", tmp_path)
    assert f"{tmp_path}:/data:ro" in with_data
    assert "--data /data" in with_data[-1]
    serve = gpu_server.container_server_command(tmp_path, "26.07")
    assert "nvcr.io/nvidia/tritonserver:26.07-py3" in serve
    assert [part for part in serve if part.startswith("--publish=")] == [
        f"--publish=127.0.0.1:{port}:{port}" for port in (8001, 8000, 8002)
    ]


def test_a_machine_with_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServeError, match="neither Triton nor Docker is here"):
        gpu_server.server_command(tmp_path, "26.07")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServeError, match="neither TensorRT nor Docker is here"):
        gpu_server.build_command(tmp_path, "fp16", "26.07", None)


def test_an_installed_triton_listens_on_the_loopback_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = gpu_server.server_command(tmp_path, "26.07")
    assert command[0] == str(program)
    assert {"--grpc-address=127.0.0.1", "--http-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(command)


def test_a_server_that_ends_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(ServeError, match="ended with status 3"),
        gpu_server.serving(["sh", "-c", "exit 3"], tmp_path / "log", http_port=9),
    ):
        pass


def test_a_build_that_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="could not be built"):
        gpu_server.build_engines(["sh", "-c", "exit 2"])


def test_perf_analyzer_is_asked_and_read(tmp_path: Path, phantoms: Images) -> None:
    """Its table as its documentation shows it; the program comes with Triton's SDK image only."""
    args = parse_arguments(["--cpu", "--batch", "2"])
    command = perf_analyzer_command("host:8001", tmp_path, True, args)
    assert command[:7] == ["perf_analyzer", "-m", "tumor_detection", "-u", "host:8001", "-i", "grpc"]
    assert command[-2:] == ["--request-parameter", "gate_threshold:0:int"]
    assert "--request-parameter" not in perf_analyzer_command("host:8001", tmp_path, False, args)
    write_slices(tmp_path / "slices.json", phantoms[:2])
    (first, _) = json.loads((tmp_path / "slices.json").read_text())["data"]
    assert np.array_equal(np.reshape(first["IMAGE"]["content"], first["IMAGE"]["shape"]), phantoms[0])
    table = tmp_path / "perf.csv"
    table.write_text(
        "Concurrency,Inferences/Second,Client Send,p50 latency,p90 latency,p95 latency,p99 latency\n"
        "1,120.5,20,8000,8800,9000,9900\n4,410,25,9500,11000,12000,15500\n"
    )
    rows = read_perf_analyzer(table, GATED, 2)
    assert [row["concurrency"] for row in rows] == [1, 4]
    assert rows[1]["slices_per_second"] == 410
    assert (rows[1]["p50_ms"], rows[1]["p99_ms"]) == (9.5, 15.5)
