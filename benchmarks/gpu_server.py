"""Engines and a Triton for them on a GPU server: with what is installed here, or in NVIDIA's containers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tumorctl.errors import ServeError
from tumorctl.serving.triton import LOOPBACK, is_ready

ROOT = Path(__file__).parents[1]
BUILDER_IMAGE = "nvcr.io/nvidia/tensorrt:{release}-py3"
SERVER_IMAGE = "nvcr.io/nvidia/tritonserver:{release}-py3"
GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
BUILD_TIMEOUT_S = 3600.0


def build_command(repository: Path, precision: str, release: str, data: Path | None) -> list[str]:
    """The command that builds the engines: here where TensorRT is, else in its container.

    Raises:
        ServeError: neither TensorRT nor Docker is here.
    """
    if importlib.util.find_spec("tensorrt") is not None:
        slices = ["--phantoms"] if data is None else ["--data", str(data)]
        command = ["export", "tensorrt", "--repository", str(repository), "--precision", precision, *slices]
        return [str(Path(sys.executable).with_name("tumorctl")), *command, "--triton-release", release]
    if shutil.which("docker") is None:
        raise ServeError("neither TensorRT nor Docker is here: run this on a GPU server, or with --cpu")
    return container_build_command(repository, precision, release, data)


def container_build_command(repository: Path, precision: str, release: str, data: Path | None) -> list[str]:
    """The command that builds the engines in NVIDIA's TensorRT container, from this clone."""
    slices = "--phantoms" if data is None else "--data /data"
    build = f"tumorctl export tensorrt --repository /repository --precision {precision} {slices}"
    return [
        *("docker", "run", "--rm", "--gpus", "all"),
        *("--volume", f"{ROOT}:/tumorctl:ro", "--volume", f"{repository.resolve()}:/repository"),
        *(() if data is None else ("--volume", f"{data.resolve()}:/data:ro")),
        BUILDER_IMAGE.format(release=release),
        *("bash", "-c"),
        "cp -r /tumorctl /tmp/tumorctl && pip install --quiet '/tmp/tumorctl[tensorrt]' && "
        f"{build} --triton-release {release}",
    ]


def server_command(repository: Path, release: str) -> list[str]:
    """The command that serves a repository's engines on the loopback address: here, or in Triton's container.

    Raises:
        ServeError: neither Triton nor Docker is here.
    """
    if (installed := shutil.which("tritonserver")) is not None:
        addresses = [f"--{kind}-address={LOOPBACK}" for kind in ("grpc", "http", "metrics")]
        return [installed, f"--model-repository={repository}", *addresses, *_FLAGS]
    if shutil.which("docker") is None:
        raise ServeError("neither Triton nor Docker is here: run this on a GPU server, or with --cpu")
    return container_server_command(repository, release)


def container_server_command(repository: Path, release: str) -> list[str]:
    """The command that serves a repository in Triton's container."""
    ports = [f"--publish={LOOPBACK}:{port}:{port}" for port in (GRPC_PORT, HTTP_PORT, METRICS_PORT)]
    return [
        *("docker", "run", "--rm", "--init", "--gpus", "all", "--shm-size", "1g"),
        *(*ports, "--volume", f"{repository.resolve()}:/models:ro"),
        SERVER_IMAGE.format(release=release),
        *("tritonserver", "--model-repository=/models", *_FLAGS),
    ]


_FLAGS = (
    "--disable-auto-complete-config",
    "--model-control-mode=none",
    "--strict-readiness=true",
    "--exit-on-error=true",
)


def build_engines(command: Sequence[str]) -> None:
    """Run the build; it prints as it goes.

    Raises:
        ServeError: it failed or took too long.
    """
    try:
        subprocess.run(command, check=True, timeout=BUILD_TIMEOUT_S, stdout=sys.stderr)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServeError(f"the engines could not be built ({type(error).__name__}): {command[0]}") from error


@contextlib.contextmanager
def serving(command: Sequence[str], log_file: Path, http_port: int = HTTP_PORT) -> Iterator[None]:
    """A server for as long as the block lasts.

    Raises:
        ServeError: it ended by itself, or was not ready in time.
    """
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(LOOPBACK, http_port):
            if process.poll() is not None:
                raise ServeError(f"the server ended with status {process.returncode}; see {log_file}")
            if time.monotonic() > deadline:
                raise ServeError(f"the server was not ready after {READY_TIMEOUT_S:g} s; see {log_file}")
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
