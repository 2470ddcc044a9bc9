"""Options that all commands with ``--url`` share: TLS, token and profile of a server."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from tumorctl.cli.exits import Status
from tumorctl.types import ConnectionOptions, TlsOptions

_PANEL = "Server"


class Server(NamedTuple):
    """What the flags say of a server.

    Attributes:
        url: its address; None where environment or profile may name it.
        connection: the SDK's options; what is not given stays open for environment and profile.
    """

    url: str | None
    connection: ConnectionOptions


def takes_server(command: Callable[..., Status | None]) -> Callable[..., Status | None]:
    """Give a command the options of a server; it gets them as its keyword ``server``, a `Server`."""
    own = inspect.signature(command, eval_str=True)
    shared = inspect.signature(_server, eval_str=True).parameters

    @functools.wraps(command)
    def gathered(**given: object) -> Status | None:
        flags = {name: given.pop(name) for name in shared}
        return command(**given, server=_server(**flags))  # type: ignore[arg-type] # typer has checked them

    kept = [parameter for name, parameter in own.parameters.items() if name != "server"]
    signature = own.replace(parameters=[*kept, *shared.values()])
    # What typer reads.
    gathered.__signature__ = signature  # type: ignore[attr-defined]
    gathered.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return gathered


def _server(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="ADDRESS",
            rich_help_panel=_PANEL,
            help="gRPC address of a Triton server: HOST:PORT, grpcs://HOST:PORT (TLS), HOST1:PORT,HOST2:PORT, or "
            "dns:///HOST:PORT; without it TUMORCTL_URL or the profile's, or else the local engine.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            rich_help_panel=_PANEL,
            help="Take settings from this profile in ~/.config/tumorctl/config.toml; without it TUMORCTL_PROFILE.",
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", rich_help_panel=_PANEL, help="Encrypt, and check the server.")] = False,
    ca_cert: Annotated[
        Path | None,
        typer.Option(
            "--ca-cert",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Authorities to trust, PEM; by default public ones.",
        ),
    ] = None,
    client_cert: Annotated[
        Path | None,
        typer.Option(
            "--client-cert", metavar="FILE", rich_help_panel=_PANEL, help="Own certificate, PEM (mutual TLS)."
        ),
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option("--client-key", metavar="FILE", rich_help_panel=_PANEL, help="Its private key, PEM.")
    ] = None,
    server_name: Annotated[
        str | None,
        typer.Option(
            "--server-name",
            metavar="NAME",
            rich_help_panel=_PANEL,
            help="Name in the server's certificate, where it is not the host of the address.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="File with the token for a gateway; or put the token itself into TUMORCTL_TOKEN.",
        ),
    ] = None,
    token_header: Annotated[
        str | None,
        typer.Option(
            "--token-header",
            metavar="NAME",
            rich_help_panel=_PANEL,
            help="Header for the token; by default authorization, as Bearer TOKEN.",
        ),
    ] = None,
    allow_plaintext_token: Annotated[
        bool,
        typer.Option(
            "--allow-plaintext-token",
            rich_help_panel=_PANEL,
            help="Send the token to another machine without TLS; it can be read on its way.",
        ),
    ] = False,
) -> Server:
    """What the flags say.

    Raises:
        InvalidOption: they do not go together.
    """
    wants_tls = tls or any((ca_cert, client_cert, client_key, server_name))
    connection = ConnectionOptions(
        profile=profile,
        tls=TlsOptions(ca_cert, client_cert, client_key, server_name) if wants_tls else None,
        token_file=token_file,
        token_header=token_header.lower() if token_header else None,
        allow_plaintext_token=allow_plaintext_token or None,
    )
    return Server(url, connection)
