"""The embedded Triton for tests: the one place that says where it cannot run, and how it is started."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tumorctl.config import bundled_repository
from tumorctl.errors import TumorctlError
from tumorctl.serving.triton import (
    LOOPBACK,
    ServeOptions,
    TritonServer,
    check_numpy,
    find_distribution,
    libpython_folder,
)


def need_triton() -> None:
    """Skip the test where the embedded Triton cannot run, with the reason."""
    try:
        find_distribution()
        check_numpy()
        libpython_folder()
    except TumorctlError as error:
        pytest.skip(f"no embedded Triton here: {error}")


def options_for(folder: Path, repository: Path | None = None) -> ServeOptions:
    """Options of a server on free ports of the loopback address, with its log in a folder.

    Args:
        folder: for the log.
        repository: model repository; the bundled one by default.
    """
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        grpc_port, http_port, metrics_port = (probe.getsockname()[1] for probe in probes)
    return ServeOptions(
        repository=repository or bundled_repository(),
        log_file=folder / "triton.log",
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        ready_timeout_s=200.0,  # a busy machine fails no test
    )


def triton_server(folder: Path, repository: Path | None = None, **changes: Any) -> TritonServer:
    """A server, not started yet; a skip where it cannot run.

    Args:
        folder: for the log.
        repository: model repository; the bundled one by default.
        changes: of the options.
    """
    need_triton()
    return TritonServer(replace(options_for(folder, repository), **changes))
