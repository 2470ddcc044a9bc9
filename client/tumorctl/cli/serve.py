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
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The server's certificate, PEM: encrypts gRPC.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Let in only clients with certificates of these authorities.")
    ] = None,
    log_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the server's log goes.")] = None,
) -> Status:
    """Run a real Triton server on this machine, on the processor.

    Stops cleanly on Ctrl-C and SIGTERM. Without --tls-cert and --tls-client-ca anyone who reaches it can use it: keep
    it on the loopback address, or put a proxy in front. HTTP is never encrypted; with TLS on gRPC it answers
    health checks alone.
    """
    from tumorctl.config import bundled_repository, state_folder
    from tumorctl.errors import InvalidOption
    from tumorctl.serving.triton import LOOPBACK, ServeOptions, ServerTls, TritonServer

    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise InvalidOption("--tls-cert and --tls-key belong together, and --tls-client-ca needs them")
    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = ServerTls(tls_cert.absolute(), tls_key.absolute(), tls_client_ca.absolute() if tls_client_ca else None)

    options = ServeOptions(
        repository=(model_repository or bundled_repository()).absolute(),
        log_file=(log_file or state_folder() / f"triton-{grpc_port}.log").absolute(),
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        precision=precision,
        tls=tls,
    )
    server = TritonServer(options)
    if host not in (LOOPBACK, "localhost", "::1") and tls_client_ca is None:
        lacking = "client certificates" if tls else "TLS or authentication"
        typer.echo(f"warning: listening on {host} without {lacking}: anyone who reaches it can use it", err=True)
    encrypted = " (TLS)" if tls else ""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        typer.echo(f"starting; the log is {options.log_file}", err=True)
        with server:
            typer.echo(
                f"ready: gRPC {host}:{grpc_port}{encrypted}, HTTP {host}:{http_port}, "
                f"metrics {host}:{metrics_port}/metrics",
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
