"""`tumorctl doctor`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from tumorctl.cli.exits import Status, exits
from tumorctl.errors import TumorctlError


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: its name, whether it is well, and what it saw or what to do about it."""

    check: str
    ok: bool
    detail: str


@exits
def doctor(
    url: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Also look at this Triton server.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> Status:
    """Say what works, what is missing, and what to do about it.

    Exit status: 0 when predictions can be made (by the server, with --url or TUMORCTL_URL, else by the local engine),
    1 when not, 4 when the server cannot be reached or refused.
    """
    import os

    url = url or os.environ.get("TUMORCTL_URL") or None
    findings = [
        _check("networks", _networks),
        _check("local engine", _local_engine),
        _check("embedded server", _embedded_server),
        _check("TensorRT", _tensorrt),
    ]
    if url is not None:
        findings.append(_check("server", lambda: _server(url)))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'missing'}  {finding.check}: {finding.detail}")
    well = {finding.check: finding.ok for finding in findings}
    if url is not None:
        return Status.done if well["server"] else Status.server
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


def _embedded_server() -> str:
    from tumorctl.serving.triton import check_numpy, find_distribution, libpython_folder

    find_distribution()
    check_numpy()
    libpython_folder()
    return "can be started with `tumorctl serve`"


def _tensorrt() -> str:
    import importlib.metadata
    import importlib.util

    from tumorctl.errors import MissingExtra

    if importlib.util.find_spec("tensorrt") is None:
        raise MissingExtra("tensorrt", "building engines for a GPU server, and nothing else,")
    return f"version {importlib.metadata.version('tensorrt')}; engines are built with `tumorctl export tensorrt`"


def _server(url: str) -> str:
    from tumorctl.engines.triton import TritonEngine

    engine = TritonEngine(url)
    engine.close()
    software = ", ".join(f"{name} {version}" for name, version in engine.info.software.items())
    return f"{url} is ready ({software})"
