"""`tumorctl doctor`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tumorctl.cli.connection import Server, takes_server
from tumorctl.cli.exits import Status, exits
from tumorctl.errors import TumorctlError

if TYPE_CHECKING:
    from tumorctl.engines.address import Address
    from tumorctl.engines.credentials import Credentials
    from tumorctl.types import ConnectionOptions

_RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: its name, whether it is well, and what it saw or what to do about it."""

    check: str
    ok: bool
    detail: str


@exits
@takes_server
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    *,
    server: Server,
) -> Status:
    """Say what works, what is missing, and what to do about it.

    With a server named, looks at that too: the networks it serves, its certificate, and what is shown to it.

    Exit status: 0 when predictions can be made (by a server, where one is named, else by the local engine), 1 when not,
    2 wrong usage, 4 when the server cannot be reached or refused.
    """
    from tumorctl.config import resolve_server

    url, connection = resolve_server(server.url, server.connection)
    findings = [
        _check("networks", _networks),
        _check("local engine", _local_engine),
        _check("whole studies", _studies),
        _check("embedded server", _embedded_server),
        _check("TensorRT", _tensorrt),
    ]
    if url is not None:
        findings += _servers(url, connection)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'missing'}  {finding.check}: {finding.detail}")
    well = {finding.check: finding.ok for finding in findings}
    if url is not None:
        # One server out of several is enough.
        servers = [ok for check, ok in well.items() if check.startswith("server")]
        return Status.done if any(servers) else Status.server
    return Status.done if well["local engine"] else Status.failed


def _check(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except TumorctlError as error:
        return Finding(name, False, str(error))


def _networks() -> str:
    from tumorctl.config import resolve
    from tumorctl.manifest import read_manifest
    from tumorctl.types import ClientOptions

    manifest = read_manifest(resolve(None, ClientOptions()).model_repository)
    manifest.verify()
    return f"version {manifest.version}, digests match, gate threshold {manifest.gate_threshold:g}"


def _local_engine() -> str:
    import numpy as np

    from tumorctl.client import TumorClient
    from tumorctl.config import resolve
    from tumorctl.contract import SIDE
    from tumorctl.extras import needs_extra
    from tumorctl.types import ClientOptions

    with needs_extra("local", "the local engine"):
        from tumorctl.engines.local import LocalEngine
    settings = resolve(None, ClientOptions())
    with TumorClient.from_engine(LocalEngine(settings.model_repository, settings.precision)) as client:
        blank = np.zeros((1, SIDE, SIDE, 3), np.uint8)
        (answer,) = client.predict(blank)
        software = ", ".join(f"{name} {version}" for name, version in client.info.software.items())
        return f"{client.info.target}, {software}; a blank slice has probability {answer.tumor_probability:.3f}"


def _studies() -> str:
    import importlib.metadata

    from tumorctl.extras import needs_extra

    with needs_extra("clinical", "reading whole studies in NIfTI or DICOM"):
        import gdcm  # noqa: F401
        import highdicom  # noqa: F401
        import nibabel  # noqa: F401
        import pydicom  # noqa: F401
        import SimpleITK  # noqa: F401
    libraries = ("pydicom", "highdicom", "nibabel", "SimpleITK")
    return "NIfTI and DICOM; " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)


def _embedded_server() -> str:
    from tumorctl.serving.triton import check_numpy, find_distribution, libpython_folder

    find_distribution()
    check_numpy()
    libpython_folder()
    return "can be started with `tumorctl serve`"


def _servers(url: str, connection: ConnectionOptions) -> list[Finding]:
    """A finding for each server of an address, and one for its certificate where it speaks TLS."""
    from tumorctl.engines.address import parse_address
    from tumorctl.engines.credentials import Credentials

    address = parse_address(url)
    credentials = Credentials(address, connection)
    findings = []
    for each in address.each():
        which = f" {each.endpoints[0]}" if len(address.endpoints) > 1 else ""
        if credentials.context is not None:
            findings.append(_check(f"certificate{which}", partial(_certificate, each, credentials)))
        findings.append(_check(f"server{which}", partial(_server, each, credentials, connection)))
    return findings


def _certificate(address: Address, credentials: Credentials) -> str:
    from tumorctl.engines.probe import Finding as Fault
    from tumorctl.engines.probe import look
    from tumorctl.errors import InsecureServer

    fault, found = look(
        address.endpoints[0],
        credentials.context,
        credentials.server_name,
        shows_certificate=credentials.has_certificate,
    )
    if found is None:
        raise InsecureServer(f"not seen: {fault.value}")
    left = found.days_left()
    soon = ": have it renewed" if left < _RENEW_DAYS else ""
    return (
        f"{found.subject}, issued by {found.issuer}, valid until {found.expires:%Y-%m-%d}, {left} days left{soon} "
        f"({found.protocol}{'' if fault is Fault.nothing else f'; {fault.value}'})"
    )


def _tensorrt() -> str:
    import importlib.metadata
    import importlib.util

    from tumorctl.errors import MissingExtra

    if importlib.util.find_spec("tensorrt") is None:
        raise MissingExtra("tensorrt", "building engines for a GPU server, and nothing else,")
    return f"version {importlib.metadata.version('tensorrt')}; engines are built with `tumorctl export tensorrt`"


def _server(address: Address, credentials: Credentials, connection: ConnectionOptions) -> str:
    from tumorctl.engines.triton import TritonEngine

    engine = TritonEngine(str(address), connection)
    engine.close()
    software = ", ".join(f"{name} {version}" for name, version in engine.info.software.items())
    encrypted = "without TLS" if credentials.context is None else "with TLS"
    return f"{address} is ready ({software}); {encrypted}, {credentials.describe()}"
