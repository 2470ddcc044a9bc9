"""`tumorctl serve`."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from tumorctl.cli.exits import Status, exits
from tumorctl.types import Precision


class _Stop(Exception):
    """A signal asked the server to stop."""


@exits
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. Anyone who reaches it can use the server.")] = (
        "127.0.0.1"
    ),
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="For clients.")] = 8001,
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="For HTTP clients and health checks.")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="For Prometheus.")] = 8002,
    model_repository: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Networks to serve; by default the ones that came along.")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Arithmetic of the networks.")] = Precision.auto,
    log_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the server's log goes.")] = None,
) -> Status:
    """Run a real Triton server on this machine, on the processor.

    Stops cleanly on Ctrl-C and SIGTERM. Without TLS and authentication: keep it on the loopback address, or put a
    proxy in front.
    """
    from tumorctl.config import bundled_repository, state_folder
    from tumorctl.serving.triton import LOOPBACK, ServeOptions, TritonServer

    options = ServeOptions(
        repository=(model_repository or bundled_repository()).absolute(),
        log_file=(log_file or state_folder() / f"triton-{grpc_port}.log").absolute(),
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        precision=precision,
    )
    server = TritonServer(options)
    if host not in (LOOPBACK, "localhost", "::1"):
        typer.echo(f"warning: listening on {host} without TLS or authentication", err=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        typer.echo(f"starting; the log is {options.log_file}", err=True)
        with server:
            typer.echo(
                f"ready: gRPC {host}:{grpc_port}, HTTP {host}:{http_port}, metrics {host}:{metrics_port}/metrics",
                err=True,
            )
            server.wait()
    except _Stop:
        typer.echo("stopped", err=True)
    return Status.done


def _stop(number: int, frame: FrameType | None) -> None:
    # Once asked, finish stopping: a second signal must not leave processes behind.
    for repeated in (signal.SIGTERM, signal.SIGINT):
        signal.signal(repeated, signal.SIG_IGN)
    raise _Stop
