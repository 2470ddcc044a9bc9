"""Options that all commands with ``--url`` share: TLS, token and profile of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tumorctl.types import ConnectionOptions, TlsOptions

_PANEL = "Server"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="ADDRESS",
        rich_help_panel=_PANEL,
        help="gRPC address of a Triton server: HOST:PORT, grpcs://HOST:PORT (TLS), HOST1:PORT,HOST2:PORT, or "
        "dns:///HOST:PORT; without it TUMORCTL_URL or the profile's, or else the local engine.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Take settings from this profile in ~/.config/tumorctl/config.toml; without it TUMORCTL_PROFILE.",
    ),
]
Tls = Annotated[bool, typer.Option("--tls", rich_help_panel=_PANEL, help="Encrypt, and check the server.")]
CaCert = Annotated[
    Path | None,
    typer.Option(
        "--ca-cert", metavar="FILE", rich_help_panel=_PANEL, help="Authorities to trust, PEM; by default public ones."
    ),
]
ClientCert = Annotated[
    Path | None,
    typer.Option("--client-cert", metavar="FILE", rich_help_panel=_PANEL, help="Own certificate, PEM (mutual TLS)."),
]
ClientKey = Annotated[
    Path | None, typer.Option("--client-key", metavar="FILE", rich_help_panel=_PANEL, help="Its private key, PEM.")
]
ServerName = Annotated[
    str | None,
    typer.Option(
        "--server-name",
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Name in the server's certificate, where it is not the host of the address.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="File with the token for a gateway; or put the token itself into TUMORCTL_TOKEN.",
    ),
]
TokenHeader = Annotated[
    str | None,
    typer.Option(
        "--token-header",
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Header for the token; by default authorization, as Bearer TOKEN.",
    ),
]
AllowPlaintextToken = Annotated[
    bool,
    typer.Option(
        "--allow-plaintext-token",
        rich_help_panel=_PANEL,
        help="Send the token to another machine without TLS; it can be read on its way.",
    ),
]


def connection_options(
    *,
    profile: str | None,
    tls: bool,
    ca_cert: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
    server_name: str | None,
    token_file: Path | None,
    token_header: str | None,
    allow_plaintext_token: bool,
) -> ConnectionOptions:
    """The SDK's options for the flags given; what is not given stays open for environment and profile.

    Raises:
        InvalidOption: they do not go together.
    """
    wants_tls = tls or any((ca_cert, client_cert, client_key, server_name))
    return ConnectionOptions(
        profile=profile,
        tls=TlsOptions(ca_cert, client_cert, client_key, server_name) if wants_tls else None,
        token_file=token_file,
        token_header=token_header.lower() if token_header else None,
        allow_plaintext_token=allow_plaintext_token or None,
    )
